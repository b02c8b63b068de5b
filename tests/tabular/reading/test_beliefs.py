"""Priors that an environment publishes are used only where its rewards fit them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit, TransformReward

from rlkit.tabular.reading.beliefs import belief_from_env
from rlkit.tabular.reading.published import UnknownModel
from rlkit_envs.bandit import BernoulliBandit


class Sticky(BernoulliBandit):
    """Draws its means once, although it claims to draw them at each reset."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if not hasattr(self, "drawn"):
            super().reset(seed=3)
            self.drawn = self._means
        result = super().reset(seed=seed)
        self._means = self.drawn
        return result


class Shifted(BernoulliBandit):
    """Draws from another prior than it claims."""

    def __init__(self) -> None:
        super().__init__()
        self.beta_priors = np.array([[1.0, 1.0], [1.0, 1.3]])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._means = self.np_random.beta([1, 1.3], [1, 1])
        return 0, {}


class Doubling(BernoulliBandit):
    """Pays 2 where it should pay 1."""

    def step(self, action: int) -> Any:
        obs, reward, *rest = super().step(action)
        return (obs, 2 * reward, *rest)


class Miscounted(BernoulliBandit):
    """Has priors of three arms and two arms."""

    def __init__(self) -> None:
        super().__init__()
        self.beta_priors = np.ones((3, 2))


def test_the_priors_and_the_limit_of_a_drawn_bandit_are_read() -> None:
    belief = belief_from_env(lambda: TimeLimit(BernoulliBandit(prior=[[2, 1], [1, 5]]), 9))
    assert belief is not None
    assert belief.priors.tolist() == [[2, 1], [1, 5]]
    assert belief.time_limit == 9


@pytest.mark.parametrize("limit", [1, 2])
def test_a_short_bandit_is_read(limit: int) -> None:
    belief = belief_from_env(lambda: TimeLimit(BernoulliBandit(arms=3), limit))
    assert belief is not None
    assert belief.time_limit == limit


@pytest.mark.parametrize(
    "make",
    [
        lambda: BernoulliBandit(means=[0.5]),
        lambda: gym.make("FrozenLake-v1"),
        lambda: TransformReward(BernoulliBandit(), lambda reward: reward),
    ],
)
def test_other_environments_have_no_priors(make: Any) -> None:
    assert belief_from_env(make) is None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Sticky, r"arm \d, indexed from 0, paid \d times .* draw the means in reset"),
        (Shifted, r"arm 1, indexed from 0, paid \d times"),
        (Doubling, "expected a reward of 0 or 1"),
        (Miscounted, "expected one pair for each of 2 arms, got 3"),
    ],
)
def test_priors_that_the_rewards_do_not_fit_are_not_used(make: Any, match: str) -> None:
    with pytest.raises(UnknownModel, match=match):
        belief_from_env(make)
