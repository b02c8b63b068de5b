"""Demonstrations for any task."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.environments.views.actions import ActionLayout
from rlkit.nn.demonstrations import Demonstrations


def demonstrations(task: Task, num_episodes: int = 6, length: int = 5) -> Demonstrations:
    """Return random observations and actions, as agents see them."""
    rng, count = np.random.default_rng(3), num_episodes * length
    space, layout = task.observation_space, ActionLayout(task.action_space)
    if isinstance(space, spaces.Discrete):
        observations = rng.integers(space.n, size=count)
    else:
        observations = rng.normal(size=(count, *(space.shape or ()))).astype(np.float32)
    chosen = rng.random((count, len(layout.sizes))) * np.maximum(layout.sizes, 1)
    chosen = np.where(layout.sizes > 0, np.floor(chosen), chosen)
    actions = chosen.reshape(count, *layout.shape)
    return Demonstrations(
        observations,
        actions.astype(np.int64 if layout.is_discrete else np.float32),
        np.repeat(np.arange(num_episodes), length),
    )
