"""The Bernoulli bandit: what is drawn when, and what it rejects."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlkit_envs.bandit import ENV_ID, BernoulliBandit


def rewards(env: Any, arm: int, pulls: int) -> list[float]:
    return [env.step(arm)[1] for _ in range(pulls)]


@pytest.mark.parametrize("options", [{}, {"means": [0.2, 0.9]}, {"arms": 3, "prior": [2, 1]}])
def test_it_keeps_the_rules_of_gymnasium(options: dict[str, Any]) -> None:
    check_env(gym.make(ENV_ID, **options).unwrapped, skip_render_check=True)


def test_given_means_are_those_of_every_episode() -> None:
    env = BernoulliBandit(means=[0.25, 1.0, 0.0])
    for seed in range(3):
        env.reset(seed=seed)
        assert env.means.tolist() == [0.25, 1.0, 0.0]
        assert set(rewards(env, 1, 50)) == {1.0}
        assert set(rewards(env, 2, 50)) == {0.0}
    # 4 standard deviations of the mean of 4,000 pulls are 0.027.
    assert np.mean(rewards(env, 0, 4000)) == pytest.approx(0.25, abs=0.027)
    assert env.P is not None
    assert env.P[0][0] == [(0.25, 0, 1.0, False), (0.75, 0, 0.0, False)]
    assert env.beta_priors is None


def test_each_reset_draws_the_means_from_their_own_priors_by_its_seed() -> None:
    env = BernoulliBandit(prior=[[2, 6], [1, 1]])
    means = []
    for seed in range(2000):
        env.reset(seed=seed)
        means.append(env.means)
    # Beta(2, 6) has mean 1/4 and variance 1/48; Beta(1, 1) has mean 1/2 and variance 1/12.
    np.testing.assert_allclose(np.mean(means, axis=0), [1 / 4, 1 / 2], atol=0.03)
    np.testing.assert_allclose(np.var(means, axis=0), [1 / 48, 1 / 12], atol=0.006)
    assert abs(np.corrcoef(np.transpose(means))[0, 1]) < 0.1
    env.reset(seed=7)
    again = env.means
    env.reset()
    assert (env.means != again).any()
    env.reset(seed=7)
    assert (env.means == again).all()
    assert env.P is None


def test_the_means_that_are_handed_out_are_a_copy() -> None:
    env = BernoulliBandit(means=[0.5])
    env.means[0] = 1.0
    assert env.means.tolist() == [0.5]


def test_an_episode_is_as_long_as_the_time_limit() -> None:
    for options, limit in (({}, 50), ({"max_episode_steps": 7}, 7)):
        env = gym.make(ENV_ID, means=[0.5, 0.5], **options)
        env.reset(seed=0)
        flags = [env.step(0)[2:4] for _ in range(limit)]
        assert flags == [(False, False)] * (limit - 1) + [(False, True)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"means": []}, "means of at least one arm"),
        ({"means": [[0.5]]}, "means of at least one arm"),
        ({"means": 0.5}, "means of at least one arm"),
        ({"means": [0.5, 1.5]}, r"every mean in \[0, 1\], got \[0.5, 1.5\]"),
        ({"means": [-0.1]}, r"every mean in \[0, 1\]"),
        ({"means": [float("nan")]}, r"every mean in \[0, 1\]"),
        ({"means": [float("inf")]}, r"every mean in \[0, 1\]"),
        ({"means": ["x"]}, r"means to be numbers, got \['x'\]"),
        ({"means": [0.5], "arms": 2}, "a mean for each of 2 arms"),
        ({"means": [0.5], "prior": [1, 1]}, "not both"),
        ({"arms": 0}, "arms to be a whole number >= 1, got 0"),
        ({"arms": 2.5}, "arms to be a whole number >= 1, got 2.5"),
        ({"arms": True}, "arms to be a whole number >= 1, got True"),
        ({"prior": []}, "prior to be a pair"),
        ({"prior": [1]}, "prior to be a pair"),
        ({"prior": [[1, 1, 1]]}, "prior to be a pair"),
        ({"prior": [0, 1]}, "finite alpha and beta above 0"),
        ({"prior": [1, float("inf")]}, "finite alpha and beta above 0"),
        ({"prior": [[1, 1]], "arms": 2}, "a prior for each of 2 arms"),
        ({"prior": {"a": 1}}, "prior to be numbers"),
    ],
)
def test_what_is_no_bandit_is_rejected(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=f"{ENV_ID}.*{match}"):
        BernoulliBandit(**options)
