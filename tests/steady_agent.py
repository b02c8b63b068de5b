"""An agent of a user's own that mostly chooses one action, and learns nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class SteadyConfig:
    """Which action is chosen how often."""

    first: int = 0  # the action
    chance: float = 0.5  # of another while training, in [0, 1]


class Steady:
    """Chooses one action; while training it often chooses any."""

    Config = SteadyConfig
    metrics = ()

    def __init__(self, task: Any, config: SteadyConfig) -> None:
        self.task, self.config = task, config
        self.generators = [stream.generator("action") for stream in task.streams]

    def act(self, obs: Any) -> Any:
        drawn = np.stack([one.random((obs.shape[1], 2)) for one in self.generators])
        others = (drawn[..., 1] * self.task.action_space.n).astype(np.int64)
        return np.where(drawn[..., 0] < self.config.chance, others, self.config.first)

    def learn(self, transition: Any) -> dict[str, Any]:
        return {}

    def actor(self, *, greedy: bool = True) -> Any:
        return Always(self.config.first)

    def state_dict(self) -> dict[str, Any]:
        return {"first": np.full((len(self.generators), 1), self.config.first)}

    def load_state_dict(self, state: Any) -> None:
        pass


class Always:
    """Chooses one action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def act(self, obs: Any) -> Any:
        return np.full(obs.shape[:2], self.action)
