"""An environment that draws whatever it was given, and two pictures."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

BRIGHT, DARK = 200, 100
_LINE = np.zeros((8, 6, 3))
_LINE[..., 1] = DARK
_LINE[2, :, 0] = BRIGHT
U8 = _LINE.astype(np.uint8)  # a red line on a dark green ground
GREY = U8[..., 0]


class Drawn(gym.Env[Any, Any]):
    """Draws whatever it was given, one thing a step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, drawings: list[Any], render_mode: str | None = None) -> None:
        self.drawings, self.t = drawings, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, Any]:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.t % 2, 1.0, self.t >= len(self.drawings) - 1, False, {}

    def render(self) -> Any:
        return self.drawings[self.t]
