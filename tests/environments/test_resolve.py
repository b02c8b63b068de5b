"""What a user may name as an environment."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit.environments.resolve import find_environment
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams
from tests.faulty_envs import Counter, Recorder

STREAMS = (SeedStreams(0, 0), SeedStreams(0, 1))

SOURCE = """
import gymnasium as gym
import numpy as np


class Mine(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, size=1.0):
        self.size = size

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), self.size, True, False, {}


def make_mine(size=2.0):
    return Mine(size)


not_an_env = dict
"""


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """An importable module that defines environments and registers one."""
    module = types.ModuleType("rlkit_test_module")
    exec(SOURCE, module.__dict__)
    sys.modules[module.__name__] = module
    gym.register("RlkitTest-v0", entry_point=module.Mine, max_episode_steps=9)
    yield module
    del gym.registry["RlkitTest-v0"]
    del sys.modules[module.__name__]


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


# --- the ways to name one -------------------------------------------------------------------------


def test_a_gymnasium_id_is_built_with_its_time_limit() -> None:
    environment = find_environment("CartPole-v1")
    env = environment.make()
    assert isinstance(env.unwrapped, CartPoleEnv)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 500
    env.close()
    assert environment.reference == environment.name == "CartPole-v1"
    assert environment.reward_threshold == 475
    assert environment.content == ""


def test_a_module_and_a_registered_id(module: types.ModuleType) -> None:
    environment = find_environment("rlkit_test_module:RlkitTest-v0")
    env = environment.make()
    assert type(env.unwrapped) is module.Mine
    assert env.spec is not None
    assert env.spec.max_episode_steps == 9
    assert environment.name == "RlkitTest-v0"


def test_a_module_and_a_class_or_a_function(module: types.ModuleType) -> None:
    assert type(find_environment("rlkit_test_module:Mine").make()) is module.Mine
    assert find_environment("rlkit_test_module:make_mine").make().unwrapped.size == 2.0


def test_a_file_and_a_class(source_file: Path) -> None:
    environment = find_environment(f"{source_file}:Mine", {"size": 3.0})
    assert type(environment.make()).__name__ == "Mine"
    assert environment.make().unwrapped.size == 3.0
    assert environment.name == "Mine"
    assert environment.content == hashlib.sha256(source_file.read_bytes()).hexdigest()


def test_the_digest_of_a_file_changes_with_its_content(source_file: Path) -> None:
    before = find_environment(f"{source_file}:Mine").source.digest
    source_file.write_text(SOURCE + "\n# another line\n")
    assert find_environment(f"{source_file}:Mine").source.digest != before


def test_a_class_a_function_and_a_callable_object() -> None:
    assert isinstance(find_environment(Counter, {"length": 8}).make(), Counter)
    assert find_environment(Counter, {"length": 8}).make().unwrapped.length == 8
    assert find_environment(lambda length: Counter(length), {"length": 4}).make()
    assert isinstance(find_environment(functools.partial(Counter, 6)).make(), Counter)
    assert find_environment(Counter).name == "Counter"
    assert find_environment(Counter).source.files


def test_arguments_reach_every_environment() -> None:
    environment = find_environment("FrozenLake-v1", {"is_slippery": False, "map_name": "8x8"})
    assert environment.make().observation_space == spaces.Discrete(64)
    grid = environment.grid(STREAMS, 2, kind="gymnasium")
    assert grid.observation_space == spaces.Discrete(64)
    grid.close()


def test_extra_arguments_are_for_one_environment_only() -> None:
    environment = find_environment("CartPole-v1")
    env = environment.make(render_mode="rgb_array")
    assert env.render_mode == "rgb_array"
    env.close()
    assert environment.make().render_mode is None


def test_resolving_closes_every_environment_that_it_builds() -> None:
    made = Recorder(Counter)
    environment = find_environment(made)
    assert environment.kind == "gymnasium"
    assert made.made
    assert all(single.num_closed == 1 for single in made.made)


# --- refusals -------------------------------------------------------------------------------------


def refusal(env: Any, args: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        find_environment(env, args)
    return str(caught.value)


def test_an_unknown_id_is_answered_with_the_closest() -> None:
    message = refusal("CartPol-v1")
    assert "'CartPol-v1'" in message
    assert "Did you mean 'CartPole-v" in message
    assert "module:Id" in message


def test_an_unknown_module_file_or_class_is_named(
    module: types.ModuleType, source_file: Path
) -> None:
    assert "no_such_module" in refusal("no_such_module:Env-v0")
    assert "Did you mean 'Mine'" in refusal("rlkit_test_module:Mino")
    assert "Did you mean 'Mine'" in refusal(f"{source_file}:Mino")
    assert "cannot read" in refusal(f"{source_file.parent}/other.py:Mine")
    assert f"{source_file}:MyEnv" in refusal(str(source_file))


def test_a_file_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    message = refusal(f"{path}:Mine")
    assert "broken.py" in message
    assert "ZeroDivisionError" in message


def test_objects_that_are_not_environments_are_rejected(source_file: Path) -> None:
    assert "expected a gymnasium.Env, got a dict" in refusal(f"{source_file}:not_an_env")
    assert "expected a gymnasium.Env, got a int" in refusal(lambda: 3)
    assert "got 3" in refusal(3)


def test_a_wrong_argument_is_named_with_the_environment() -> None:
    message = refusal("CartPole-v1", {"gravitation": 3})
    assert "CartPole-v1" in message
    assert "gravitation=3" in message
    assert "lenght" in refusal(Counter, {"lenght": 3})


def test_an_id_that_an_installed_package_offers_is_registered_when_it_is_named() -> None:
    gym.registry.pop("BernoulliBandit-v0", None)
    sys.modules.pop("rlkit_envs.bandit", None)
    assert find_environment("BernoulliBandit-v0").reference == "BernoulliBandit-v0"
    with pytest.raises(UsageError, match="Did you mean 'BernoulliBandit-v0'"):
        find_environment("BernouliBandit-v0")
