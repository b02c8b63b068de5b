"""Draw a policy, or a share of time, on the map of a grid world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from numpy.typing import ArrayLike, NDArray

_LAKE = "←↓→↑"
_CLIFF = "↑→↓←"


class Grid(NamedTuple):
    """The letters of a map, and what the actions of its world look like."""

    letters: NDArray[np.str_]  # [rows, columns]; state = row * columns + column
    arrows: str  # one for each action


def grid_of(source: gym.Env[Any, Any] | Sequence[str] | NDArray[np.uint8]) -> Grid | None:
    """Return the map of a grid world, or None where there is none.

    Args:
        source: a FrozenLake or CliffWalking environment, wrapped or not; the lines of a FrozenLake
            map such as `["SFFF", "FHFH", "FFFH", "HFFG"]`, or its letters in one byte each.
    """
    if isinstance(source, np.ndarray):
        return Grid(source.view("S1").astype("U1"), _LAKE)
    if not isinstance(source, gym.Env):
        return Grid(np.array([list(row) for row in source], dtype="U1"), _LAKE)
    world = source.unwrapped
    if isinstance(world, CliffWalkingEnv):
        letters = np.full(world.shape, "F")
        letters[-1] = ["S", *"C" * (world.shape[1] - 2), "G"]
        return Grid(letters, _CLIFF)
    if isinstance(world, FrozenLakeEnv):
        return Grid(np.asarray(world.desc).astype("U1"), _LAKE)
    return None


def grid_made_by(make_env: Callable[[], gym.Env[Any, Any]]) -> Grid | None:
    """Return the map of an environment that a function makes, or None where there is none."""
    env = make_env()
    try:
        return grid_of(env)
    finally:
        env.close()


def policy_map(
    source: gym.Env[Any, Any] | Sequence[str] | NDArray[np.uint8] | Grid, policy: ArrayLike
) -> str | None:
    """Draw a policy on the map of a grid world, one arrow per cell.

    Args:
        source: a map, or what `grid_of` finds one in.
        policy: the action in each state, `[num_states]`, states numbered row by row.

    Returns:
        The lines of the map, holes `H`, cliff `C` and goal `G` as letters; None for any other
        environment.
    """
    grid = source if isinstance(source, Grid) else grid_of(source)
    if grid is None:
        return None
    actions = np.asarray(policy)
    if actions.shape != (grid.letters.size,) or actions.dtype.kind not in "iu":
        raise ValueError(
            f"drawing a policy: expected {grid.letters.size} integer actions, one per cell, got "
            f"{actions.dtype} of shape {actions.shape}"
        )
    arrows = np.array(list(grid.arrows))[actions].reshape(grid.letters.shape)
    drawn = np.where(np.isin(grid.letters, list("HGC")), grid.letters, arrows)
    return "\n".join(" ".join(row) for row in drawn)


def share_map(grid: Grid, share: ArrayLike) -> str:
    """Return the lines of a map with the percentage of each cell, and a dot where it is 0."""
    percent = 100.0 * np.asarray(share, dtype=np.float64).reshape(grid.letters.shape)
    cells = np.full(percent.shape, "     .", dtype="U6")
    for row, column in np.argwhere(percent > 0.0):
        cells[row, column] = f"{percent[row, column]:6.2f}"
    ends = np.isin(grid.letters, list("HGC")) & (percent == 0.0)
    for row, column in np.argwhere(ends):
        cells[row, column] = f"{grid.letters[row, column]:>6}"
    return "\n".join("".join(row) for row in cells)
