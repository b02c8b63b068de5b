"""The exact frontiers of learned rewards."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import preferences_overoptimisation as experiment
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.returns import return_under_limit


def test_moments_are_those_of_a_truncated_geometric_return() -> None:
    """Each step is worth 3 and is the last with probability 1/4, at most 5 steps."""
    table = [[[(0.75, 0, 3.0, False), (0.25, 0, 3.0, True)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0])
    steps = np.arange(1, 6)
    share = np.where(steps < 5, 0.25 * 0.75 ** (steps - 1), 0.75**4)
    mean = (share * 3 * steps).sum()
    std = np.sqrt((share * (3 * steps) ** 2).sum() - mean**2)
    assert experiment.moments(mdp, np.ones((1, 1)), 5) == pytest.approx((mean, std), rel=1e-12)


def test_the_true_reward_is_not_over_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp, reference = experiment.lake()
    monkeypatch.setattr(experiment, "KL_COEFS", np.array([1.0, 0.1, 0.01]))
    rows = experiment.frontier(mdp, reference, mdp.expected_reward)
    assert (np.diff(rows["kl"]) > 0).all()
    assert (np.diff(rows["gold"]) > 0).all()
    assert (np.diff(rows["proxy"]) > 0).all()
    assert rows["return"][0] == pytest.approx(return_under_limit(mdp, reference)[0], abs=0.1)
    assert rows["return"][-1] > 0.7  # of 0.744
    wrong = experiment.frontier(mdp, reference, -mdp.expected_reward)
    assert (np.diff(wrong["proxy"]) > 0).all()
    assert (np.diff(wrong["gold"]) < 0).all()
