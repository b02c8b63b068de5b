"""Bandits: regret, and the least regret of all."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.bandits import first_episodes, least_regret, play, regret
from rlkit_envs.bandit import BernoulliBandit


def test_regret_adds_up_the_differences_to_the_best_mean() -> None:
    means = np.array([[0.2, 0.7], [0.9, 0.5]])
    lost = regret(means, np.array([[0, 1, 0], [1, 1, 0]]))
    np.testing.assert_allclose(lost, [[0.5, 0.5, 1.0], [0.4, 0.8, 0.8]])


def test_the_least_regret_is_that_of_the_bayes_optimal_return() -> None:
    # Two uniform arms: 2/3 is the mean of the larger, 6.0218 the optimum of ten pulls.
    assert least_regret(1) == pytest.approx(2 / 3 - 1 / 2)
    assert least_regret(10) == pytest.approx(20 / 3 - 6.0217857143)


def test_the_means_are_those_of_the_bandits_that_the_agents_play() -> None:
    means = first_episodes(BernoulliBandit(), 300, lambda env: env.means)
    actions, rewards = play("random", {}, BernoulliBandit, 300, 40)
    expected = np.take_along_axis(means, actions, axis=1).sum()
    # Four standard deviations of 12,000 rewards, of at most 1/2 each.
    assert rewards.sum() == pytest.approx(expected, abs=4 * 0.5 * np.sqrt(12_000))
    assert set(np.unique(rewards)) == {0.0, 1.0}
