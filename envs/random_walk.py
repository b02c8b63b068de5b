"""The random walk of Sutton and Barto's prediction examples: states in a row, one action.

Every step goes left or right with probability 1/2. The walk starts in the middle; leaving it on the
right ends the episode with reward 1, on the left with -1 (or `left_reward`), and other steps have
reward 0. There is nothing to decide, so what an agent learns are the values of the walk: of state i
of n, counted from 0, they are linear, ((i + 1) + (n - i) * left_reward) / (n + 1).

`P` is the transition table, in the form of Gymnasium's toy text environments.

Sutton and Barto (2018), Reinforcement Learning, 2nd edition, examples 6.2 and 7.1.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class RandomWalk(gym.Env[np.int64, np.int64]):
    """A random walk.

    Args:
        num_states: an odd number, so that there is a middle.
        left_reward: of leaving on the left.

    Raises:
        ValueError: the number of states is not odd and positive.
    """

    def __init__(self, num_states: int = 19, left_reward: float = -1.0) -> None:
        if not isinstance(num_states, int) or num_states < 1 or num_states % 2 == 0:
            raise ValueError(
                f"RandomWalk: expected num_states to be an odd number >= 1, got {num_states!r}; "
                "the walk starts in the middle"
            )
        self.observation_space = spaces.Discrete(num_states)
        self.action_space = spaces.Discrete(1)
        right, left = num_states - 1, 0
        self.P = {
            s: {
                0: [
                    (0.5, max(s - 1, left), left_reward if s == left else 0.0, s == left),
                    (0.5, min(s + 1, right), 1.0 if s == right else 0.0, s == right),
                ]
            }
            for s in range(num_states)
        }
        self.initial_state_distrib = np.eye(num_states)[num_states // 2]
        self._left_reward, self._state = left_reward, num_states // 2

    @property
    def values(self) -> NDArray[np.float64]:
        """The exact undiscounted values of the states."""
        number = len(self.P)
        i = np.arange(number)
        return ((i + 1) + (number - i) * self._left_reward) / (number + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = len(self.P) // 2
        return np.int64(self._state), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        outcomes = self.P[self._state][int(action)]
        _, self._state, reward, terminated = outcomes[int(self.np_random.random() >= 0.5)]
        return np.int64(self._state), reward, terminated, False, {}
