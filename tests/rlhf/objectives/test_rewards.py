"""Rewards of tokens: where the score and the penalty go."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.maths.divergences import kl_k1
from rlkit.rlhf.objectives.rewards import missing_eos_penalty, penalised_rewards

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
NAN = math.nan


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def three_responses() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    garbage = torch.where(mask, 0.0, NAN)
    return f64([1.0, -2.0, 4.0]), normal(8, 3, 4) + garbage, normal(9, 3, 4) + garbage, mask


@pytest.mark.claim(13)
def test_rewards_add_up_to_the_score_less_beta_times_the_log_ratio() -> None:
    scores, log_prob, reference, mask = three_responses()
    rewards = penalised_rewards(scores, kl_k1(log_prob, reference), mask, kl_coef=0.3)
    for b in range(3):
        log_ratio = sum(float(log_prob[b, t] - reference[b, t]) for t in range(4) if mask[b, t])
        expected = float(scores[b]) - 0.3 * log_ratio
        assert rewards[b].sum().item() == pytest.approx(expected, abs=1e-12)
    assert not rewards[~mask].any()


@pytest.mark.claim(13)
def test_the_penalty_by_hand_has_the_sign_of_a_cost() -> None:
    # The policy finds its token twice as likely as the reference does: that costs β log 2.
    log_prob, reference = f64([[math.log(0.5), -1.0]]), f64([[math.log(0.25), -1.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    got = penalised_rewards(f64([10.0]), kl_k1(log_prob, reference), mask, kl_coef=0.3)
    torch.testing.assert_close(got, f64([[-0.3 * math.log(2), 10.0]]), **ROUNDING)


@pytest.mark.trap("T81")
@pytest.mark.claim(14)
def test_the_score_is_at_the_last_decision_and_nowhere_else() -> None:
    scores, log_prob, reference, mask = three_responses()
    kl = kl_k1(log_prob, reference)
    with_score = penalised_rewards(scores, kl, mask, kl_coef=0.3)
    without = penalised_rewards(torch.zeros_like(scores), kl, mask, kl_coef=0.3)
    expected = f64([[0, 0, 1, 0], [-2, 0, 0, 0], [0, 0, 0, 4]])
    torch.testing.assert_close(with_score - without, expected, **ROUNDING)


def test_the_score_is_at_the_last_decision_after_a_token_that_was_none() -> None:
    mask = torch.tensor([[True, False, True, False]])
    got = penalised_rewards(f64([5.0]), torch.zeros(1, 4).double(), mask, kl_coef=1.0)
    assert got.tolist() == [[0, 0, 5, 0]]


@pytest.mark.claim(22)
def test_a_response_that_did_not_end_loses_the_penalty_once() -> None:
    scores, truncated = f64([1.0, 2.0, 3.0]), torch.tensor([False, True, False])
    got = missing_eos_penalty(scores, truncated, 0.5)
    assert got.tolist() == [1.0, 1.5, 3.0]
    assert scores.tolist() == [1.0, 2.0, 3.0]
    # Whether a response has the width of the batch says nothing: both do here.
    mask = torch.ones(3, 4, dtype=torch.bool)
    rewards = penalised_rewards(got, torch.zeros(3, 4).double(), mask, kl_coef=0.1)
    assert rewards.sum(1).tolist() == [1.0, 1.5, 3.0]


SCORES, KL, KEPT = torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: penalised_rewards(SCORES, KL, KEPT.float(), kl_coef=1.0), "mask to be boolean"),
    (lambda: penalised_rewards(SCORES, KL[:1], KEPT, kl_coef=1.0), "mask of shape"),
    (lambda: penalised_rewards(SCORES[:1], KL, KEPT, kl_coef=1.0), "scores of shape"),
    (
        lambda: penalised_rewards(SCORES, KL.clone().requires_grad_(), KEPT, kl_coef=1.0),
        "without a gradient",
    ),
    (
        lambda: penalised_rewards(SCORES, KL, torch.tensor([[True] * 3, [False] * 3]), kl_coef=1.0),
        "response 1 has no token",
    ),
    (lambda: missing_eos_penalty(SCORES, SCORES, 1.0), "truncated to be boolean"),
    (lambda: missing_eos_penalty(SCORES, KEPT[:, 0], -1.0), "penalty >= 0"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
