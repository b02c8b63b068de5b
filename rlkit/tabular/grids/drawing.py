"""Draw a policy on the map of a grid world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from numpy.typing import ArrayLike


def policy_map(source: gym.Env[Any, Any] | Sequence[str], policy: ArrayLike) -> str | None:
    """Draw a policy on the map of a grid world, one arrow per cell.

    Args:
        source: a FrozenLake or CliffWalking environment, wrapped or not, or the lines of a
            FrozenLake map such as `["SFFF", "FHFH", "FFFH", "HFFG"]`.
        policy: the action in each state, `[num_states]`, states numbered row by row.

    Returns:
        The lines of the map, holes `H`, cliff `C` and goal `G` as letters; None for any other
        environment.
    """
    if isinstance(source, gym.Env):
        world = source.unwrapped
        if isinstance(world, CliffWalkingEnv):
            rows, columns = world.shape
            letters = [["F"] * columns for _ in range(rows - 1)]
            letters.append(["S", *"C" * (columns - 2), "G"])
            return _draw(letters, "↑→↓←", policy)
        if not isinstance(world, FrozenLakeEnv):
            return None
        source = ["".join(row) for row in np.asarray(world.desc).astype("U1")]
    return _draw([list(row) for row in source], "←↓→↑", policy)


def _draw(letters: list[list[str]], arrows: str, policy: ArrayLike) -> str:
    actions = np.asarray(policy)
    num_cells = sum(len(row) for row in letters)
    if actions.shape != (num_cells,) or actions.dtype.kind not in "iu":
        raise ValueError(
            f"drawing a policy: expected {num_cells} integer actions, one per cell, got "
            f"{actions.dtype} of shape {actions.shape}"
        )
    moves = iter(actions)
    drawn = [[(arrows[next(moves)], letter) for letter in row] for row in letters]
    return "\n".join(
        " ".join(letter if letter in "HGC" else arrow for arrow, letter in row) for row in drawn
    )
