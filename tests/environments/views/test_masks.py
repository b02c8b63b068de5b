"""Masks of environments: what is read, what is rejected, and drawing among allowed actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import (
    MaskReader,
    draw_allowed,
    first_masked,
    nearest_allowed,
    offers_masks,
    split,
)
from tests.faulty_envs import Counter

D = spaces.Discrete
PARTS = spaces.Tuple((D(2), spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([3, 2])))


class Offering(Counter):
    """Offers a mask by a method."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.mask = mask

    def action_masks(self) -> Any:
        return self.mask


@pytest.mark.parametrize(
    "mask",
    [
        [True, False, True],
        (1, 0, 1),
        np.array([1, 0, 1], np.int8),  # as Taxi's
        np.array([True, False, True]),
        np.array([1.0, 0.0, 1.0]),
    ],
)
def test_booleans_and_zeros_and_ones_are_masks(mask: Any) -> None:
    read = MaskReader(ActionLayout(D(3)))
    assert read(Counter(), {"action_mask": mask}).tolist() == [True, False, True]
    # A method of sb3-contrib's name does as well, also through wrappers.
    wrapped = gymnasium.wrappers.TimeLimit(Offering(mask), 5)
    assert read(wrapped, {}).tolist() == [True, False, True]
    # Where there are both, the info counts: it belongs to the observation.
    assert read(Offering([1, 1, 1]), {"action_mask": mask}).tolist() == [True, False, True]


def test_whether_an_environment_offers_masks() -> None:
    assert offers_masks(Counter(), {"action_mask": [1]})
    assert offers_masks(gymnasium.wrappers.TimeLimit(Offering([1]), 5), {})
    assert not offers_masks(Counter(), {})
    taxi = gymnasium.make("Taxi-v4", disable_env_checker=True)
    assert offers_masks(taxi, taxi.reset(seed=0)[1])


def test_masks_of_several_parts_are_joined_or_given_one_by_one() -> None:
    layout = ActionLayout(PARTS)
    read, row = MaskReader(layout), [1, 0, 1, 1, 0, 0, 1]
    joined = read.checked(row, "mask")
    parts = read.checked(([1, 0], [1, 1, 0], np.array([0, 1])), "mask")
    assert joined.tolist() == parts.tolist() == [bool(x) for x in row]
    assert [part.tolist() for part in split(joined, layout)] == [
        *([True, False], [], [], [True, True, False]),
        [False, True],
    ]


@pytest.mark.parametrize(
    ("space", "mask", "part"),
    [
        (D(3), [1, 0], r"shape \(2,\)\), expected 3 booleans"),
        (D(3), [[1, 0, 1, 1]], "expected 3 booleans"),
        (D(3), [0, 0, 0], "allows no action: it is"),
        (D(3), [1, 2, 0], "expected 3 booleans, or zeros and ones"),
        (D(3), [1, float("nan"), 0], "expected 3 booleans"),
        (D(3), "110", "expected 3 booleans"),
        (D(3), None, "is None"),
        (D(3), {0: 1}, "expected 3 booleans"),
        (D(3), np.array(["a", "b", "c"]), "expected 3 booleans"),
        (PARTS, [1, 0, 1, 1], "expected 7 booleans, or zeros and ones, 2 [+] 3 [+] 2 of its parts"),
        (PARTS, [1, 0, 0, 0, 0, 1, 1], r"no action in the part \[2\]\[0\]"),
    ],
)
def test_other_masks_are_rejected(space: Any, mask: Any, part: str) -> None:
    read = MaskReader(ActionLayout(space))
    with pytest.raises(ValueError, match=part):
        read(Counter(), {"action_mask": mask})
    with pytest.raises(ValueError, match=r"^action_masks\(\) .*" + part):
        read(Offering(mask), {})


def test_a_missing_mask_is_named() -> None:
    with pytest.raises(ValueError, match=r'no info\["action_mask"\] and no method action_masks'):
        MaskReader(ActionLayout(D(3)))(Counter(), {})


def test_drawing_is_uniform_among_allowed_actions() -> None:
    mask = np.array([False, True, False, True, True])
    numbers = (np.arange(300) + 0.5) / 300
    drawn = draw_allowed(np.tile(mask, (300, 1)), numbers)
    assert np.bincount(drawn, minlength=5).tolist() == [0, 100, 0, 100, 100]
    everything = draw_allowed(np.ones((300, 5), bool), numbers)
    assert everything.tolist() == np.floor(numbers * 5).tolist()
    assert draw_allowed(mask, np.nextafter(1.0, 0.0)) == 4


def test_a_forbidden_choice_becomes_the_next_allowed_one() -> None:
    layout, row = ActionLayout(PARTS), np.array([1, 0, 1, 1, 0, 0, 1], bool)
    actions = np.array([[[1, 0.5, -0.5, 2, 0], [0, 0.0, 9.0, 1, 1]]])
    expected = [[[0, 0.5, -0.5, 0, 1], [0, 0.0, 9.0, 1, 1]]]
    masks = np.tile(row, (1, 2, 1))
    assert nearest_allowed(actions, masks, layout).tolist() == expected
    alone = np.array([[[True, False, False, True]]])
    assert nearest_allowed(np.array([[1]]), alone, ActionLayout(D(4))).tolist() == [[3]]


def test_the_first_masked_action_is_found() -> None:
    masks = np.array([[[1, 0], [1, 1]], [[0, 1], [0, 1]]], bool)
    layout = ActionLayout(D(2))
    assert first_masked(np.array([[0, 1], [1, 1]]), masks, layout) is None
    assert first_masked(np.array([[0, 1], [1, 0]]), masks, layout) == (1, 1)
    layout, row = ActionLayout(PARTS), np.array([1, 0, 1, 1, 0, 0, 1], bool)
    parts = np.array([[[0, 0.5, -0.5, 1, 1]]])
    assert first_masked(parts, row[None, None], layout) is None
    parts[0, 0, 3] = 2
    assert first_masked(parts, row[None, None], layout) == (0, 0, 3)
