"""Losses on preferences against closed forms, torch's own losses and an enumerated optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rlkit.maths.losses import binary_cross_entropy_loss
from rlkit.rlhf.objectives.preference_losses import (
    bradley_terry_loss,
    dpo_loss,
    ipo_loss,
    pairwise_accuracy,
    sequence_log_prob,
)

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss.sum(), x)
    return grad


# --- reward models --------------------------------------------------------------------------------


@pytest.mark.trap("T86")
@pytest.mark.claim(34)
def test_equal_scores_lose_ln_2_with_slope_one_half() -> None:
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    losses = bradley_terry_loss(scores, scores.detach())
    assert losses.tolist() == [pytest.approx(0.693147, abs=5e-7)] * 3
    assert gradient(losses, scores).tolist() == [-0.5] * 3


@pytest.mark.claim(34)
@settings(deadline=None, max_examples=50)
@given(
    chosen=st.floats(-30, 30),
    rejected=st.floats(-30, 30),
    margin=st.floats(0, 3),
    smoothing=st.floats(0, 0.49),
)
def test_bradley_terry_is_torchs_cross_entropy_of_the_difference(
    chosen: float, rejected: float, margin: float, smoothing: float
) -> None:
    a, b = torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected]).double()
    got = bradley_terry_loss(a, b, margin=margin, label_smoothing=smoothing)
    logits = a - b - margin
    expected = functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, 1 - smoothing), reduction="none"
    )
    torch.testing.assert_close(got, expected, **ROUNDING)
    sides = -(1 - smoothing) * functional.logsigmoid(logits)
    sides = sides - smoothing * functional.logsigmoid(-logits)
    torch.testing.assert_close(got, sides, **ROUNDING)


@pytest.mark.trap("T86")
@pytest.mark.claim(34)
def test_a_constant_added_to_all_scores_changes_neither_loss_nor_gradient() -> None:
    def run(constant: float) -> tuple[Tensor, Tensor]:
        chosen, rejected = (normal(1, 8) + constant).requires_grad_(), normal(2, 8) + constant
        losses = bradley_terry_loss(chosen, rejected)
        return losses.detach(), gradient(losses, chosen)

    for a, b in zip(run(0.0), run(7.0), strict=True):
        torch.testing.assert_close(a, b, **ROUNDING)


def test_a_margin_for_each_pair_is_taken_off_the_difference() -> None:
    chosen, rejected, margin = normal(1, 5), normal(2, 5), normal(3, 5).abs()
    got = bradley_terry_loss(chosen, rejected, margin=margin)
    each = [
        bradley_terry_loss(chosen[i : i + 1], rejected[i : i + 1], margin=float(margin[i]))
        for i in range(5)
    ]
    torch.testing.assert_close(got, torch.cat(each), **ROUNDING)
    assert (got > bradley_terry_loss(chosen, rejected)).all()


def test_smoothed_labels_have_their_minimum_at_the_log_odds() -> None:
    at = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64, requires_grad=True)
    losses = bradley_terry_loss(at, torch.zeros_like(at), label_smoothing=0.1)
    torch.testing.assert_close(gradient(losses, at), torch.zeros_like(at), **ROUNDING)


@pytest.mark.claim(35)
def test_pointwise_cross_entropy_is_torchs_and_a_bias_holds_the_class_prior() -> None:
    scores, labels = normal(4, 50), (normal(5, 50) > 0.6).double()
    torch.testing.assert_close(
        binary_cross_entropy_loss(scores, labels),
        functional.binary_cross_entropy_with_logits(scores, labels, reduction="none"),
        **ROUNDING,
    )
    # With nothing but a bias the minimum is where σ(bias) is the share of positive labels.
    prior = labels.mean()
    bias = torch.log(prior / (1 - prior)).requires_grad_()
    slope = gradient(binary_cross_entropy_loss(bias.expand(50), labels), bias)
    assert abs(slope.item()) < 1e-12


@pytest.mark.claim(40)
def test_exchanging_chosen_and_rejected_turns_the_accuracy_round() -> None:
    rng = np.random.default_rng(6)
    a = torch.from_numpy(rng.integers(4, size=200)).float()
    b = torch.from_numpy(rng.integers(4, size=200)).float()
    ties = (a == b).sum().item()
    assert 20 < ties < 80
    accuracy = pairwise_accuracy(a, b).item()
    assert accuracy == pytest.approx(((a > b).sum().item() + ties / 2) / 200, abs=1e-12)
    assert pairwise_accuracy(b, a).item() == pytest.approx(1 - accuracy, abs=1e-12)
    assert pairwise_accuracy(a, a).item() == 0.5
    assert pairwise_accuracy(a, a - 1e-3).item() == 1.0


# --- policies without a reward model --------------------------------------------------------------


def test_a_response_has_the_sum_of_its_tokens_and_nothing_else() -> None:
    log_prob = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, math.nan, 1e9]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert sequence_log_prob(log_prob, mask).tolist() == [-7.0, -8.0]


def four(seed: int = 7, size: int = 6) -> list[Tensor]:
    return [-normal(seed + i, size).abs() * 5 for i in range(4)]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_dpo_starts_at_log_2_with_rewards_of_zero(smoothing: float) -> None:
    chosen, rejected, *_ = four()
    result = dpo_loss(chosen, rejected, chosen, rejected, beta=0.3, label_smoothing=smoothing)
    assert result.losses.tolist() == [pytest.approx(math.log(2), abs=1e-15)] * 6
    assert not result.chosen_rewards.any()
    assert not result.rejected_rewards.any()


def test_dpo_is_its_published_formula() -> None:
    chosen, rejected, reference_chosen, reference_rejected = four()
    got = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.3)
    h = ((chosen - rejected) - (reference_chosen - reference_rejected)).numpy()
    np.testing.assert_allclose(got.losses, -np.log(1 / (1 + np.exp(-0.3 * h))), rtol=1e-12)
    np.testing.assert_allclose(got.chosen_rewards - got.rejected_rewards, 0.3 * h, rtol=1e-12)
    smoothed = dpo_loss(*four(), beta=0.3, label_smoothing=0.1)
    expected = 0.9 * np.log1p(np.exp(-0.3 * h)) + 0.1 * np.log1p(np.exp(0.3 * h))
    np.testing.assert_allclose(smoothed.losses, expected, rtol=1e-12)


def test_the_gradient_of_dpo_is_beta_times_the_probability_of_a_wrong_order() -> None:
    chosen, rejected, reference_chosen, reference_rejected = four()
    leaf = chosen.requires_grad_()
    result = dpo_loss(leaf, rejected, reference_chosen, reference_rejected, beta=0.3)
    assert not result.chosen_rewards.requires_grad
    wrong = torch.sigmoid(result.rejected_rewards - result.chosen_rewards)
    torch.testing.assert_close(gradient(result.losses, leaf), -0.3 * wrong, **ROUNDING)


def test_ipo_draws_the_difference_to_one_over_two_beta() -> None:
    chosen, rejected, *_ = four()
    # At the start h = 0, so the loss is (1 / 2β)² = 25 at β = 0.1.
    start = ipo_loss(chosen, rejected, chosen, rejected, beta=0.1)
    assert start.losses.tolist() == [pytest.approx(25.0, rel=1e-12)] * 6
    leaf = (chosen + 5.0).requires_grad_()
    there = ipo_loss(leaf, rejected, chosen, rejected, beta=0.1)
    assert there.losses.detach().abs().max() < 1e-24
    assert gradient(there.losses, leaf).abs().max() < 1e-12
    beyond = ipo_loss(chosen + 7.0, rejected, chosen, rejected, beta=0.1)
    assert beyond.losses.tolist() == [pytest.approx(4.0, rel=1e-12)] * 6
    assert beyond.chosen_rewards.tolist() == [pytest.approx(0.7, rel=1e-12)] * 6


def expected_dpo_gradient(
    loss: Callable[..., Any], scale: float = 1.0, beta: float = 0.4
) -> Tensor:
    """At the optimum of reward and KL, over all pairs of 7 responses labelled by their rewards."""
    reference, rewards = normal(20, 7).log_softmax(-1), normal(21, 7)
    theta = (reference + rewards / beta).requires_grad_()
    log_prob = theta.log_softmax(-1)
    i, j = (x.flatten() for x in torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij"))
    drawn = (reference[i] + reference[j]).exp() * torch.sigmoid(rewards[i] - rewards[j])
    arguments = (log_prob[i], log_prob[j], reference[i], reference[j])
    losses = loss(*(scale * x for x in arguments), beta=beta).losses
    return gradient(drawn * losses, theta)


@pytest.mark.claim(46)
def test_the_minimum_of_dpo_is_the_optimum_of_reward_and_kl() -> None:
    assert expected_dpo_gradient(dpo_loss).abs().max() < 1e-12
    # A mean over the tokens of responses of three tokens would be a third of the sum.
    assert expected_dpo_gradient(dpo_loss, scale=1 / 3).abs().max() > 1e-3

    def forgets_the_reference(a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, beta: float) -> Any:
        return dpo_loss(a, b, torch.zeros_like(c), torch.zeros_like(d), beta=beta)

    assert expected_dpo_gradient(forgets_the_reference).abs().max() > 1e-3


@pytest.mark.parametrize("loss", [dpo_loss, ipo_loss])
def test_a_wrong_sign_or_a_forgotten_reference_changes_the_loss(loss: Callable[..., Any]) -> None:
    a, b, c, d = four()
    right = loss(a, b, c, d, beta=0.3).losses
    assert (loss(b, a, d, c, beta=0.3).losses - right).abs().min() > 1e-3
    assert (loss(a, b, 0 * c, 0 * d, beta=0.3).losses - right).abs().min() > 1e-3


# --- refusals -------------------------------------------------------------------------------------

X, Y = torch.zeros(3), torch.zeros(4)
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: bradley_terry_loss(X, Y), "rejected_scores of shape"),
    (lambda: bradley_terry_loss(X, X, margin=Y), "margin of shape"),
    (lambda: bradley_terry_loss(X, X, label_smoothing=0.5), r"label_smoothing in \[0, 0.5\)"),
    (lambda: dpo_loss(X, X, X, Y, beta=1.0), "reference_rejected of shape"),
    (lambda: dpo_loss(X, X, X, X, beta=0.0), "beta above 0"),
    (lambda: ipo_loss(X, X, Y, X, beta=1.0), "reference_chosen of shape"),
    (lambda: ipo_loss(X, X, X, X, beta=math.nan), "beta above 0"),
    (lambda: sequence_log_prob(X, X), "mask to be boolean"),
    (lambda: sequence_log_prob(X, Y.bool()), "mask of shape"),
    (lambda: pairwise_accuracy(X, Y), "rejected_scores of shape"),
    (lambda: pairwise_accuracy(X[:0], X[:0]), "at least one pair"),
    (lambda: pairwise_accuracy(X, X * math.nan), "3 of them NaN"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
