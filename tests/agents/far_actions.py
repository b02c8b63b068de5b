"""Environments whose actions are in units of their own, for the remarks on ranges of actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Target(gym.Env[Any, Any]):
    """One action hits a target: the reward is 0 there and -1 at a distance of half the range.

    Args:
        low: the least action.
        high: the largest action.
        target: where the reward is 0, as a share of the range.
    """

    def __init__(self, low: float = 0.0, high: float = 100.0, target: float = 0.75) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(low, high, (1,), np.float32)
        self.target = target

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        low, high = float(self.action_space.low[0]), float(self.action_space.high[0])
        place = (float(action[0]) - low) / (high - low)
        return np.zeros(1, np.float32), -(((place - self.target) * 2) ** 2), True, False, {}


def rescaled(**options: Any) -> gym.Env[Any, Any]:
    """The same with actions in [-1, 1]."""
    return gym.wrappers.RescaleAction(Target(**options), np.float32(-1), np.float32(1))
