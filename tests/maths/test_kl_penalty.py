"""The KL penalty by enumeration: values, gradients, where it goes, and how its weight adapts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.maths.divergences import full_kl, kl_k1, kl_k2, kl_k3, sequence_kl
from rlkit.maths.kl_penalty import AdaptiveCoefficient, KLPenalty, loss_penalty
from rlkit.rlhf.objectives.advantages import token_gae
from rlkit.rlhf.objectives.rewards import (
    penalised_rewards,
)

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
EXACT = {"rtol": 0, "atol": 1e-10}  # sums over an enumeration in float64, once through autograd
NAN = math.nan


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss.sum(), x, retain_graph=True)
    return grad


# --- one state with six actions -------------------------------------------------------------------

THETA = normal(1, 6).requires_grad_()
REFERENCE = normal(2, 6).log_softmax(-1)


def log_pi() -> Tensor:
    return THETA.log_softmax(-1)


def closed_forms() -> tuple[Tensor, Tensor]:
    """Gradients of KL(pi||ref) and of KL(ref||pi), by the chain rule and without autograd."""
    p, q = log_pi().detach().exp(), REFERENCE.exp()
    log_ratio = p.log() - q.log()
    return p * (log_ratio - (p * log_ratio).sum()), p - q


def gradient_as_loss(estimator: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The expectation over actions of the gradient of estimator(a)."""
    losses = estimator(log_pi(), REFERENCE)
    return gradient(log_pi().detach().exp() * losses, THETA)


def gradient_as_reward(estimator: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The expected policy gradient where each action costs estimator(a)."""
    costs = estimator(log_pi(), REFERENCE).detach()
    return gradient(log_pi().detach().exp() * costs * log_pi(), THETA)


def full(log_prob: Tensor, reference: Tensor) -> Tensor:
    return full_kl(log_prob, reference).expand(6)


@pytest.mark.claim(17)
def test_k1_in_the_loss_has_no_gradient() -> None:
    torch.testing.assert_close(gradient_as_loss(kl_k1), torch.zeros(6).double(), **EXACT)


@pytest.mark.claim(17)
def test_k2_in_the_loss_has_the_gradient_of_the_kl() -> None:
    torch.testing.assert_close(gradient_as_loss(kl_k2), closed_forms()[0], **EXACT)


@pytest.mark.claim(17)
def test_k3_in_the_loss_has_the_gradient_of_the_reverse_kl() -> None:
    forward, reverse = closed_forms()
    torch.testing.assert_close(gradient_as_loss(kl_k3), reverse, **EXACT)
    assert (forward - reverse).abs().max() > 0.05


@pytest.mark.claim(17)
def test_k1_in_the_reward_has_the_gradient_of_the_kl() -> None:
    torch.testing.assert_close(gradient_as_reward(kl_k1), closed_forms()[0], **EXACT)


@pytest.mark.claim(17)
def test_k3_in_the_reward_has_the_gradient_of_one_kl_less_the_other() -> None:
    forward, reverse = closed_forms()
    torch.testing.assert_close(gradient_as_reward(kl_k3), forward - reverse, **EXACT)


def test_k2_in_the_reward_has_neither_gradient() -> None:
    for wanted in closed_forms():
        assert (gradient_as_reward(kl_k2) - wanted).abs().max() > 0.05


def test_the_full_kl_has_its_gradient_in_the_loss_and_none_in_the_reward() -> None:
    torch.testing.assert_close(gradient_as_loss(full), closed_forms()[0], **EXACT)
    torch.testing.assert_close(gradient_as_reward(full), torch.zeros(6).double(), **EXACT)


GRADIENTS: dict[tuple[str, str], Callable[[], Tensor]] = {
    (placement, name): lambda run=run, estimator=estimator: run(estimator)
    for placement, run in (("reward", gradient_as_reward), ("loss", gradient_as_loss))
    for name, estimator in (("k1", kl_k1), ("k2", kl_k2), ("k3", kl_k3), ("full", full))
}


@pytest.mark.claim(17)
@pytest.mark.parametrize(("placement", "estimator"), GRADIENTS)
def test_a_penalty_is_accepted_exactly_if_its_gradient_is_that_of_the_kl(
    placement: Any, estimator: Any
) -> None:
    found = GRADIENTS[placement, estimator]()
    right = torch.allclose(found, closed_forms()[0], **EXACT)
    assert right == ((placement, estimator) in {("reward", "k1"), ("loss", "k2"), ("loss", "full")})
    if right:
        KLPenalty(coef=0.1, placement=placement, estimator=estimator)
    else:
        with pytest.raises(
            UsageError, match=f"--kl-placement.* {estimator} in the {placement} is rejected: .* use"
        ):
            KLPenalty(coef=0.1, placement=placement, estimator=estimator)


def test_the_rejection_says_why() -> None:
    with pytest.raises(UsageError, match="exactly zero"):
        KLPenalty(coef=0.1, placement="loss", estimator="k1")
    with pytest.raises(UsageError, match="reverse"):
        KLPenalty(coef=0.1, placement="loss", estimator="k3")


# --- responses of up to three tokens --------------------------------------------------------------

EOS, MAX_TOKENS = 2, 3
RESPONSES = [
    r
    for length in range(1, MAX_TOKENS + 1)
    for r in itertools.product(range(3), repeat=length)
    if EOS not in r[:-1] and (r[-1] == EOS or length == MAX_TOKENS)
]
STATES = [s for n in range(MAX_TOKENS) for s in itertools.product((0, 1), repeat=n)]
MASK = torch.tensor([[t < len(r) for t in range(MAX_TOKENS)] for r in RESPONSES])
AT = torch.tensor(
    [[STATES.index(r[:t]) if t < len(r) else 0 for t in range(MAX_TOKENS)] for r in RESPONSES]
)
TOKENS = torch.tensor([[*r, *[0] * (MAX_TOKENS - len(r))] for r in RESPONSES])
# Ends are less likely than in the reference, so that most responses are long.
LOGITS = (normal(5, len(STATES), 3) - f64([0, 0, 1.5])).requires_grad_()
REFERENCE_TABLE = normal(6, len(STATES), 3).log_softmax(-1)


def of_tokens(table: Tensor) -> Tensor:
    return table[AT, TOKENS]


def probabilities(table: Tensor) -> Tensor:
    """Of each of the responses, by multiplication and in the order of RESPONSES."""
    rows = [
        torch.stack([table[STATES.index(r[:t]), r[t]] for t in range(len(r))]).exp().prod()
        for r in RESPONSES
    ]
    return torch.stack(rows)


def exact_kl() -> Tensor:
    p, q = probabilities(LOGITS.log_softmax(-1)), probabilities(REFERENCE_TABLE)
    return (p * (p.log() - q.log())).sum()


@pytest.mark.claim(15)
def test_the_reported_kl_is_the_mean_of_sums_over_each_response() -> None:
    table = LOGITS.detach().log_softmax(-1)
    p = probabilities(table)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    garbage = torch.where(MASK, 0.0, NAN)
    sums = sequence_kl(of_tokens(table) + garbage, of_tokens(REFERENCE_TABLE) - garbage, MASK)
    assert (p * sums).sum().item() == pytest.approx(exact_kl().item(), abs=1e-12)
    assert sums.min() < 0  # an estimate from one response is not clamped

    # From samples: within four standard errors.
    drawn = np.random.default_rng(0).choice(len(RESPONSES), size=20_000, p=p.numpy())
    sample = sums[torch.from_numpy(drawn)]
    error = 4 * sample.std() / math.sqrt(len(sample))
    assert abs(sample.mean() - exact_kl()) < error
    # A mean over tokens, or a sum that is clamped at 0, is not within it.
    for wrong in (sums / MASK.sum(1), sums.clamp(min=0)):
        assert abs(wrong[torch.from_numpy(drawn)].mean() - exact_kl()) > 2 * error


def policy_gradient(rewards: Tensor) -> Tensor:
    """The exact expectation of Σ_t ∇ log π(a_t) Σ_{k>=t} r_k over all responses."""
    log_prob = of_tokens(LOGITS.log_softmax(-1)).masked_fill(~MASK, 0.0)
    values = torch.zeros_like(rewards)
    to_go = token_gae(rewards, values, MASK, discount=1.0, gae_lambda=1.0)
    weight = probabilities(LOGITS.log_softmax(-1)).detach().unsqueeze(1)
    return gradient(weight * to_go * log_prob, LOGITS)


@pytest.mark.claim(15)
def test_the_penalty_in_the_reward_has_the_gradient_of_the_objective() -> None:
    scores = normal(7, len(RESPONSES))
    log_prob = of_tokens(LOGITS.log_softmax(-1)).detach()
    p = probabilities(LOGITS.log_softmax(-1))
    wanted = gradient((p * scores).sum() - 0.3 * exact_kl(), LOGITS)

    def found(kl: Tensor, kl_coef: float = 0.3) -> Tensor:
        return policy_gradient(penalised_rewards(scores, kl, MASK, kl_coef=kl_coef))

    k1 = log_prob - of_tokens(REFERENCE_TABLE)
    torch.testing.assert_close(found(k1), wanted, **EXACT)
    # A wrong sign, another estimator, a mean over tokens, all of the KL at every token, the
    # policy as its own reference: each is another gradient.
    total = (k1 * MASK).sum(1, keepdim=True)
    mutants = {
        "sign": -k1,
        "k3": kl_k3(log_prob, of_tokens(REFERENCE_TABLE)),
        "full": full_kl(LOGITS.detach().log_softmax(-1), REFERENCE_TABLE)[AT],
        "mean": k1 / MASK.sum(1, keepdim=True),
        "sum at every token": total.expand(k1.shape),
        "reference is policy": 0 * k1,
    }
    for name, mutant in mutants.items():
        assert (found(mutant) - wanted).abs().max() > 1e-3, name


def test_the_penalty_in_the_loss_has_the_gradient_of_the_kl_of_each_visited_state() -> None:
    weight = probabilities(LOGITS.log_softmax(-1)).detach()

    def in_the_loss(penalty: KLPenalty) -> Tensor:
        table = LOGITS.log_softmax(-1)
        kl = loss_penalty(
            penalty,
            log_prob=of_tokens(table),
            reference_log_prob=of_tokens(REFERENCE_TABLE),
            log_probs=table[AT],
            reference_log_probs=REFERENCE_TABLE[AT],
        )
        return gradient(weight.unsqueeze(1) * kl.masked_fill(~MASK, 0.0), LOGITS)

    visits = torch.zeros(len(STATES), dtype=torch.float64)
    visits.index_add_(0, AT[MASK], weight.unsqueeze(1).expand(MASK.shape)[MASK])
    p = LOGITS.detach().softmax(-1)
    log_ratio = p.log() - REFERENCE_TABLE
    of_states = p * (log_ratio - (p * log_ratio).sum(-1, keepdim=True))
    wanted = visits.unsqueeze(1) * of_states
    for estimator in ("k2", "full"):
        found = in_the_loss(KLPenalty(coef=1.0, placement="loss", estimator=estimator))
        torch.testing.assert_close(found, wanted, **EXACT)
    # It leaves out that the first token decides which states follow.
    whole = gradient(exact_kl(), LOGITS)
    assert (wanted - whole)[0].abs().max() > 1e-2


# --- the adaptive coefficient ---------------------------------------------------------------------


@pytest.mark.claim(20)
@settings(deadline=None, max_examples=50)
@given(kl=st.floats(-5, 20), n=st.integers(1, 400))
def test_the_coefficient_follows_its_formula(kl: float, n: int) -> None:
    coefficient = AdaptiveCoefficient(KLPenalty(coef=0.2, target=1.5, horizon=2000))
    error = np.clip(kl / 1.5 - 1, -0.2, 0.2)
    assert coefficient.update(kl, n) == pytest.approx(0.2 * (1 + error * n / 2000), rel=1e-14)
    assert coefficient.value > 0


@pytest.mark.claim(20)
def test_at_the_target_the_coefficient_stays_and_without_one_always() -> None:
    steered = AdaptiveCoefficient(KLPenalty(coef=0.2, target=1.5))
    assert [steered.update(1.5, 256) for _ in range(3)] == [0.2] * 3
    assert steered.update(1.6, 256) > 0.2 > steered.update(0.1, 512)
    fixed = AdaptiveCoefficient(KLPenalty(coef=0.2))
    assert [fixed.update(kl, 256) for kl in (0.0, 100.0, NAN)] == [0.2] * 3


def kl_of_the_optimum(beta: float) -> float:
    """KL from the reference of the optimum for β, over 40 responses."""
    reference, rewards = normal(12, 40).log_softmax(-1), normal(13, 40) * 2
    return float(full_kl((reference + rewards / beta).log_softmax(-1), reference))


def steer(coef: float, measure: Callable[[float], float] = lambda kl: kl) -> float:
    coefficient = AdaptiveCoefficient(KLPenalty(coef=coef, target=1.5, horizon=2560))
    for _ in range(400):
        coefficient.update(measure(kl_of_the_optimum(coefficient.value)), 256)
    return kl_of_the_optimum(coefficient.value)


@pytest.mark.parametrize("coef", [0.02, 50.0])
def test_the_kl_reaches_the_target_from_a_coefficient_too_low_or_too_high(coef: float) -> None:
    assert abs(kl_of_the_optimum(coef) - 1.5) > 0.75
    assert steer(coef) == pytest.approx(1.5, rel=0.15)
    assert steer(coef, math.sqrt) != pytest.approx(1.5, rel=0.15)  # another number by that name


def test_a_restored_coefficient_continues_where_it_was() -> None:
    def walk(interrupted: bool) -> Iterator[float]:
        penalty = KLPenalty(coef=0.2, target=1.5, horizon=1000)
        coefficient = AdaptiveCoefficient(penalty)
        for k, kl in enumerate([0.1, 3.0, 2.0, 1.4, 9.0]):
            if interrupted and k == 3:
                state = coefficient.state_dict()
                coefficient = AdaptiveCoefficient(penalty)
                coefficient.load_state_dict(state)
            yield coefficient.update(kl, 100)

    assert list(walk(True)) == list(walk(False))


# --- refusals -------------------------------------------------------------------------------------

SCORES, KL, KEPT = torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
IN_REWARD, STEERED = KLPenalty(coef=0.1), KLPenalty(coef=0.1, target=1.0, horizon=100)
IN_LOSS = KLPenalty(coef=0.1, placement="loss", estimator="full")
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: KLPenalty(coef=-0.1), "coef"),
    (lambda: KLPenalty(coef=0.1, target=0.0), "target"),
    (lambda: KLPenalty(coef=0.0, target=1.0), "above 0 with a target"),
    (lambda: KLPenalty(coef=0.1, estimator="k4"), "'k1'"),  # type: ignore[arg-type]
    (lambda: AdaptiveCoefficient(STEERED).update(NAN, 10), "finite KL"),
    (lambda: AdaptiveCoefficient(STEERED).update(1.0, 500), "horizon above 100"),
    (lambda: loss_penalty(IN_REWARD, log_prob=KL, reference_log_prob=KL), "in the reward"),
    (lambda: loss_penalty(IN_LOSS, log_prob=KL, reference_log_prob=KL), "every action"),
    (
        lambda: loss_penalty(unknown_estimator(), log_prob=KL, reference_log_prob=KL),
        "unknown estimator 'k4'",
    ),
]


def unknown_estimator() -> KLPenalty:
    """A penalty with an estimator that `loss_penalty` was not taught."""
    penalty = KLPenalty(coef=0.1, placement="loss", estimator="full")
    object.__setattr__(penalty, "estimator", "k4")
    return penalty


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
