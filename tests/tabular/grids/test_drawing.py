"""Policies drawn on the map of a grid world."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.tabular.grids.drawing import policy_map
from rlkit.tabular.solution import solve


def test_frozen_lakes_policy_is_drawn_with_holes_and_goal() -> None:
    solution = solve(lambda: gym.make("FrozenLake-v1"))
    drawing = "← ↑ ↑ ↑\n← H ← H\n↑ ↓ ← H\nH → ↓ G"
    assert policy_map(gym.make("FrozenLake-v1"), solution.policy) == drawing
    assert policy_map(["SFFF", "FHFH", "FFFH", "HFFG"], solution.policy) == drawing


@pytest.mark.slow
def test_cliff_walkings_policy_is_drawn_along_the_edge() -> None:
    solution = solve(lambda: gym.make("CliffWalking-v1"))
    drawing = policy_map(gym.make("CliffWalking-v1"), solution.policy)
    assert drawing is not None
    lines = [line.split() for line in drawing.splitlines()]
    assert [len(line) for line in lines] == [12] * 4
    assert lines[2] == ["→"] * 11 + ["↓"]
    assert lines[3] == ["↑", *"C" * 10, "G"]


def test_every_arrow_points_where_the_environment_goes() -> None:
    ways = {"←": (0, -1), "→": (0, 1), "↑": (-1, 0), "↓": (1, 0)}
    worlds: list[tuple[Any, int, int]] = [
        (gym.make("FrozenLake-v1", desc=["FFF", "FSF", "FFG"], is_slippery=False), 3, 4),
        (gym.make("CliffWalking-v1"), 12, 13),
    ]
    for env, columns, cell in worlds:  # `cell` is inside the map
        for action in range(4):
            num_states = env.observation_space.n
            drawing = policy_map(env, np.full(num_states, action))
            assert drawing is not None
            arrow = drawing.split()[cell]
            ((_, to, _, _),) = env.unwrapped.P[cell][action]
            down, right = ways[arrow]
            assert to == cell + down * columns + right


def test_environments_that_are_no_known_grid_are_not_drawn() -> None:
    assert policy_map(gym.make("Taxi-v4"), np.zeros(500, int)) is None
    assert policy_map(gym.make("CartPole-v1"), np.zeros(4, int)) is None


def test_a_policy_of_another_size_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected 16 integer actions"):
        policy_map(gym.make("FrozenLake-v1"), np.zeros(64, int))
