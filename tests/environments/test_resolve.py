"""What a user may name as an environment."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit.environments.environment import native_env_names
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment
from rlkit.environments.table import TabularBatchEnv
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


def test_what_is_not_an_environment_is_refused(source_file: Path) -> None:
    assert "expected a gymnasium.Env, got a dict" in refusal(f"{source_file}:not_an_env")
    assert "expected a gymnasium.Env, got a int" in refusal(lambda: 3)
    assert "got 3" in refusal(3)


def test_a_wrong_argument_is_named_with_the_environment() -> None:
    message = refusal("CartPole-v1", {"gravitation": 3})
    assert "CartPole-v1" in message
    assert "gravitation=3" in message
    assert "lenght" in refusal(Counter, {"lenght": 3})


@pytest.mark.parametrize("env_id", ["Blackjack-v1"])
def test_an_unsupported_space_is_refused_by_name(env_id: str) -> None:
    message = refusal(env_id)
    assert env_id in message
    assert "Tuple" in message


def test_an_unsupported_space_of_a_class_is_refused_and_its_probe_closed() -> None:
    made = Recorder(lambda: Counter(action_space=spaces.MultiDiscrete([2, 2])))
    assert "MultiDiscrete" in refusal(made)
    assert [single.num_closed for single in made.made] == [1]


class NegatedReward(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> float:
        return -float(reward)


NEGATED_REWARD = gym.envs.registration.WrapperSpec(
    "NegatedReward", f"{__name__}:NegatedReward", kwargs={}
)


# --- grids and twins ------------------------------------------------------------------------------


def test_the_grid_of_a_kind_is_of_that_kind() -> None:
    environment = find_environment("FrozenLake-v1")
    assert environment.kind == "tabular"
    assert isinstance(environment.grid(STREAMS, 1, kind="tabular"), TabularBatchEnv)
    own = environment.grid(STREAMS, 1, kind="gymnasium")
    assert isinstance(own, GymBatchEnv)
    own.close()
    assert find_environment(Counter).kind == "gymnasium"


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"])
def test_known_environments_have_a_twin_with_their_spaces(env_id: str) -> None:
    assert env_id in native_env_names()
    environment = find_environment(env_id)
    assert environment.kind == "native"
    grid, env = environment.grid(STREAMS, 3, kind="native"), environment.make()
    assert (grid.num_seeds, grid.num_envs) == (2, 3)
    assert grid.observation_space == env.observation_space
    assert grid.action_space == env.action_space
    grid.close()
    env.close()


def test_a_twin_is_fed_from_the_seeds_own_streams() -> None:
    grid = find_environment("CartPole-v1").grid(STREAMS, 2, kind="native", purpose="evaluation")
    obs = grid.reset()
    env = gym.make("CartPole-v1")
    for s, n in np.ndindex(2, 2):
        first, _ = env.reset(seed=STREAMS[s].episode_seed("evaluation", n, 0))
        assert first.tobytes() == obs[s, n].tobytes()
    env.close()


def test_a_twin_is_used_with_the_arguments_it_knows() -> None:
    environment = find_environment("CartPole-v1", {"max_episode_steps": 7})
    assert environment.kind == "native"
    grid = environment.grid(STREAMS, 1, kind="native")
    grid.reset()
    steps = [grid.step(np.array([[t % 2]] * 2)) for t in range(7)]
    assert steps[-1][2].all()
    assert not any(step[2].any() for step in steps[:-1])


@pytest.mark.parametrize("args", [{"render_mode": "rgb_array"}, {"disable_env_checker": True}])
def test_a_twin_is_declined_with_arguments_it_does_not_know(args: dict[str, Any]) -> None:
    environment = find_environment("CartPole-v1")
    other = dataclasses.replace(environment, args=args)
    assert other.kind == "gymnasium"


def test_a_class_that_has_a_twin_under_its_id_is_not_replaced() -> None:
    assert find_environment(CartPoleEnv).kind == "gymnasium"


def test_an_id_that_was_registered_anew_is_not_replaced() -> None:
    original = gym.registry["CartPole-v1"]
    del gym.registry["CartPole-v1"]
    try:
        gym.register("CartPole-v1", entry_point=Counter, max_episode_steps=5)
        assert find_environment("CartPole-v1").kind == "gymnasium"
    finally:
        gym.registry["CartPole-v1"] = original
    assert find_environment("CartPole-v1").kind == "native"


@pytest.mark.parametrize(
    "changes",
    [
        {"max_episode_steps": 12},
        {"max_episode_steps": 500, "kwargs": {"sutton_barto_reward": True}},
        {"max_episode_steps": 500, "additional_wrappers": (NEGATED_REWARD,)},
    ],
    ids=["limit", "arguments", "wrapper"],
)
def test_an_id_that_was_registered_anew_with_other_settings_keeps_them(
    changes: dict[str, Any],
) -> None:
    original = gym.registry["CartPole-v1"]
    del gym.registry["CartPole-v1"]
    try:
        gym.register("CartPole-v1", entry_point=original.entry_point, **changes)
        environment = find_environment("CartPole-v1")
        grid = environment.grid(STREAMS[:1], 1, kind=environment.kind)
        own = environment.grid(STREAMS[:1], 1, kind="gymnasium")
        assert grid.reset().tobytes() == own.reset().tobytes()
        for t in range(60):
            action = np.array([[(t // 2) % 2]])
            for a, b in zip(grid.step(action), own.step(action), strict=True):
                assert a.tobytes() == b.tobytes()
        own.close()
    finally:
        gym.registry["CartPole-v1"] = original


def test_spaces_that_appear_only_in_a_reset_are_refused_before_one() -> None:
    class Late(gym.Env[Any, Any]):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.observation_space = spaces.Discrete(2)
            self.action_space = spaces.Discrete(2)
            return 0, {}

    with pytest.raises(UsageError, match="Late has no observation_space before its first reset"):
        find_environment(Late)
