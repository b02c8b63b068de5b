"""The scale that gives scores mean 0 and variance 1 under the reference."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.maths.returns import standardise
from rlkit.rlhf.objectives.advantages import rloo_advantages, token_gae
from rlkit.rlhf.objectives.rewards import penalised_rewards
from rlkit.rlhf.objectives.score_scale import ScoreScale


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.claim(21)
def test_scores_of_the_reference_have_mean_0_and_variance_1() -> None:
    rng = np.random.default_rng(3)
    raw, fresh = (torch.from_numpy(rng.gamma(2.0, 3.0, size=4096) + 40).float() for _ in range(2))
    scale = ScoreScale.from_scores(raw)
    same = scale.apply(raw.double())
    assert same.mean().item() == pytest.approx(0.0, abs=1e-12)
    assert same.std().item() == pytest.approx(1.0, abs=1e-12)
    # Other samples of the same distribution: 3 standard errors of 4096 draws with this kurtosis.
    other = scale.apply(fresh)
    assert abs(other.mean().item()) < 0.05
    assert abs(other.std().item() - 1) < 0.05


@pytest.mark.claim(21)
@pytest.mark.parametrize("method", ["gae", "rloo"])
def test_a_shift_of_the_reward_model_changes_no_whitened_advantage(method: str) -> None:
    raw, mask = normal(10, 8).float(), torch.arange(5) < torch.arange(8).unsqueeze(1) % 4 + 2
    kl = normal(11, 8, 5).float()

    def advantages(shift: float, *, normalised: bool) -> Tensor:
        scores = raw + shift
        if normalised:
            scores = ScoreScale.from_scores(scores).apply(scores)
        rewards = penalised_rewards(scores, kl, mask, kl_coef=0.2)
        if method == "gae":
            values = torch.zeros_like(rewards)
            x = token_gae(rewards, values, mask, discount=1.0, gae_lambda=1.0)
        else:
            x = rloo_advantages(rewards.sum(1), 4).unsqueeze(1).expand(mask.shape)
        return standardise(x.contiguous(), mask=mask, dim=(0, 1))

    for normalised in (False, True):
        difference = advantages(9.0, normalised=normalised) - advantages(0.0, normalised=normalised)
        assert difference.abs().max() < 1e-5  # ulps of float32 numbers near 9
    assert advantages(0.0, normalised=True).abs().max() > 0.5


@pytest.mark.parametrize("scores", [np.array([1.0, 4.0]), torch.tensor([1.0, 4.0])])
def test_a_scale_is_affine_for_arrays_and_tensors(scores: np.ndarray | Tensor) -> None:
    scale = ScoreScale.from_moments(mean=2.0, std=0.5)
    assert (scale.gain, scale.bias) == (2.0, -4.0)
    assert scale.apply(scores).tolist() == [-2.0, 4.0]
    assert type(scale.apply(scores)) is type(scores)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: ScoreScale.from_scores(torch.ones(4)), "all 4 scores are 1"),
    (lambda: ScoreScale.from_scores(torch.tensor([1.0])), "at least two"),
    (lambda: ScoreScale.from_scores(torch.tensor([1.0, math.nan])), "1 of them not finite"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
