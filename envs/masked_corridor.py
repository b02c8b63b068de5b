"""A corridor in which most actions are masked, and the two that are not differ from place to place.

At each place one of the actions moves right and another left; which ones is a fixed function of the
place. All others are masked: taking one does nothing, or raises if the corridor is strict. The
reward is -1 per step, and the episode ends at the right end.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class MaskedCorridor(gym.Env[np.int64, np.int64]):
    """A corridor that offers action masks in `info["action_mask"]`.

    Args:
        length: places, the last of which is the end.
        num_actions: of which all but two are masked at each place, >= 2.
        max_steps: after which an episode is truncated.
        strict: whether a masked action raises.
    """

    def __init__(
        self, length: int = 10, num_actions: int = 20, max_steps: int = 200, strict: bool = False
    ) -> None:
        self.observation_space = spaces.Discrete(length)
        self.action_space = spaces.Discrete(num_actions)
        self._length, self._num_actions = length, num_actions
        self._max_steps, self._strict = max_steps, strict
        place = np.arange(length)
        self._right = (7 * place + 3) % num_actions
        self._left = (self._right + 1 + place % (num_actions - 1)) % num_actions
        self._place = self._elapsed = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._place = self._elapsed = 0
        return np.int64(0), {"action_mask": self._mask()}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        if action == self._right[self._place]:
            self._place += 1
        elif action == self._left[self._place]:
            self._place = max(0, self._place - 1)
        elif self._strict:
            raise ValueError(f"action {action} is masked at place {self._place}")
        self._elapsed += 1
        info = {"action_mask": self._mask()}
        at_end = self._place == self._length - 1
        return np.int64(self._place), -1.0, at_end, self._elapsed >= self._max_steps, info

    def _mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self._num_actions, dtype=np.bool_)
        mask[[self._left[self._place], self._right[self._place]]] = True
        return mask
