"""An obstacle that can be passed on either side, and an expert that does both equally well.

The walker moves to the right by 0.1 per step, and up or down by 0.4 times the action. A disc stands
in the middle of its way: going straight on, which is the mean of both ways, hits it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

STEP, ACROSS = 0.1, 0.4  # to the right per step, and up per action
CENTRE, RADIUS = (0.5, 0.0), 0.2
NUM_STEPS = round(1 / STEP)
_RETURN = 0.65  # where the expert begins to come back


class TwoWays(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Walk from (0, 0) to x = 1 past a disc; the reward is 1 there, and 0 for hitting the disc.

    The observation is the place (x, y), the action in [-1, 1] the change of y / 0.4.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._steps, self._y = 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps, self._y = 0, 0.0
        return self._place(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._y += ACROSS * float(np.clip(action[0], -1.0, 1.0))
        x = self._steps * STEP
        has_hit = np.hypot(x - CENTRE[0], self._y - CENTRE[1]) < RADIUS
        at_end = self._steps == NUM_STEPS
        return self._place(), float(at_end), bool(has_hit or at_end), False, {}

    def _place(self) -> NDArray[np.float32]:
        return np.array([self._steps * STEP, self._y], dtype=np.float32)


def expert_action(
    place: NDArray[np.float32], side: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the action of an expert who passes the disc above (side 1) or below (-1)."""
    x, y = float(place[0]), float(place[1])
    wanted = 0.8 * side if x == 0.0 else 0.0
    if x > _RETURN:
        wanted = -0.5 * y / ACROSS
    noise = (0.06 if x == 0.0 else 0.02) * rng.standard_normal()
    return np.array([np.clip(wanted + noise, -1.0, 1.0)], dtype=np.float32)
