"""Random actions of all spaces, and their parts one by one."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.diagnosis.playing.actions import ActionSource

SPACES = [
    spaces.Discrete(4, start=-2),
    spaces.Box(-1.0, 3.0, (2, 2), np.float32),
    spaces.Box(-np.inf, np.inf, (2,), np.float32),
    spaces.Box(0.0, np.inf, (1,), np.float32),
    spaces.MultiDiscrete([3, 2], start=[1, 5]),
    spaces.MultiBinary(3),
    spaces.Tuple([spaces.Discrete(3), spaces.Box(0.0, 1.0, (2,), np.float32)]),
    spaces.Dict(b=spaces.MultiBinary(2), a=spaces.Discrete(2, start=7)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_in_the_space_and_use_all_of_it(space: spaces.Space) -> None:
    source = ActionSource(space)
    rows = [source.draw() for _ in range(200)]
    assert all(space.contains(source.layout.to_env(row)) for row in rows)
    for column, size in enumerate(source.layout.sizes):
        values = {float(np.ravel(row)[column]) for row in rows}
        assert len(values) == (size or 200)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_one_column_can_be_changed(space: spaces.Space) -> None:
    source = ActionSource(space)
    row = source.draw()
    for column in range(len(source.layout.columns)):
        values = source.values_of(column)
        assert len(set(values)) == len(values) >= 2
        for value in values:
            other = source.changed(row, column, value)
            assert space.contains(source.layout.to_env(other))
            assert np.ravel(other)[column] == pytest.approx(value)
            same = np.arange(np.size(row)) != column
            np.testing.assert_array_equal(np.ravel(other)[same], np.ravel(row)[same])


def test_masked_actions_are_not_drawn() -> None:
    source = ActionSource(spaces.MultiDiscrete([3, 2]))
    mask = np.array([False, True, False, True, False])
    assert {tuple(source.draw(mask)) for _ in range(50)} == {(1, 0)}


def test_a_choice_of_many_is_sampled_from_end_to_end() -> None:
    values = ActionSource(spaces.Discrete(1000)).values_of(0)
    assert (len(values), values[0], values[-1]) == (12, 0, 999)


def test_allowed_actions_are_drawn_equally_often() -> None:
    source = ActionSource(spaces.Discrete(9))
    mask = np.array([True] + [False] * 7 + [True])
    draws = [int(source.draw(mask)) for _ in range(400)]
    assert set(draws) == {0, 8}
    assert 140 <= draws.count(0) <= 260  # within six standard deviations
