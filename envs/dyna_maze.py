"""The maze of Sutton and Barto's Dyna example: 6 rows of 9 cells, walls, a start and a goal.

    . . . . . . . # G        Moves into walls and out of the maze leave the agent where it is. The
    . . # . . . . # .        reward is 1 on reaching the goal, which ends the episode, and 0
    S . # . . . . # .        otherwise. The shortest path takes 14 steps. There is no time limit.
    . . # . . . . . .
    . . . . . # . . .
    . . . . . . . . .

A state is 9 * row + column, from the upper left corner; the actions are up, right, down, left. `P`
is the transition table, in the form of Gymnasium's toy text environments.

Sutton (1990), Integrated architectures for learning, planning, and reacting based on approximating
dynamic programming; Sutton and Barto (2018), Reinforcement Learning, 2nd edition, example 8.1.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MAP = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
WIDTH = len(MAP[0])
_CELLS = "".join(MAP)


class DynaMaze(gym.Env[np.int64, np.int64]):
    """The maze of the Dyna example; it is deterministic."""

    def __init__(self) -> None:
        self.observation_space = spaces.Discrete(len(_CELLS))
        self.action_space = spaces.Discrete(len(MOVES))
        self.P = {
            state: {action: [_outcome(state, move)] for action, move in enumerate(MOVES)}
            for state in range(len(_CELLS))
        }
        self.initial_state_distrib = np.array([float(cell == "S") for cell in _CELLS])
        self._state = _CELLS.index("S")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = _CELLS.index("S")
        return np.int64(self._state), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        _, self._state, reward, terminated = self.P[self._state][int(action)][0]
        return np.int64(self._state), reward, terminated, False, {}


def _outcome(state: int, move: tuple[int, int]) -> tuple[float, int, float, bool]:
    """Return the one outcome of a move: probability, next state, reward, whether it ends."""
    row, column = state // WIDTH + move[0], state % WIDTH + move[1]
    inside = 0 <= row < len(MAP) and 0 <= column < WIDTH
    if _CELLS[state] == "G" or not inside or MAP[row][column] == "#":
        row, column = divmod(state, WIDTH)
    goal = MAP[row][column] == "G"
    return 1.0, row * WIDTH + column, float(goal and _CELLS[state] != "G"), goal
