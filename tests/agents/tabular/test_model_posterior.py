"""The posterior of a model against closed forms, and against Bayes' theorem on a grid."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.agents.tabular.model_posterior import ModelPosterior

REWARDS = (0.3, 1.0, -0.5, 0.8, 0.8)


def posterior(n: int = 2, c: float = 1.5, mean: float = 0.0, scale: float = 1.0) -> ModelPosterior:
    return ModelPosterior(n, 2, prior_count=c, reward_mean=mean, reward_scale=scale)


def test_outcomes_have_the_mean_and_variance_of_their_dirichlet_distribution() -> None:
    belief = posterior()
    for next_state, terminated in ((0, False), (0, False), (1, False), (1, True)):
        belief.add(1, 0, 0.0, next_state, terminated=terminated)
    weights = np.array([2.5, 1.5, 1.5])  # 1.5 / 3 before, then two, one and one end
    mean = weights / weights.sum()
    variance = mean * (1 - mean) / (weights.sum() + 1)
    np.testing.assert_allclose(belief.mean()[0][1, 0], mean, rtol=1e-12)
    rng = np.random.default_rng(0)
    draws = np.array([belief.sample(rng)[0] for _ in range(8000)])
    np.testing.assert_allclose(draws.sum(axis=-1), 1.0, rtol=1e-12)
    # Four standard errors of the mean; the variance to 10 %.
    spread = 4 * np.sqrt(variance.max() / 8000)
    np.testing.assert_allclose(draws[:, 1, 0].mean(axis=0), mean, atol=spread)
    np.testing.assert_allclose(draws[:, 1, 0].var(axis=0), variance, rtol=0.1)
    # Another pair has its prior: Dirichlet(0.5, 0.5, 0.5).
    np.testing.assert_allclose(draws[:, 0, 1].mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(draws[:, 0, 1].var(axis=0), 2 / 9 / 2.5, rtol=0.1)


def test_rewards_have_the_posterior_of_bayes_theorem_on_a_grid() -> None:
    """Prior times likelihood on a grid of rho and tau, normalised by sums."""
    mean, scale = 2.0, 0.7
    belief = posterior(mean=mean, scale=scale)
    for reward in REWARDS:
        belief.add(0, 0, reward, 0, terminated=False)
    rho, tau = np.meshgrid(np.linspace(-4, 5, 1801), np.linspace(1e-3, 30, 3000), indexing="ij")
    log = -(scale**2) * tau + 0.5 * np.log(tau) - 0.5 * tau * (rho - mean) ** 2
    for reward in REWARDS:
        log += 0.5 * np.log(tau) - 0.5 * tau * (reward - rho) ** 2
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    expected = float((weight * rho).sum())
    variance = float((weight * (rho - expected) ** 2).sum())
    assert belief.mean()[1][0, 0] == pytest.approx(expected, abs=1e-4)
    rng = np.random.default_rng(1)
    draws = np.array([belief.sample(rng)[1][0, 0] for _ in range(20_000)])
    assert draws.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / 20_000))
    assert draws.var() == pytest.approx(variance, rel=0.1)


def test_equal_rewards_leave_little_doubt_and_large_ones_no_negative_spread() -> None:
    belief = posterior(mean=-100.0)
    for _ in range(3000):
        belief.add(0, 0, -100.0, 1, terminated=False)
    draws = np.array([belief.sample(np.random.default_rng(i))[1] for i in range(200)])
    assert np.isfinite(draws).all()
    # The scale is sqrt(b / (a kappa)) with b = 1: 1 / sqrt(1501 * 3001).
    assert draws[:, 0, 0].std() == pytest.approx(1 / np.sqrt(1501 * 3001), rel=0.2)
    assert draws[:, 1, 1].std() > 0.5


def test_a_draw_without_any_gamma_above_zero_is_uniform() -> None:
    belief = posterior(c=1e-300)
    probability, _ = belief.sample(np.random.default_rng(0))
    np.testing.assert_array_equal(probability, 1 / 3)


def test_visits_and_untried_pairs_are_counted() -> None:
    belief = posterior()
    assert belief.untried == 1.0
    belief.add(1, 0, 0.0, 0, terminated=False)
    belief.add(1, 0, 0.0, 0, terminated=True)
    assert belief.visits.tolist() == [[0, 0], [2, 0]]
    assert belief.untried == 0.75
