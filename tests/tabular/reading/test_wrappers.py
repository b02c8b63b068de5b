"""The layers of wrapped environments, and the time limits among them."""

import gymnasium as gym
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from rlkit.tabular.reading.wrappers import layers_of, time_limit


def test_layers_are_listed_from_the_outside_to_the_environment() -> None:
    env = FrozenLakeEnv()
    inner = wrappers.TimeLimit(env, 9)
    outer = wrappers.OrderEnforcing(inner)
    assert layers_of(outer) == [outer, inner, env]
    assert layers_of(env) == [env]


@pytest.mark.parametrize("limits", [[12, 5], [5, 12], [5], []])
def test_the_shortest_time_limit_holds(limits: list[int]) -> None:
    env: gym.Env[int, int] = FrozenLakeEnv()
    for limit in limits:
        env = wrappers.TimeLimit(env, limit)
    assert time_limit(layers_of(env)) == min(limits, default=None)
