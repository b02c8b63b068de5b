"""Losses against published numbers and enumeration, and above all through their gradients."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from rlkit.maths.losses import (
    binary_cross_entropy_loss,
    clipped_value_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    value_loss,
)
from rlkit.maths.masking import masked_mean
from tests.maths.support import (
    BATCHES,
    ROUNDING,
    SEED_COUNTS,
    f64,
    gradient,
    leaf,
    normal,
    seeds_differ,
)

NAN = math.nan


# --- policy gradient ------------------------------------------------------------------------------


def enumerated_gradient(theta: Tensor, advantages: Tensor, sign: float = 1.0) -> Tensor:
    """E_{a~π}[∇ loss] with every action weighted by its probability, as sampling would."""
    log_probs = theta.log_softmax(-1)
    loss = policy_gradient_loss(log_probs, sign * advantages)
    return gradient(log_probs.detach().exp() * loss, theta)


@pytest.mark.trap("T34")
def test_policy_gradient_of_the_two_armed_bandit_is_exact() -> None:
    # π = (1/2, 1/2), rewards (1, 0): ∇J = π_a (r_a - J) = (1/4, -1/4); the loss descends.
    theta = leaf([0.0, 0.0])
    assert (-enumerated_gradient(theta, f64([1.0, 0.0]))).tolist() == [0.25, -0.25]
    assert (-enumerated_gradient(theta, f64([1.0, 0.0]), sign=-1)).tolist() != [0.25, -0.25]


@pytest.mark.trap("T34")
def test_expected_score_is_zero() -> None:
    theta = leaf([0.3, -1.2, 0.7])
    got = enumerated_gradient(theta, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(got, torch.zeros_like(got), **ROUNDING)


@pytest.mark.trap("T35")
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


@pytest.mark.trap("T29")
@pytest.mark.claim(29)
def test_clipped_value_loss_is_the_larger_of_two_errors() -> None:
    check_clipped_value(clipped_value_loss)


@pytest.mark.trap("T29")
@pytest.mark.parametrize(
    "mutant",
    [clipped_value_with_minimum, clipped_value_around_the_target, clipped_value_around_itself],
    ids=lambda f: f.__name__,
)
def test_a_wrong_value_clip_fails_by_hand(mutant: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_clipped_value(mutant)


@pytest.mark.trap("T29", "F56")
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


# --- gradients by finite differences --------------------------------------------------------------

OLD, TARGET = normal(11, 3, 4), normal(12, 3, 4)
DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "policy_gradient_loss": lambda x: policy_gradient_loss(x, TARGET),
    "ppo_clip_loss": lambda x: ppo_clip_loss(x, OLD, TARGET, clip_epsilon=0.2),
    "value_loss": lambda x: value_loss(x, TARGET),
    "clipped_value_loss": lambda x: clipped_value_loss(x, OLD, TARGET, clip_range=0.5),
    "binary_cross_entropy_loss": lambda x: binary_cross_entropy_loss(x, TARGET.sigmoid()),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    # Random points lie well away from the corners of the clips.
    assert gradcheck(DIFFERENTIABLE[name], (normal(13, 3, 4).requires_grad_(),))


# --- a seed's bytes -------------------------------------------------------------------------------

ON_SEEDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "policy_gradient_loss": lambda x, y, z: policy_gradient_loss(x, y),
    "ppo_clip_loss": lambda x, y, z: ppo_clip_loss(x, y, z, clip_epsilon=0.2),
    "value_loss": lambda x, y, z: value_loss(x, y),
    "clipped_value_loss": lambda x, y, z: clipped_value_loss(x, y, z, clip_range=0.3),
    "binary_cross_entropy_loss": lambda x, y, z: binary_cross_entropy_loss(x, y),
    "the whole of PPO": lambda x, y, z: masked_mean(
        ppo_clip_loss(x, y, z, clip_epsilon=0.2), dim=-1
    ),
}


@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds, batch in itertools.product(SEED_COUNTS, BATCHES):
        arrays = torch.randn(3, num_seeds, batch, generator=g)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch)
        arrays = torch.randn(3, num_seeds, batch, generator=g, dtype=torch.float64)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch)


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
    (lambda: value_loss(X, SHORT), r"value_loss: expected targets of shape \(3, 2\)"),
    (lambda: clipped_value_loss(X, X, SHORT, clip_range=1), r"clipped_value_loss: .*targets"),
    (lambda: clipped_value_loss(X, X, X, clip_range=0), r"clip_range above 0, got 0"),
    (lambda: clipped_value_loss(X, X, X, clip_range=-1), r"clip_range above 0, got -1"),
    (lambda: clipped_value_loss(X, X, X, clip_range=NAN), r"clip_range above 0, got nan"),
    (lambda: binary_cross_entropy_loss(X, SHORT), r"binary_cross_entropy_loss: .*labels"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
