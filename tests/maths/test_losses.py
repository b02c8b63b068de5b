"""Losses against published numbers and enumeration, and above all through their gradients."""

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
from torch.autograd import gradcheck

from rlkit.maths.divergences import kl_k1, kl_k2, kl_k3
from rlkit.maths.losses import (
    binary_cross_entropy_loss,
    clipped_value_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    value_loss,
)
from rlkit.maths.masking import fill_masked, masked_mean

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
NAN = math.nan


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def leaf(data: object) -> Tensor:
    return f64(data).requires_grad_()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss.sum(), x, retain_graph=True)
    return grad


# --- policy gradient ------------------------------------------------------------------------------


def enumerated_gradient(theta: Tensor, advantages: Tensor, sign: float = 1.0) -> Tensor:
    """E_{a~π}[∇ loss] with every action weighted by its probability, as sampling would."""
    log_probs = theta.log_softmax(-1)
    loss = policy_gradient_loss(log_probs, sign * advantages)
    return gradient(log_probs.detach().exp() * loss, theta)


def test_policy_gradient_of_the_two_armed_bandit_is_exact() -> None:
    # π = (1/2, 1/2), rewards (1, 0): ∇J = π_a (r_a - J) = (1/4, -1/4); the loss descends.
    theta = leaf([0.0, 0.0])
    assert (-enumerated_gradient(theta, f64([1.0, 0.0]))).tolist() == [0.25, -0.25]
    assert (-enumerated_gradient(theta, f64([1.0, 0.0]), sign=-1)).tolist() != [0.25, -0.25]


def test_expected_score_is_zero() -> None:
    theta = leaf([0.3, -1.2, 0.7])
    got = enumerated_gradient(theta, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(got, torch.zeros_like(got), **ROUNDING)


@pytest.mark.parametrize("baseline", [-3.0, 0.4, 100.0])
def test_a_baseline_of_the_state_leaves_the_expected_gradient_alone(baseline: float) -> None:
    theta, rewards = leaf([0.3, -1.2, 0.7]), f64([1.0, -2.0, 0.5])
    plain = enumerated_gradient(theta, rewards)
    # 100 times larger terms that cancel: 100 times the rounding.
    torch.testing.assert_close(
        enumerated_gradient(theta, rewards - baseline), plain, rtol=0, atol=1e-12
    )
    depends_on_the_action = rewards - baseline * f64([1, 0, 0])
    leaked = enumerated_gradient(theta, depends_on_the_action)
    assert (leaked - plain).abs().max() > 0.01


# --- PPO ------------------------------------------------------------------------------------------


def rlax_ppo_case() -> tuple[Tensor, Tensor, Tensor]:
    rows, actions = torch.arange(3), torch.arange(3)
    logits = f64([[1, 1, 1], [2, 0, 0], [-1, -2, -3]])
    behaviour = f64([[1, 1, 1], [2, 0, 0], [-3, -2, -1]])
    log_prob, old = (x.log_softmax(-1)[rows, actions] for x in (logits, behaviour))
    return log_prob, old, f64([0.3, 0.2, 0.1])


@pytest.mark.parametrize(("sign", "expected"), [(1, -0.1711778), (-1, 0.1933333)])
def test_ppo_clip_loss_reproduces_the_rlax_goldens(sign: int, expected: float) -> None:
    log_prob, old, advantages = rlax_ppo_case()
    torch.testing.assert_close((log_prob - old).exp(), f64([1, 1, 0.13533528]), rtol=0, atol=1e-8)
    got = ppo_clip_loss(log_prob, old, sign * advantages, clip_epsilon=0.2).mean()
    assert got.item() == pytest.approx(expected, abs=1e-7)  # printed to 7 digits


def written_out_ppo(log_prob: float, old: float, advantage: float, epsilon: float) -> float:
    ratio = math.exp(log_prob - old)
    clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
    return -min(ratio * advantage, clipped * advantage)


@settings(deadline=None, max_examples=100)
@given(
    log_prob=st.floats(-5, 5),
    old=st.floats(-5, 5),
    advantage=st.floats(-10, 10),
    epsilon=st.sampled_from([0.0, 0.1, 0.2, 0.9]),
)
def test_ppo_clip_loss_is_the_minimum_of_the_two_surrogates(
    log_prob: float, old: float, advantage: float, epsilon: float
) -> None:
    arrays = f64([log_prob]), f64([old]), f64([advantage])
    expected = written_out_ppo(log_prob, old, advantage, epsilon)
    # The edge is exp(log(1+ε)) in one form and 1+ε in the other: a few ulp.
    assert ppo_clip_loss(*arrays, clip_epsilon=epsilon).item() == pytest.approx(expected, rel=1e-13)
    by_tensor = ppo_clip_loss(*arrays, clip_epsilon=f64(epsilon)).item()
    assert by_tensor == pytest.approx(expected, rel=1e-13)


Ppo = Callable[..., Tensor]


def ppo_clipping_both_sides(log_prob, old, advantages, *, clip_epsilon):
    ratio = (log_prob - old).exp().clamp(1 - clip_epsilon, 1 + clip_epsilon)
    return -ratio * advantages


def ppo_never_clipping(log_prob, old, advantages, *, clip_epsilon):
    return -(log_prob - old).exp() * advantages


def ppo_taking_the_maximum(log_prob, old, advantages, *, clip_epsilon):
    ratio = (log_prob - old).exp()
    clipped = ratio.clamp(1 - clip_epsilon, 1 + clip_epsilon)
    return -torch.maximum(ratio * advantages, clipped * advantages)


def ppo_with_its_own_log_prob(log_prob, old, advantages, *, clip_epsilon):
    return ppo_clip_loss(log_prob, log_prob.detach(), advantages, clip_epsilon=clip_epsilon)


CORNERS = [(1.5, 1.0, True), (0.5, -1.0, True), (0.5, 1.0, False), (1.5, -1.0, False)]
INSIDE = [(1.1, 1.0, False), (0.9, 1.0, False), (1.1, -1.0, False), (1.0, 2.0, False)]


def check_clip_corners(loss: Ppo) -> None:
    for ratio, advantage, clipped in CORNERS + INSIDE:
        log_prob = leaf([math.log(ratio)])
        grad = gradient(loss(log_prob, f64([0.0]), f64([advantage]), clip_epsilon=0.2), log_prob)
        expected = 0.0 if clipped else -advantage * ratio
        torch.testing.assert_close(grad, f64([expected]), **ROUNDING)


@pytest.mark.claim(29)
def test_ppo_clip_loss_has_zero_gradient_in_exactly_two_corners() -> None:
    check_clip_corners(ppo_clip_loss)


@pytest.mark.parametrize(
    "mutant",
    [
        ppo_clipping_both_sides,
        ppo_never_clipping,
        ppo_taking_the_maximum,
        ppo_with_its_own_log_prob,
    ],
    ids=lambda f: f.__name__,
)
def test_a_wrong_clip_fails_at_the_corners(mutant: Ppo) -> None:
    with pytest.raises(AssertionError):
        check_clip_corners(mutant)


def test_ppo_clip_loss_at_ratio_one_has_the_policy_gradient() -> None:
    log_prob, advantages = normal(1, 9).requires_grad_(), normal(2, 9)
    got = gradient(
        ppo_clip_loss(log_prob, log_prob.detach(), advantages, clip_epsilon=0.2), log_prob
    )
    torch.testing.assert_close(
        got, gradient(policy_gradient_loss(log_prob, advantages), log_prob), **ROUNDING
    )


def test_an_overflowing_ratio_past_its_edge_has_exactly_zero_gradient() -> None:
    log_prob = torch.tensor([200.0], requires_grad=True)  # exp(200) is inf in float32
    old, advantage = torch.zeros(1), torch.ones(1)
    loss = ppo_clip_loss(log_prob, old, advantage, clip_epsilon=0.2)
    assert loss.item() == pytest.approx(-1.2)
    assert gradient(loss, log_prob).item() == 0.0
    ratio = (log_prob - old).exp()  # the formula as it is printed: 0 * inf in the backward pass
    naive = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    assert gradient(naive, log_prob).isnan()


def test_one_epsilon_for_each_seed() -> None:
    log_prob, old, advantages = normal(3, 3, 8), normal(4, 3, 8), normal(5, 3, 8)
    epsilons = [0.05, 0.2, 0.5]
    got = ppo_clip_loss(log_prob, old, advantages, clip_epsilon=f64(epsilons)[:, None])
    for k, epsilon in enumerate(epsilons):
        alone = ppo_clip_loss(log_prob[k], old[k], advantages[k], clip_epsilon=epsilon)
        torch.testing.assert_close(got[k], alone, **ROUNDING)


# --- value loss -----------------------------------------------------------------------------------


def test_value_loss_is_half_the_square_and_its_gradient_the_error() -> None:
    values = leaf([1.0, -2.0, 0.5])
    loss = value_loss(values, f64([3.0, -2.0, 0.0]))
    assert loss.tolist() == [2.0, 0.0, 0.125]
    assert gradient(loss, values).tolist() == [-2.0, 0.0, 0.5]


CLIPPED_VALUE = [
    # v, v_old, R: loss and gradient worked out by hand for a range of 0.2
    (0.1, 0.0, 1.0, 0.405, -0.9),  # within the range: the plain loss
    (0.9, 0.0, 1.0, 0.32, 0.0),  # moved too far towards R: value of the edge, no gradient
    (-0.9, 0.0, 1.0, 1.805, -1.9),  # moved away from R: the plain loss, gradient stays
    (1.9, 0.0, 1.0, 0.405, 0.9),  # beyond R and farther than the edge is from it: plain
    (1.5, 0.0, 1.0, 0.32, 0.0),  # beyond R but nearer than the edge
]


def check_clipped_value(loss: Callable[..., Tensor]) -> None:
    for v, old, target, expected, slope in CLIPPED_VALUE:
        values = leaf([v])
        got = loss(values, f64([old]), f64([target]), clip_range=0.2)
        torch.testing.assert_close(got, f64([expected]), **ROUNDING)
        torch.testing.assert_close(gradient(got, values), f64([slope]), **ROUNDING)


def clipped_value_with_minimum(values, old, targets, *, clip_range):
    clipped = old + (values - old).clamp(-clip_range, clip_range)
    return 0.5 * torch.minimum((values - targets).square(), (clipped - targets).square())


def clipped_value_around_the_target(values, old, targets, *, clip_range):
    return clipped_value_loss(values, targets, targets, clip_range=clip_range)


def clipped_value_around_itself(values, old, targets, *, clip_range):
    return clipped_value_loss(values, values.detach(), targets, clip_range=clip_range)


@pytest.mark.claim(29)
def test_clipped_value_loss_is_the_larger_of_two_errors() -> None:
    check_clipped_value(clipped_value_loss)


@pytest.mark.parametrize(
    "mutant",
    [clipped_value_with_minimum, clipped_value_around_the_target, clipped_value_around_itself],
    ids=lambda f: f.__name__,
)
def test_a_wrong_value_clip_fails_by_hand(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_clipped_value(mutant)


def test_clipped_value_loss_with_a_wide_range_is_value_loss() -> None:
    v, old, target = normal(6, 20), normal(7, 20), normal(8, 20)
    wide = clipped_value_loss(v, old, target, clip_range=1e6)
    torch.testing.assert_close(wide, value_loss(v, target), rtol=0, atol=1e-9)  # 1e6 * eps


# --- binary cross-entropy -------------------------------------------------------------------------


def test_binary_cross_entropy_at_equal_scores_is_ln_2_with_slope_one_half() -> None:
    logits = leaf([0.0, 0.0])
    loss = binary_cross_entropy_loss(logits, f64([1.0, 0.0]))
    torch.testing.assert_close(loss, f64([math.log(2)] * 2), **ROUNDING)
    assert gradient(loss, logits).tolist() == [-0.5, 0.5]
    clamped = logits.clamp(min=0) - logits + torch.log1p(torch.exp(-logits.abs()))
    assert gradient(clamped, logits).tolist() == [0.0, 0.0]  # the common form is wrong at 0


@settings(deadline=None, max_examples=60)
@given(y=st.floats(-30, 30), r=st.floats(0, 1))
def test_binary_cross_entropy_is_its_definition(y: float, r: float) -> None:
    logits = leaf([y])
    loss = binary_cross_entropy_loss(logits, f64([r]))
    sigma, other = 1 / (1 + math.exp(-y)), 1 / (1 + math.exp(y))
    expected = -(r * math.log(sigma) + (1 - r) * math.log(other))
    assert loss.item() == pytest.approx(expected, rel=1e-11, abs=1e-12)
    assert gradient(loss, logits).item() == pytest.approx(sigma - r, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("y", [-1e4, 1e4])
def test_binary_cross_entropy_does_not_overflow(y: float) -> None:
    logits = torch.tensor([y], requires_grad=True)
    for r in (0.0, 1.0):
        loss = binary_cross_entropy_loss(logits, torch.tensor([r]))
        assert loss.item() == (abs(y) if (y > 0) != (r == 1.0) else 0.0)
        assert gradient(loss, logits).item() == (1.0 if y > 0 else 0.0) - r


# --- KL -------------------------------------------------------------------------------------------

P = f64([0.5, 0.25, 0.125, 0.125])
UNIFORM = torch.full_like(P, 0.25)


def test_kl_estimators_average_to_their_goldens_by_enumeration() -> None:
    means = [float((P * k(P.log(), UNIFORM.log())).sum()) for k in (kl_k1, kl_k2, kl_k3)]
    assert means == pytest.approx([0.173287, 0.180170, 0.173287], abs=1e-6)  # printed to 6 digits
    assert means[0] == pytest.approx(means[2], rel=1e-12)


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
        return enumerated_gradient(theta, -estimator(log_pi, reference).detach())

    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(as_loss(kl_k1), torch.zeros(6, dtype=torch.float64), **close)
    torch.testing.assert_close(as_loss(kl_k2), kl_to_reference, **close)
    torch.testing.assert_close(as_loss(kl_k3), kl_from_reference, **close)
    torch.testing.assert_close(as_reward(kl_k1), kl_to_reference, **close)
    torch.testing.assert_close(as_reward(kl_k3), kl_to_reference - kl_from_reference, **close)
    assert (kl_to_reference - kl_from_reference).abs().max() > 0.01


# --- gradients by finite differences --------------------------------------------------------------

OLD, TARGET = normal(11, 3, 4), normal(12, 3, 4)
DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "policy_gradient_loss": lambda x: policy_gradient_loss(x, TARGET),
    "ppo_clip_loss": lambda x: ppo_clip_loss(x, OLD, TARGET, clip_epsilon=0.2),
    "ppo_clip_loss by tensor": lambda x: ppo_clip_loss(x, OLD, TARGET, clip_epsilon=f64([[0.3]])),
    "value_loss": lambda x: value_loss(x, TARGET),
    "clipped_value_loss": lambda x: clipped_value_loss(x, OLD, TARGET, clip_range=0.5),
    "binary_cross_entropy_loss": lambda x: binary_cross_entropy_loss(x, TARGET.sigmoid()),
    "kl_k1": lambda x: kl_k1(x, OLD),
    "kl_k2": lambda x: kl_k2(x, OLD),
    "kl_k3": lambda x: kl_k3(x, OLD),
    "masked_mean": lambda x: masked_mean(x, TARGET > 0, dim=1),
    "masked_mean of all": lambda x: masked_mean(x.square(), dim=(0, 1), keepdim=True),
    "fill_masked": lambda x: fill_masked(TARGET > 0, x.square())[0],
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    # Random points lie well away from the corners of the clips.
    assert gradcheck(DIFFERENTIABLE[name], (normal(13, 3, 4).requires_grad_(),))


# --- masks ----------------------------------------------------------------------------------------


def masked_ppo(log_prob: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    log_prob, old, advantages = fill_masked(mask, log_prob, old, advantages)
    loss = ppo_clip_loss(log_prob, old, advantages, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return masked_mean(loss, mask, dim=(0, 1))


def ppo_masked_at_the_end(log_prob: Tensor, old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    loss = ppo_clip_loss(log_prob, old, a, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return masked_mean(loss, mask, dim=(0, 1))


def ppo_masked_by_multiplication(log_prob: Tensor, old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    loss = ppo_clip_loss(log_prob, old, a, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return (loss * mask).sum() / mask.sum()


def check_poison(loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], poison: float) -> None:
    mask = normal(14, 4, 5) > -0.5
    arrays = [normal(15 + i, 4, 5) for i in range(3)]
    results = []
    for filler in (0.0, poison):
        log_prob, old, advantages = (torch.where(mask, a, filler) for a in arrays)
        log_prob.requires_grad_()
        value = loss(log_prob, old, advantages, mask)
        results.append((value.detach(), gradient(value, log_prob)))
    (clean, clean_grad), (dirty, dirty_grad) = results
    assert torch.equal(clean, dirty)
    assert torch.equal(clean_grad, dirty_grad)
    assert (dirty_grad[~mask] == 0).all()
    assert torch.isfinite(dirty_grad).all()


@pytest.mark.parametrize("poison", [NAN, math.inf, 1e9])
def test_poison_in_masked_slots_changes_neither_loss_nor_gradient(poison: float) -> None:
    check_poison(masked_ppo, poison)


@pytest.mark.parametrize("mutant", [ppo_masked_at_the_end, ppo_masked_by_multiplication])
def test_masking_only_the_loss_lets_poison_through(mutant: Any) -> None:
    with pytest.raises(AssertionError):
        check_poison(mutant, NAN)


def test_masked_mean_counts_only_what_counts() -> None:
    x = f64([[1.0, 2.0, NAN], [NAN, NAN, NAN], [4.0, 5.0, 9.0]])
    mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3])
    assert masked_mean(x, mask, dim=1).tolist() == [1.5, 0.0, 6.0]
    assert masked_mean(x, mask, dim=-1, keepdim=True).shape == (3, 1)
    assert masked_mean(x, mask, dim=(0, 1)).item() == 21 / 5


@pytest.mark.parametrize("dim", [0, 1, 2, -1, (0, 1), (1, 0), (0, 2), (-1, 1), (0, 1, 2), (2, -1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_masked_mean_agrees_with_numpys_masked_arrays(dim: Any, keepdim: bool) -> None:
    x, mask = normal(18, 3, 4, 5), normal(19, 3, 4, 5) > 0
    axes = (dim,) if isinstance(dim, int) else tuple({d % 3 for d in dim})
    plain = x.numpy().mean(axis=axes, keepdims=keepdim)
    torch.testing.assert_close(
        masked_mean(x, dim=dim, keepdim=keepdim), torch.as_tensor(plain), **ROUNDING
    )
    masked = np.ma.array(x.numpy(), mask=~mask.numpy()).mean(axis=axes, keepdims=keepdim)
    torch.testing.assert_close(
        masked_mean(x, mask, dim=dim, keepdim=keepdim),
        torch.as_tensor(np.ma.filled(masked, 0.0)),
        **ROUNDING,
    )


# --- a seed's bytes -------------------------------------------------------------------------------

SEED_COUNTS = [2, 3, 5, 8, 16, 37]
BATCHES = [1, 2, 3, 5, 7, 8, 31, 256]

ON_SEEDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "policy_gradient_loss": lambda x, y, z: policy_gradient_loss(x, y),
    "ppo_clip_loss": lambda x, y, z: ppo_clip_loss(x, y, z, clip_epsilon=0.2),
    "ppo_clip_loss by tensor": lambda x, y, z: ppo_clip_loss(
        x, y, z, clip_epsilon=z[:, :1].detach().abs().clamp(max=0.9)
    ),
    "value_loss": lambda x, y, z: value_loss(x, y),
    "clipped_value_loss": lambda x, y, z: clipped_value_loss(x, y, z, clip_range=0.3),
    "binary_cross_entropy_loss": lambda x, y, z: binary_cross_entropy_loss(x, y),
    "kl_k1": lambda x, y, z: kl_k1(x, y),
    "kl_k2": lambda x, y, z: kl_k2(x, y),
    "kl_k3": lambda x, y, z: kl_k3(x, y),
    "fill_masked": lambda x, y, z: fill_masked(y > 0, x)[0],
    "masked_mean": lambda x, y, z: masked_mean(x * z, y > 0, dim=1),
    "masked_mean of all": lambda x, y, z: masked_mean(x * z, dim=1),
    "the whole of PPO": lambda x, y, z: masked_mean(
        ppo_clip_loss(x, y, z, clip_epsilon=0.2), dim=-1
    ),
}


def seeds_differ(
    function: Callable[..., Tensor], *arrays: Tensor, axis: int = 0, backward: bool = True
) -> bool:
    """Whether some seed alone gets other bytes, forward or backward, than in the batch."""

    def run(*arrays: Tensor) -> list[Tensor]:
        leaves = [a.clone().requires_grad_(backward) for a in arrays]
        out = function(*leaves)
        if not backward:
            return [out]
        grads = torch.autograd.grad(out, leaves, torch.full_like(out, 0.37), allow_unused=True)
        return [out.detach(), *(g for g in grads if g is not None)]

    together = run(*arrays)
    num_seeds = arrays[0].shape[axis]
    for k in sorted({0, num_seeds // 2, num_seeds - 1}):
        alone = run(*(a.narrow(axis, k, 1) for a in arrays))
        for one, all_ in zip(alone, together, strict=True):
            if not torch.equal(one, all_.narrow(axis, k, 1)):
                return True
    return False


@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds, batch in itertools.product(SEED_COUNTS, BATCHES):
        arrays = torch.randn(3, num_seeds, batch, generator=g)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch)
        arrays = torch.randn(3, num_seeds, batch, generator=g, dtype=torch.float64)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch)


def test_masked_mean_gives_a_seed_the_same_bytes_on_the_middle_axis() -> None:
    g = torch.Generator().manual_seed(1)
    for num_seeds, batch in itertools.product(SEED_COUNTS, BATCHES):
        x, y = torch.randn(2, 6, num_seeds, batch, generator=g)
        for function in (
            lambda x, y: masked_mean(x, y > 0, dim=(0, 2), keepdim=True),
            lambda x, y: masked_mean(x, dim=(0, 2), keepdim=True),
        ):
            assert not seeds_differ(function, x, y, axis=1), (num_seeds, batch)


@pytest.mark.parametrize(
    "function",
    [torch.nn.functional.softplus, torch.sigmoid, lambda x: x.mean((0, 2), keepdim=True)],
    ids=["softplus", "sigmoid", "mean over outer axes"],
)
def test_the_check_of_bytes_notices_operations_known_to_break_it(
    function: Callable[[Tensor], Tensor],
) -> None:
    g = torch.Generator().manual_seed(2)
    shapes = itertools.product(SEED_COUNTS, BATCHES)
    assert any(seeds_differ(function, torch.randn(6, s, b, generator=g), axis=1) for s, b in shapes)


# --- errors ---------------------------------------------------------------------------------------

X, SHORT = torch.zeros(3, 2), torch.zeros(3, 1)
BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: policy_gradient_loss(X, SHORT),
        r"policy_gradient_loss: expected advantages of shape \(3, 2\).*got \(3, 1\)",
    ),
    (
        lambda: ppo_clip_loss(X, SHORT, X, clip_epsilon=0.2),
        r"ppo_clip_loss: expected behaviour_log_prob",
    ),
    (lambda: ppo_clip_loss(X, X, SHORT, clip_epsilon=0.2), r"ppo_clip_loss: expected advantages"),
    (lambda: ppo_clip_loss(X, X, X, clip_epsilon=1.0), r"clip_epsilon in \[0, 1\), got 1.0"),
    (lambda: ppo_clip_loss(X, X, X, clip_epsilon=-0.1), r"clip_epsilon in \[0, 1\), got -0.1"),
    (lambda: ppo_clip_loss(X, X, X, clip_epsilon=NAN), r"clip_epsilon in \[0, 1\), got nan"),
    (lambda: ppo_clip_loss(X, X, X, clip_epsilon=X.T), r"clip_epsilon to be a number or"),
    (lambda: ppo_clip_loss(X, X, X, clip_epsilon=X[None]), r"clip_epsilon to be a number or"),
    (lambda: value_loss(X, SHORT), r"value_loss: expected targets of shape \(3, 2\)"),
    (lambda: clipped_value_loss(X, X, SHORT, clip_range=1), r"clipped_value_loss: .*targets"),
    (lambda: clipped_value_loss(X, X, X, clip_range=0), r"clip_range above 0, got 0"),
    (lambda: clipped_value_loss(X, X, X, clip_range=-1), r"clip_range above 0, got -1"),
    (lambda: clipped_value_loss(X, X, X, clip_range=NAN), r"clip_range above 0, got nan"),
    (lambda: binary_cross_entropy_loss(X, SHORT), r"binary_cross_entropy_loss: .*labels"),
    (lambda: kl_k1(X, SHORT), r"kl_k1: expected reference_log_prob"),
    (lambda: kl_k2(X, SHORT), r"kl_k2: expected reference_log_prob"),
    (lambda: kl_k3(X, SHORT), r"kl_k3: expected reference_log_prob"),
    (lambda: fill_masked(X, X), r"fill_masked: expected mask to be boolean"),
    (lambda: fill_masked(X > 0, X, SHORT), r"fill_masked: expected tensor 1 .*\(3, 2\).*\(3, 1\)"),
    (lambda: masked_mean(X, SHORT > 0, dim=0), r"masked_mean: expected tensor 0"),
    (lambda: masked_mean(X, X, dim=0), r"masked_mean: expected mask to be boolean"),
    (lambda: masked_mean(X, dim=2), r"masked_mean: expected dim within 2 dimensions, got 2"),
    (lambda: masked_mean(X[:0], dim=0), r"masked_mean: expected at least one element"),
    (lambda: masked_mean(X, dim=()), r"masked_mean: expected at least one element"),
    (lambda: masked_mean(X[0, 0], dim=0), r"masked_mean: expected dim within 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
