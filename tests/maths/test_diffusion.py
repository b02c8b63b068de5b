"""The diffusion process against its closed forms, and its reverse against Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rlkit.maths.diffusion import (
    cosine_alphas,
    diffusion_marginal,
    diffusion_step,
    predicted_start,
    reverse_posterior,
)

NUM_STEPS, NUM_SAMPLES, START = 50, 200_000, 1.7


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture(scope="module")
def walked() -> dict[int, np.ndarray]:
    """Samples after 10, 30 and 50 single steps from the same start."""
    alphas, x, kept = cosine_alphas(NUM_STEPS), torch.full((NUM_SAMPLES,), START).double(), {}
    for t, noise in enumerate(normal(NUM_STEPS, NUM_SAMPLES), start=1):
        x = diffusion_step(x, alphas[t - 1], noise)
        if t in (10, 30, NUM_STEPS):
            kept[t] = x.numpy()
    return kept


@pytest.mark.parametrize("t", [10, 30, NUM_STEPS])
def test_after_t_steps_mean_and_variance_are_the_closed_forms(
    walked: dict[int, np.ndarray], t: int
) -> None:
    # x_t = sqrt(bar) x_0 + a sum of independent noises of total variance 1 - bar.
    bar = float(np.prod(cosine_alphas(NUM_STEPS).numpy()[:t]))
    variance, sample = 1 - bar, walked[t]
    assert abs(sample.mean() - bar**0.5 * START) < 4 * (variance / NUM_SAMPLES) ** 0.5
    assert abs(sample.var() - variance) < 4 * variance * (2 / NUM_SAMPLES) ** 0.5


@pytest.mark.parametrize("t", [10, 30, NUM_STEPS])
def test_the_marginal_in_one_step_is_the_same_distribution(
    walked: dict[int, np.ndarray], t: int
) -> None:
    bar = cosine_alphas(NUM_STEPS)[:t].prod()
    once = diffusion_marginal(torch.tensor(START).double(), bar, normal(NUM_SAMPLES, seed=1))
    assert stats.ks_2samp(walked[t], once.numpy()).pvalue > 1e-4
    other = diffusion_marginal(torch.tensor(START + 0.5).double(), bar, normal(NUM_SAMPLES, seed=1))
    if t < NUM_STEPS:  # after all steps nothing of the start is left
        assert stats.ks_2samp(walked[t], other.numpy()).pvalue < 1e-10


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    for num_steps in (1, 2, 50, 1000):
        alphas = cosine_alphas(num_steps).numpy()
        assert alphas.shape == (num_steps,)
        assert ((alphas >= 0.001 - 1e-12) & (alphas < 1)).all()

    def level(t: float) -> float:
        return float(np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2)

    bars = np.cumprod(cosine_alphas(50).numpy())
    np.testing.assert_allclose(bars[[0, 24, 48]], [level(t / 50) / level(0) for t in (1, 25, 49)])
    assert bars[-1] < 1e-4  # x_T is noise


def test_the_predicted_start_undoes_the_marginal() -> None:
    bars = cosine_alphas(20).cumprod(0)[:-1, None]
    start, noise = normal(19, 7, seed=1), normal(19, 7, seed=2)
    back = predicted_start(diffusion_marginal(start, bars, noise), noise, bars)
    np.testing.assert_allclose(back.numpy(), start.numpy(), atol=1e-9)


@pytest.mark.parametrize("t", [2, 10, 19, 20])
def test_the_reverse_posterior_is_bayes_rule(t: int) -> None:
    alphas = cosine_alphas(20)
    alpha, bar = alphas[t - 1], alphas[:t].prod()
    before, x, start = float(bar / alpha), 0.4, -1.1
    # q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): on a fine grid.
    grid = np.linspace(-9, 9, 180_001)
    weights = stats.norm.pdf(x, float(alpha) ** 0.5 * grid, float(1 - alpha) ** 0.5)
    weights *= stats.norm.pdf(grid, before**0.5 * start, (1 - before) ** 0.5)
    weights /= weights.sum()
    mean = float((weights * grid).sum())
    variance = float((weights * (grid - mean) ** 2).sum())
    ours = reverse_posterior(torch.tensor(x), torch.tensor(start), alpha, bar)
    np.testing.assert_allclose([float(part) for part in ours], [mean, variance], rtol=1e-5)


def test_at_the_first_step_the_posterior_is_the_start() -> None:
    alpha = cosine_alphas(20)[0]
    mean, variance = reverse_posterior(torch.tensor(3.0), torch.tensor(-1.5), alpha, alpha)
    assert float(mean) == pytest.approx(-1.5)
    assert float(variance) == 0.0


def test_ancestral_sampling_with_the_true_noise_gives_the_distribution_of_the_data() -> None:
    # Of Gaussian data N(m, s^2) the best prediction of the noise is known in closed form.
    m, s = 0.8, 0.3
    alphas = cosine_alphas(100)
    bars = alphas.cumprod(0)
    x = normal(40_000, seed=3)
    for t in reversed(range(100)):
        total = bars[t] * s**2 + 1 - bars[t]
        noise = (1 - bars[t]).sqrt() * (x - bars[t].sqrt() * m) / total
        x, variance = reverse_posterior(x, predicted_start(x, noise, bars[t]), alphas[t], bars[t])
        x = x + variance.sqrt() * normal(len(x), seed=1000 + t)
    # Steps of finite size narrow it a little.
    assert float(x.mean()) == pytest.approx(m, abs=0.01)
    assert float(x.std()) == pytest.approx(s, rel=0.1)
