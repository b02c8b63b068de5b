"""The testbed of Sutton and Barto: its distribution, and the shape of figure 2.2."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.bandits import GREEDY, first_episodes, play
from experiments.ten_armed import TenArmed


def test_values_and_rewards_are_standard_normal() -> None:
    env = TenArmed()
    values = first_episodes(env, 1000, lambda env: env.values)
    # Four standard deviations of a mean and of a variance of 10,000 values.
    assert values.mean() == pytest.approx(0, abs=0.04)
    assert values.var() == pytest.approx(1, abs=4 * np.sqrt(2) / 100)
    env.reset(seed=0)
    rewards = np.array([env.step(np.int64(3))[1] for _ in range(4000)])
    assert rewards.mean() == pytest.approx(env.values[3], abs=4 / np.sqrt(4000))
    assert rewards.std() == pytest.approx(1, abs=0.06)


@pytest.mark.torture
def test_exploring_overtakes_being_greedy() -> None:
    shares = {}
    best = first_episodes(TenArmed(), 400, lambda env: env.values).argmax(axis=1)
    for epsilon in (0.0, 0.1):
        options = {**GREEDY, "epsilon_start": epsilon, "epsilon_end": epsilon}
        actions, _ = play("q-learning", options, TenArmed, 400, 400)
        shares[epsilon] = (actions == best[:, None])[:, -50:].mean()
    # About 0.36 and 0.73 in the book, with standard errors below 0.025.
    assert shares[0.0] == pytest.approx(0.36, abs=0.1)
    assert shares[0.1] == pytest.approx(0.73, abs=0.1)
