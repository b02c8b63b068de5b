"""Divergences against closed forms, enumeration, quadrature and torch's own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from rlkit.maths.divergences import (
    categorical_kl,
    full_kl,
    gaussian_kl,
    kl_k1,
    kl_k2,
    kl_k3,
    sequence_kl,
)
from tests.maths.support import (
    BATCHES,
    ROUNDING,
    SEED_COUNTS,
    f64,
    gradient,
    normal,
    seeds_differ,
    with_impossible_actions,
)

NUM_ACTIONS = [1, 2, 3, 5, 15, 16, 17, 40]

# --- categorical ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_actions", NUM_ACTIONS)
def test_categorical_kl_agrees_with_torch_distributions(num_actions: int) -> None:
    p_logits, q_logits = 3 * normal(1, 4, 5, num_actions), normal(2, 4, 5, num_actions)
    p, q = (torch.distributions.Categorical(logits=x) for x in (p_logits, q_logits))
    expected = torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(categorical_kl(p_logits, q_logits), expected)
    torch.testing.assert_close(full_kl(p.logits, q.logits), expected)


@pytest.mark.trap("T31")
@pytest.mark.parametrize("num_actions", NUM_ACTIONS)
def test_a_uniform_policy_has_no_divergence_from_itself(num_actions: int) -> None:
    logits = torch.full((num_actions,), 1.7, dtype=torch.float64)
    assert categorical_kl(logits, logits).item() == 0.0


def test_categorical_kl_reproduces_the_enumerated_golden() -> None:
    p = f64([0.5, 0.25, 0.125, 0.125]).log()
    got = categorical_kl(p, torch.zeros_like(p)).item()
    assert got == pytest.approx(0.173287, abs=1e-6)  # printed to 6 digits


def test_categorical_kl_averages_over_p_and_not_over_q() -> None:
    # The golden above is the same in both directions; this one is not.
    p, q = f64([0.9, 0.1]).log(), f64([0.0, 0.0])
    expected = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert categorical_kl(p, q).item() == pytest.approx(expected, rel=1e-12)
    assert categorical_kl(q, p).item() == pytest.approx(-0.5 * math.log(0.36), rel=1e-12)


def slow_kl(p: list[float], q: list[float]) -> float:
    return sum(x * (math.log(x) - math.log(y)) for x, y in zip(p, q, strict=True) if x > 0)


@pytest.mark.parametrize("num_actions", [2, 3, 5, 16, 40])
def test_impossible_actions_add_nothing_to_the_divergence(num_actions: int) -> None:
    logits = with_impossible_actions(num_actions).requires_grad_()
    p = logits.detach().softmax(-1)
    other = normal(6, 7, num_actions)
    divergence = categorical_kl(logits, other)
    rows = zip(p.tolist(), other.softmax(-1).tolist(), strict=True)
    torch.testing.assert_close(
        divergence.detach(), f64([slow_kl(*row) for row in rows]), **ROUNDING
    )
    for y in (divergence, categorical_kl(logits, logits.detach())):
        grad = gradient(y, logits)
        assert torch.isfinite(grad).all()
        assert (grad[p == 0] == 0).all()
    assert (categorical_kl(logits, logits).abs() < 1e-15).all()


def test_divergence_is_infinite_where_only_p_allows_an_action() -> None:
    p, q = f64([0.0, 0.0, -math.inf]), f64([0.0, -math.inf, 0.0])
    assert categorical_kl(p, q).item() == math.inf


def test_an_impossible_action_adds_nothing_to_the_full_kl() -> None:
    logits = normal(3, 5).requires_grad_()
    banned = torch.tensor([False, False, True, False, True])
    log_probs = logits.masked_fill(banned, -math.inf).log_softmax(-1)
    reference = normal(4, 5).masked_fill(banned, -math.inf).log_softmax(-1)
    kl = full_kl(log_probs, reference)
    expected = full_kl(log_probs[~banned], reference[~banned])
    torch.testing.assert_close(kl, expected, **ROUNDING)
    assert gradient(kl, logits).isfinite().all()
    assert full_kl(reference, normal(4, 5).log_softmax(-1)).isfinite()
    # What the policy can do and the reference cannot is infinitely far away.
    assert full_kl(normal(4, 5).log_softmax(-1), reference).item() == math.inf


def test_a_probability_too_small_for_its_type_counts_as_impossible() -> None:
    log_probs = torch.tensor([0.0, -200.0])  # exp(-200) is 0 in float32
    assert full_kl(log_probs, torch.tensor([0.0, -math.inf])).item() == 0.0


# --- Gaussian -------------------------------------------------------------------------------------


def test_gaussian_kl_agrees_with_torch_distributions() -> None:
    mean, log_std = normal(8, 6, 3), 0.5 * normal(9, 6, 3)
    q_mean, q_log_std = normal(11, 6, 3), 0.5 * normal(12, 6, 3)
    p = torch.distributions.Normal(mean, log_std.exp())
    q = torch.distributions.Normal(q_mean, q_log_std.exp())
    divergence = torch.distributions.kl_divergence(p, q).sum(-1)
    torch.testing.assert_close(
        gaussian_kl(mean, log_std, q_mean, q_log_std), divergence, **ROUNDING
    )


@pytest.mark.parametrize("mu", [0.0, 0.1, 1.0])
def test_divergence_of_a_shifted_unit_gaussian_is_half_the_square(mu: float) -> None:
    zero = f64([0.0])
    assert gaussian_kl(f64([mu]), zero, zero, zero).item() == pytest.approx(mu**2 / 2, abs=1e-15)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_divergences_are_never_negative(seed: int, spread: float) -> None:
    g = np.random.default_rng(seed)
    a, b = (torch.from_numpy(g.normal(size=(5, 3))) for _ in range(2))
    c, d = a + spread * b, b + spread * a
    # The rounding of a sum of terms of order `spread`, which cancel to order spread².
    assert (gaussian_kl(a, b, c, d) >= -1e-15 * spread).all()
    assert (categorical_kl(a, c) >= -1e-15).all()


def test_log_std_may_be_shared_by_the_batch() -> None:
    mean, log_std, actions = normal(16, 3, 5, 2), normal(17, 3, 1, 2), normal(18, 3, 5, 2)
    full = log_std.expand(3, 5, 2)
    assert torch.equal(
        gaussian_kl(mean, log_std, actions, log_std[0]),
        gaussian_kl(mean, full, actions, full[:1].expand(3, 5, 2)),
    )


# --- from samples ---------------------------------------------------------------------------------

P = f64([0.5, 0.25, 0.125, 0.125])
UNIFORM = torch.full_like(P, 0.25)


@pytest.mark.trap("T80")
def test_kl_estimators_average_to_their_goldens_by_enumeration() -> None:
    means = [float((P * k(P.log(), UNIFORM.log())).sum()) for k in (kl_k1, kl_k2, kl_k3)]
    assert means == pytest.approx([0.173287, 0.180170, 0.173287], abs=1e-6)  # printed to 6 digits
    assert means[0] == pytest.approx(means[2], rel=1e-12)


@pytest.mark.trap("T31")
@settings(deadline=None, max_examples=60)
@given(a=st.floats(-20, 0), b=st.floats(-20, 0))
def test_k2_and_k3_are_never_negative_and_all_vanish_where_the_policies_agree(
    a: float, b: float
) -> None:
    x, y = torch.tensor([a]), torch.tensor([b])
    # expm1(z) - z in float32 may round to just below 0 near z = 0: less than one ulp of z.
    assert kl_k2(x, y).item() >= 0
    assert kl_k3(x, y).item() >= -1.2e-7 * abs(a - b)
    assert [k(x, x).item() for k in (kl_k1, kl_k2, kl_k3)] == [0, 0, 0]


@pytest.mark.claim(16)
@pytest.mark.parametrize("mu", [0.1, 1.0])
def test_kl_estimators_have_schulmans_gaussian_moments(mu: float) -> None:
    # π = N(μ, 1), reference N(0, 1), KL = μ²/2; Gauss-Hermite quadrature in place of sampling.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    x = torch.from_numpy(nodes) + mu
    w = torch.from_numpy(weights / weights.sum())
    log_prob, reference = -0.5 * (x - mu).square(), -0.5 * x.square()
    kl = mu**2 / 2
    moments = {}
    for name, estimator in {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}.items():
        k = estimator(log_prob, reference)
        mean = float((w * k).sum())
        moments[name] = mean, float((w * (k - mean).square()).sum())
    # The quadrature is exact for polynomials and converges like 1/n! for exp.
    close = {"rel": 1e-9, "abs": 1e-12}
    assert moments["k1"] == (pytest.approx(kl, **close), pytest.approx(mu**2, **close))
    assert moments["k2"][0] == pytest.approx(kl + mu**4 / 8, **close)
    assert moments["k2"][1] == pytest.approx((2 * mu**4 + mu**6) / 4, **close)
    assert moments["k3"][0] == pytest.approx(kl, **close)
    assert moments["k3"][1] == pytest.approx(math.exp(mu**2) - 1 - mu**2, **close)


def test_gradients_of_the_kl_estimators_are_those_their_docstrings_name() -> None:
    theta, reference = normal(9, 6).requires_grad_(), normal(10, 6).log_softmax(-1)
    log_pi = theta.log_softmax(-1)
    pi, ref = log_pi.exp(), reference.exp()
    kl_to_reference = gradient(pi * (log_pi - reference), theta)
    kl_from_reference = gradient(ref * (reference - log_pi), theta)

    def as_loss(estimator: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        log_pi = theta.log_softmax(-1)
        return gradient(log_pi.detach().exp() * estimator(log_pi, reference), theta)

    def as_reward(estimator: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        rewards = -estimator(log_pi, reference).detach()
        log_prob = theta.log_softmax(-1)
        return gradient(-log_prob.detach().exp() * rewards * log_prob, theta)

    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(as_loss(kl_k1), torch.zeros(6, dtype=torch.float64), **close)
    torch.testing.assert_close(as_loss(kl_k2), kl_to_reference, **close)
    torch.testing.assert_close(as_loss(kl_k3), kl_from_reference, **close)
    torch.testing.assert_close(as_reward(kl_k1), kl_to_reference, **close)
    torch.testing.assert_close(as_reward(kl_k3), kl_to_reference - kl_from_reference, **close)
    assert (kl_to_reference - kl_from_reference).abs().max() > 0.01


@pytest.mark.trap("T80")
@pytest.mark.claim(16)
def test_k1_and_k3_average_to_the_kl_and_k2_does_not() -> None:
    p = normal(1, 6).softmax(-1)
    reference = normal(2, 6).log_softmax(-1)
    kl = float((p * (p.log() - reference)).sum())
    means = [float((p * k(p.log(), reference)).sum()) for k in (kl_k1, kl_k2, kl_k3)]
    assert means[0] == pytest.approx(kl, abs=1e-12)
    assert means[2] == pytest.approx(kl, abs=1e-12)
    assert abs(means[1] - kl) > 0.05
    assert float(full_kl(p.log(), reference)) == pytest.approx(kl, abs=1e-12)


@pytest.mark.claim(16)
@pytest.mark.parametrize(
    ("mu", "noise", "bias"), [(0.1, [20, 1.42, 1.42], 0.0025), (1.0, [2, 1.73, 1.70], 0.25)]
)
def test_estimators_have_schulmans_noise_and_bias(
    mu: float, noise: list[float], bias: float
) -> None:
    # Samples from q = N(0, 1) and the divergence from p = N(mu, 1), by Gauss-Hermite quadrature.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    x, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    log_q, log_p = -0.5 * x.square(), -0.5 * (x - mu).square()
    kl = mu**2 / 2
    for estimator, expected in zip((kl_k1, kl_k2, kl_k3), noise, strict=True):
        k = estimator(log_q, log_p)
        mean = float((w * k).sum())
        std = float((w * (k - mean).square()).sum()) ** 0.5
        assert std / kl == pytest.approx(expected, abs=0.006)  # printed to two digits
        wanted = bias if estimator is kl_k2 else 0.0
        assert mean / kl - 1 == pytest.approx(wanted, abs=1e-9)


# --- gradients by finite differences --------------------------------------------------------------

DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "categorical_kl of p": lambda x: categorical_kl(x, normal(20, *x.shape)),
    "categorical_kl of q": lambda x: categorical_kl(normal(20, *x.shape), x),
    "kl_k1": lambda x: kl_k1(x, normal(11, *x.shape)),
    "kl_k2": lambda x: kl_k2(x, normal(11, *x.shape)),
    "kl_k3": lambda x: kl_k3(x, normal(11, *x.shape)),
}


@pytest.mark.parametrize("size", [3, 4, 16])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_agrees_with_finite_differences(name: str, size: int) -> None:
    assert gradcheck(DIFFERENTIABLE[name], (normal(22, 3, size).requires_grad_(),))


def test_gaussian_gradients_agree_with_finite_differences() -> None:
    assert gradcheck(gaussian_kl, [normal(23 + i, 3, 2).requires_grad_() for i in range(4)])


# --- a seed's bytes -------------------------------------------------------------------------------

ON_SEEDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "categorical_kl": categorical_kl,
    "gaussian_kl": lambda x, y: gaussian_kl(x, y, y.detach(), x.detach()),
    "kl_k1": kl_k1,
    "kl_k2": kl_k2,
    "kl_k3": kl_k3,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds, batch, size in itertools.product(SEED_COUNTS, BATCHES, [1, 2, 3, 6, 17]):
        arrays = torch.randn(2, num_seeds, batch, size, generator=g)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch, size)


@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_with_time_in_front(name: str) -> None:
    g = torch.Generator().manual_seed(1)
    for num_seeds, batch, size in itertools.product(SEED_COUNTS, [1, 3, 8], [1, 2, 6, 17]):
        arrays = torch.randn(2, 5, num_seeds, batch, size, generator=g, dtype=torch.float64)
        assert not seeds_differ(ON_SEEDS[name], *arrays, axis=1), (num_seeds, batch, size)


# --- errors ---------------------------------------------------------------------------------------

X, SHORT, L, M = torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3, 2), torch.zeros(4, 2)
KEPT = torch.ones(3, 2, dtype=torch.bool)
BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: categorical_kl(L, M), r"categorical_kl: expected q_logits of shape \(3, 2\)"),
    (lambda: gaussian_kl(L, L, M, L), r"gaussian_kl: expected q_mean of shape"),
    (lambda: gaussian_kl(L, M, L, L), r"gaussian_kl: expected p_log_std to broadcast"),
    (lambda: gaussian_kl(L, L, L, M), r"gaussian_kl: expected q_log_std to broadcast"),
    (lambda: kl_k1(X, SHORT), r"kl_k1: expected reference_log_prob"),
    (lambda: kl_k2(X, SHORT), r"kl_k2: expected reference_log_prob"),
    (lambda: kl_k3(X, SHORT), r"kl_k3: expected reference_log_prob"),
    (lambda: full_kl(X, X[0]), r"full_kl: expected reference_log_probs of shape"),
    (lambda: sequence_kl(X, X, KEPT.float()), r"sequence_kl: expected mask to be boolean"),
    (lambda: sequence_kl(X, X, KEPT[:1]), r"sequence_kl: expected mask of shape \(3, 2\)"),
    (lambda: sequence_kl(X[0], X[0], KEPT[0]), r"sequence_kl: expected log_prob of shape \[B, T\]"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
