"""Which kind of grid an environment is stepped with, and when a twin takes its place."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams
from tests.faulty_envs import Counter

STREAMS = (SeedStreams(0, 0), SeedStreams(0, 1))


class NegatedReward(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> float:
        return -float(reward)


NEGATED_REWARD = gym.envs.registration.WrapperSpec(
    "NegatedReward", f"{__name__}:NegatedReward", kwargs={}
)


def test_the_grid_of_a_kind_is_of_that_kind() -> None:
    environment = find_environment("FrozenLake-v1")
    assert environment.kind == "tabular"
    assert isinstance(environment.grid(STREAMS, 1, kind="tabular"), TabularBatchEnv)
    own = environment.grid(STREAMS, 1, kind="gymnasium")
    assert isinstance(own, GymBatchEnv)
    own.close()
    assert find_environment(Counter).kind == "gymnasium"


class LaterCopiesDiffer(Counter):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        LaterCopiesDiffer.made += 1
        self.action_space = spaces.Discrete(3 if LaterCopiesDiffer.made == 1 else 4)


@pytest.mark.trap("F49")
def test_copies_must_have_the_spaces_that_agents_are_built_for() -> None:
    environment = find_environment(LaterCopiesDiffer)
    with pytest.raises(UsageError, match=r"different spaces.*Discrete\(3\).*Discrete\(4\)"):
        environment.grid(STREAMS, 2, kind="gymnasium")


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"])
def test_known_environments_have_a_twin_with_their_spaces(env_id: str) -> None:
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
