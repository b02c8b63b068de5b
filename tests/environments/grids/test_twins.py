"""Twins that are equal, and where the others first differ."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.environments.grids.twins import check_twin
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams
from rlkit_envs.cartpole import BatchedCartPole


@pytest.mark.parametrize("name", sorted(entry_points(group="rlkit.native_envs").names))
def test_every_installed_twin_is_its_original(name: str) -> None:
    report = check_twin(name, seeds=2, envs=2, steps=210)
    assert report.equal, str(report.difference)
    assert report.transitions >= 500


class Shifted(BatchedCartPole):
    """Its reward is wrong at the fourth step."""

    def step(self, actions: Any) -> Any:
        elapsed = self._elapsed.copy()
        reward, *rest = super().step(actions)
        return reward + 0.5 * ((elapsed == 3) & (np.arange(self.num_envs) == 1)), *rest


class LateReset(BatchedCartPole):
    """Its second episode begins as the first did."""

    def __init__(self, episode_seed: Any, num_seeds: int, num_envs: int, **options: Any) -> None:
        def first(s: int, n: int, episode: int) -> Any:
            return episode_seed(s, n, 0)

        super().__init__(first, num_seeds, num_envs, **options)


class Forgets(BatchedCartPole):
    """Does not restore the steps of its episodes."""

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "elapsed_steps": 0 * state["elapsed_steps"]})


class Idles(BatchedCartPole):
    """Does not say that an episode has ended."""

    def step(self, actions: Any) -> Any:
        reward, terminated, *rest = super().step(actions)
        return np.where(self.ended & ~terminated, 1.0, reward), terminated, *rest


class Doubles(BatchedCartPole):
    """Returns observations of another type."""

    def reset(self) -> Any:
        return super().reset().astype(np.float64)


@pytest.mark.parametrize(
    ("twin", "field", "during", "episode", "step"),
    [
        (Shifted, "reward", "with automatic resets", 0, 4),
        (LateReset, "following_obs", "with automatic resets", 0, None),
        (Forgets, "truncated", "after the state was saved and loaded", None, None),
        (Idles, "reward", "in single episodes", 0, None),
    ],
)
def test_the_first_difference_is_placed(
    twin: type[Any], field: str, during: str, episode: int | None, step: int | None
) -> None:
    report = check_twin(
        "CartPole-v1", twin, env_args={"max_episode_steps": 12}, seeds=2, envs=2, steps=30
    )
    difference = report.difference
    assert not report.equal
    assert difference is not None
    assert (difference.field, difference.during) == (field, during)
    assert episode in (None, difference.episode)
    assert step in (None, difference.step)
    assert len(difference.actions) == difference.step
    assert difference.episode_seed == SeedStreams(0, difference.seed).episode_seed(
        "env", difference.env, difference.episode
    )


def test_the_actions_reproduce_the_expected_value() -> None:
    difference = check_twin("CartPole-v1", Shifted, seeds=1, envs=2, steps=10).difference
    assert difference is not None
    assert (difference.env, difference.expected, difference.got) == (1, 1.0, 1.5)
    env = gym.make("CartPole-v1", disable_env_checker=True)
    env.reset(seed=difference.episode_seed)
    for action in difference.actions:
        obs, reward, *_ = env.step(action)
    assert float(reward) == difference.expected
    assert np.isfinite(obs).all()
    text = str(difference)
    assert "reward differs at seed 0, environment 1, episode 0, step 4" in text
    assert (
        f"reset(seed={difference.episode_seed}), and the actions are {difference.actions}" in text
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("FrozenLake-v1",), "no batched twin is installed for FrozenLake-v1"),
        (("CartPole-v1", "Acrobot-v1"), "Acrobot-v1 is no batched environment"),
        (("Acrobot-v1", BatchedCartPole), "the observation_space differs: expected Box"),
    ],
)
def test_what_cannot_be_compared_is_rejected(arguments: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        check_twin(*arguments)


def test_an_observation_of_another_type_is_rejected_or_converted() -> None:
    # What a user's environment returns is converted to the type of its space.
    assert check_twin("CartPole-v1", Doubles, seeds=1, envs=1, steps=5).equal


def test_numbers_of_seeds_are_checked() -> None:
    make: Callable[..., Any] = check_twin
    with pytest.raises(UsageError, match="seeds"):
        make("CartPole-v1", seeds=0)
