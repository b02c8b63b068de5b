"""Which environments need no probe, and that a changed one is not taken for one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from rlkit.tabular.reading import known
from rlkit.tabular.reading.known import follows_table
from rlkit.tabular.reading.model import examine

TABLES = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1")


@pytest.mark.parametrize("name", [*TABLES, "Taxi-v4"])
def test_gymnasiums_tables_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make(name)
    assert follows_table(env)

    def played(*args: Any) -> Any:
        raise AssertionError("no probe is needed")

    monkeypatch.setattr("rlkit.tabular.reading.model.play", played)
    model = examine(lambda: gym.make(name))
    assert model.mdp is not None
    assert model.mdp.time_limit == env.spec.max_episode_steps  # type: ignore[union-attr]


def _subclass() -> gym.Env[Any, Any]:
    class Lake(FrozenLakeEnv):
        pass

    return Lake()


def _own_class_of_the_same_name() -> gym.Env[Any, Any]:
    Lake = type("FrozenLakeEnv", (FrozenLakeEnv,), {})
    env: gym.Env[Any, Any] = Lake()
    return env


def _own_step() -> gym.Env[Any, Any]:
    env = gym.make("FrozenLake-v1")
    env.unwrapped.step = lambda action: (0, 0.0, False, False, {})  # type: ignore[method-assign]
    return env


def _own_step_of_a_wrapper() -> gym.Env[Any, Any]:
    env = gym.make("FrozenLake-v1")
    env.step = lambda action: (0, 0.0, False, False, {})  # type: ignore[method-assign]
    return env


def _table_that_computes() -> gym.Env[Any, Any]:
    class Table(dict[int, Any]):
        pass

    env = FrozenLakeEnv()
    env.P = Table(env.P)
    return env


@pytest.mark.parametrize(
    "make",
    [
        *(_subclass, _own_class_of_the_same_name, _own_step, _own_step_of_a_wrapper),
        _table_that_computes,
        lambda: gym.make("Taxi-v4", fickle_passenger=True),
        lambda: gym.make("Blackjack-v1"),
        lambda: gym.make("CartPole-v1"),
    ],
)
def test_another_environment_is_not_known(make: Callable[[], gym.Env[Any, Any]]) -> None:
    assert not follows_table(make())


@pytest.mark.parametrize("method", ["step", "reset"])
def test_a_class_with_a_replaced_method_is_not_known(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(FrozenLakeEnv, method)
    monkeypatch.setattr(FrozenLakeEnv, method, lambda *args, **options: original(*args, **options))
    assert not follows_table(gym.make("FrozenLake-v1"))


def test_a_wrapper_with_a_replaced_method_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = gym.wrappers.TimeLimit
    original = limit.step
    monkeypatch.setattr(limit, "step", lambda self, action: original(self, action))
    assert not follows_table(gym.make("FrozenLake-v1"))


def test_a_replaced_draw_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_lake, "categorical_sample", lambda p, rng: int(np.argmax(p)))
    assert not follows_table(gym.make("FrozenLake-v1"))


@pytest.mark.parametrize("name", ["frozen_lake", "utils"])
def test_another_version_of_a_file_is_not_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known._READ, f"gymnasium.envs.toy_text.{name}", "0" * 64)
    assert not follows_table(gym.make("FrozenLake-v1"))
