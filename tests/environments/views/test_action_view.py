"""Actions that agents see as one number, or in [-1, 1]."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction

from rlkit.environments.views.action_view import ActionView
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from tests.environments.test_spaces import ENUMERABLE, number_of

D, B = spaces.Discrete, spaces.Box


@pytest.mark.parametrize("name", ENUMERABLE)
def test_actions_of_discrete_parts_become_one_number_for_each_combination(name: str) -> None:
    space = ENUMERABLE[name]
    view, layout = ActionView(space, numbered=True), ActionLayout(space)
    assert view.space == D(number_of(space))
    assert view.changes
    rows = view.to_layout(np.arange(view.space.n)[None])[0]
    # Mixed radix, the last part counting fastest.
    assert rows.tolist() == [list(row) for row in itertools.product(*map(range, layout.sizes))]
    assert all(space.contains(layout.to_env(row)) for row in rows[:100])


@pytest.mark.parametrize(
    "space",
    [D(4, start=1), B(-1, 1, (2,)), spaces.MultiBinary(14), spaces.Tuple((D(2), B(0, 1)))],
    ids=str,
)
def test_other_actions_are_not_numbered(space: Any) -> None:
    view = ActionView(space, numbered=True)
    assert view.space is space
    assert not view.changes
    actions = np.zeros((1, 2, 3))
    assert view.to_layout(actions) is actions


def test_a_combination_is_allowed_where_all_its_parts_are() -> None:
    view = ActionView(spaces.MultiDiscrete([2, 3]), numbered=True)
    masks = np.array([[[1, 0, 1, 1, 0]]], bool)
    assert view.masks(masks)[0, 0].tolist() == [True, True, False, False, False, False]


def bounded(low: Any, high: Any, dtype: Any = np.float32) -> Any:
    return B(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


@pytest.mark.parametrize(
    "space",
    [bounded([-2, 0, 5], [2, 100, 6]), bounded([-1e-3], [3e-3]), bounded([[0.1]], [[0.7]])],
    ids=str,
)
def test_rescaled_actions_are_those_of_gymnasiums_wrapper(space: Any) -> None:
    class Env(gymnasium.Env[Any, Any]):
        observation_space, action_space = D(2), space

    wrapper = RescaleAction(Env(), np.float32(-1), np.float32(1))
    view, layout = ActionView(space, rescaled=True), ActionLayout(space)
    assert view.space == wrapper.action_space
    for action in (-1.0, -0.3, 0.0, 0.9, 1.0):
        own = view.to_layout(np.full((1, 1, *space.shape), action))[0, 0]
        expected = wrapper.action(np.full(space.shape, action, np.float32))
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
        assert space.contains(layout.to_env(own))
    ends = view.to_layout(np.stack([np.full((1, *space.shape), x) for x in (-9.0, 9.0)]))
    assert np.array_equal(layout.to_env(ends[0, 0]), space.low)
    assert np.array_equal(layout.to_env(ends[1, 0]), space.high)


def test_only_numbers_with_two_bounds_are_rescaled() -> None:
    numbers = bounded([0, 0, -np.inf, 7], [10, np.inf, np.inf, 7])
    space = spaces.Dict(a=D(3), b=numbers, c=B(0, 255, (1,), np.uint8))
    view = ActionView(space, rescaled=True)
    assert view.space["a"] == D(3)
    assert view.space["b"] == bounded([-1, 0, -np.inf, 7], [1, np.inf, np.inf, 7])
    assert view.space["c"] == B(-1, 1, (1,))
    rows = np.array([[[2, 0.5, 3.0, -8.0, 7.0, 0.999], [0, -1, 0, 0, 7, -0.2]]])
    assert view.to_layout(rows)[0].tolist() == [[2, 7.5, 3.0, -8.0, 7.0, 255], [0, 0, 0, 0, 7, 102]]


@pytest.mark.parametrize("space", [D(3), bounded([0], [np.inf]), spaces.MultiBinary(2)], ids=str)
def test_an_option_that_would_do_nothing_is_rejected(space: Any) -> None:
    with pytest.raises(UsageError, match=r"--rescale-actions\): the actions of Mine are .*omit it"):
        ActionView(space, rescaled=True, name="Mine")
