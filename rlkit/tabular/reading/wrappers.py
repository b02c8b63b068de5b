"""The wrappers around an environment, and the time limit that they impose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
from gymnasium import wrappers

# These change neither observation, action nor reward. Compared by exact type: a subclass may.
TRANSPARENT = (
    wrappers.TimeLimit,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.Autoreset,
    wrappers.RecordEpisodeStatistics,
)


def layers_of(env: gym.Env[Any, Any]) -> list[Any]:
    """Return the wrappers of an environment from the outside in, and last the environment."""
    layers: list[Any] = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def time_limit(layers: Iterable[Any]) -> int | None:
    """Return the steps after which a TimeLimit among the layers truncates, or None."""
    limits = [layer._max_episode_steps for layer in layers if isinstance(layer, wrappers.TimeLimit)]
    return min((int(limit) for limit in limits if limit is not None), default=None)
