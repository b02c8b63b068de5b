"""How actions of any space lie in arrays."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments.views.actions import ActionLayout

D, B = spaces.Discrete, spaces.Box
MIXED = spaces.Dict(
    go=spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [0, -2]]),
    pick=spaces.Tuple((D(3, start=-1), spaces.MultiBinary(2))),
    turn=B(np.array([-1, -np.inf]), np.array([2, np.inf]), dtype=np.float64),
)


def test_columns_are_the_parts_in_their_order() -> None:
    layout = ActionLayout(MIXED)
    assert layout.sizes.tolist() == [2, 3, 4, 1, 3, 2, 2, 0, 0]
    assert [column.name for column in layout.columns[3:6]] == [
        "['go'][1][1]",
        "['pick'][0]",
        "['pick'][1][0]",
    ]
    assert layout.bounds[0].tolist() == [0] * 7 + [-1, -np.inf]
    assert layout.bounds[1].tolist() == [0] * 7 + [2, np.inf]
    assert layout.blocks == [(1, 2), (1, 3), (1, 4), (1, 1), (1, 3), (2, 2), (2, 0)]
    assert layout.offsets[:7].tolist() == [0, 2, 5, 9, 10, 13, 15]
    assert layout.num_choices == 17
    assert (layout.shape, layout.dtype, layout.is_discrete) == ((9,), np.float64, False)


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (D(3, start=2), (), np.int64),
        (B(-1, 1, (2, 3)), (2, 3), np.float64),
        (B(-1, 1, ()), (), np.float64),
        (spaces.MultiBinary([2, 2]), (4,), np.int64),
        (spaces.Tuple((D(2), D(3))), (2,), np.int64),
    ],
    ids=str,
)
def test_the_form_of_arrays_of_actions(space: Any, shape: Any, dtype: Any) -> None:
    layout = ActionLayout(space)
    assert (layout.shape, layout.dtype) == (shape, dtype)


def test_every_combination_is_another_action_of_the_space() -> None:
    layout = ActionLayout(spaces.Dict(go=MIXED["go"], pick=MIXED["pick"]))
    rows = itertools.product(*(range(size) for size in layout.sizes))
    actions = [layout.to_env(np.array(row)) for row in rows]
    assert all(layout.space.contains(action) for action in actions)
    assert len({repr(action) for action in actions}) == len(actions) == 2 * 3 * 4 * 3 * 4


def test_values_are_those_of_the_columns() -> None:
    action = ActionLayout(MIXED).to_env(np.array([1, 2, 3, 0, 2, 0, 1, 5.0, -7.5]))
    assert action["go"].tolist() == [[2, 2], [3, -2]]
    assert action["go"].dtype == np.int64
    assert action["pick"][0] == 1
    assert type(action["pick"][0]) is int
    assert action["pick"][1].tolist() == [0, 1]
    assert action["turn"].tolist() == [2.0, -7.5]  # clipped where there is a bound
    assert MIXED.contains(action)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (D(3, start=-1), [-1, 1]),
        (B(-1, 1, (1,)), [[0.0], [1.0]]),
        (spaces.MultiDiscrete([3, 3], start=[4, 0], dtype=np.uint8), [[4, 0], [6, 2]]),
        (spaces.Tuple((D(3), D(3, start=1))), [(0, 1), (2, 3)]),
    ],
    ids=str,
)
def test_batches_are_arrays_or_lists_of_actions(space: Any, expected: Any) -> None:
    layout = ActionLayout(space)
    rows = np.array([0, 2]).reshape(2, *(1 for _ in layout.shape)) * np.ones(layout.shape, int)
    batch = layout.to_env_batch(rows)
    assert (batch if isinstance(batch, list) else batch.tolist()) == expected
    assert all(space.contains(action) for action in batch)
    assert len(layout.to_env_batch(rows[:0])) == 0


@pytest.mark.parametrize(
    ("space", "part"),
    [
        (spaces.Tuple(()), "0 parts"),
        (spaces.Dict(), "0 parts"),
        (spaces.Box(-1.0, 1.0, (0,)), "0 numbers"),
        (spaces.MultiDiscrete([10**9, 2]), "1,000,000,002 choices"),
        (spaces.Tuple((D(2), spaces.Text(3))), "Text at"),
    ],
    ids=str,
)
def test_other_spaces_are_rejected(space: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        ActionLayout(space)


def test_a_box_without_axes_takes_an_array_as_its_sample_is() -> None:
    alone = spaces.Box(-1.0, 1.0, (), np.float32)
    for space in (alone, spaces.Dict(a=alone)):
        layout = ActionLayout(space)
        action = layout.to_env(np.zeros(layout.shape))
        value, sample = (
            one["a"] if space is not alone else one for one in (action, space.sample())
        )
        assert (type(value), value.shape, value.dtype) == (type(sample), (), np.float32)
        assert space.contains(action)  # which warns of anything but an array
