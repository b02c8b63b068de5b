"""Distributions against closed forms, torch's own distributions, scipy, and plain loops."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from rlkit.maths.distributions import (
    categorical_entropy,
    categorical_log_prob,
    categorical_log_prob_and_entropy,
    categorical_mode,
    categorical_sample,
    gaussian_entropy,
    gaussian_log_prob,
    gaussian_sample,
)
from tests.maths.support import (
    BATCHES,
    ROUNDING,
    SEED_COUNTS,
    f64,
    gradient,
    integers,
    normal,
    seeds_differ,
    with_impossible_actions,
)

INF = math.inf
BELOW_ONE = 1 - 2**-24  # the largest float32 below 1
# Rows shorter than 16 and longer ones take different routes through torch.
NUM_ACTIONS = [1, 2, 3, 5, 15, 16, 17, 40]


# --- categorical: values --------------------------------------------------------------------------


@pytest.mark.parametrize("num_actions", NUM_ACTIONS)
def test_categorical_functions_agree_with_torch_distributions(num_actions: int) -> None:
    logits = 3 * normal(1, 4, 5, num_actions)
    actions = integers(3, num_actions, 4, 5)
    p = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(categorical_log_prob(logits, actions), p.log_prob(actions))
    torch.testing.assert_close(categorical_entropy(logits), p.entropy())
    assert torch.equal(categorical_mode(logits), p.mode)


def test_categorical_log_prob_by_hand() -> None:
    logits = f64([[0.0, math.log(2), math.log(5)]]).expand(3, 3)
    got = categorical_log_prob(logits, torch.tensor([0, 1, 2])).exp()
    torch.testing.assert_close(got, f64([1 / 8, 2 / 8, 5 / 8]), **ROUNDING)


@pytest.mark.trap("T31")
@pytest.mark.parametrize("num_actions", NUM_ACTIONS)
def test_a_uniform_policy_has_entropy_ln_n(num_actions: int) -> None:
    logits = torch.full((num_actions,), 1.7, dtype=torch.float64)
    assert categorical_entropy(logits).item() == pytest.approx(math.log(num_actions), abs=1e-12)


@pytest.mark.parametrize("num_actions", NUM_ACTIONS)
def test_log_prob_and_entropy_together_are_the_two_apart(num_actions: int) -> None:
    logits, actions = normal(4, 6, num_actions), integers(5, num_actions, 6)
    log_prob, entropy = categorical_log_prob_and_entropy(logits, actions)
    assert torch.equal(log_prob, categorical_log_prob(logits, actions))
    assert torch.equal(entropy, categorical_entropy(logits))


@pytest.mark.parametrize("num_actions", [2, 17])
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_logits_neither_overflow_nor_lose_their_differences(
    num_actions: int, scale: float
) -> None:
    logits = torch.full((num_actions,), -scale)
    logits[0], logits[1] = scale, scale
    actions = torch.tensor(0)
    assert categorical_log_prob(logits, actions).item() == pytest.approx(-math.log(2), rel=1e-6)
    assert categorical_entropy(logits).item() == pytest.approx(math.log(2), rel=1e-6)


# --- categorical: impossible actions --------------------------------------------------------------


def slow_entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


@pytest.mark.parametrize("num_actions", [2, 3, 5, 16, 40])
def test_impossible_actions_add_nothing_to_the_entropy(num_actions: int) -> None:
    logits = with_impossible_actions(num_actions).requires_grad_()
    p = logits.detach().softmax(-1)
    entropy = categorical_entropy(logits)
    expected = [slow_entropy(row) for row in p.tolist()]
    torch.testing.assert_close(entropy.detach(), f64(expected), **ROUNDING)
    grad = gradient(entropy, logits)
    assert torch.isfinite(grad).all()
    assert (grad[p == 0] == 0).all()
    naive = -(p * p.log()).sum(-1)  # what 0 * log 0 gives if it is simply computed
    assert naive.isnan().any()


def test_an_impossible_action_has_log_prob_minus_infinity() -> None:
    logits = f64([0.0, -INF])
    assert categorical_log_prob(logits, torch.tensor(1)).item() == -INF
    assert categorical_log_prob(logits, torch.tensor(0)).item() == 0.0


# --- categorical: sampling ------------------------------------------------------------------------


def slow_sample(p: list[float], u: float) -> int:
    total = 0.0
    for action, probability in enumerate(p):
        total += probability
        if u < total:
            return action
    raise AssertionError("u lies beyond the cumulative sum")


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), num_actions=st.sampled_from(NUM_ACTIONS))
def test_categorical_sample_inverts_the_cumulative_distribution(
    seed: int, num_actions: int
) -> None:
    g = np.random.default_rng(seed)
    logits = torch.from_numpy(g.normal(size=(6, num_actions)))
    u = torch.from_numpy(g.random(6) * 0.999)
    expected = [
        slow_sample(p, x) for p, x in zip(logits.softmax(-1).tolist(), u.tolist(), strict=True)
    ]
    assert categorical_sample(logits, u).tolist() == expected


def sampling_by_searchsorted(logits: Tensor, uniform: Tensor) -> Tensor:
    cumulative = logits.softmax(-1).cumsum(-1)
    return torch.searchsorted(cumulative, uniform.unsqueeze(-1)).squeeze(-1)


def sampling_clamped(logits: Tensor, uniform: Tensor) -> Tensor:
    cumulative = logits.softmax(-1).cumsum(-1)
    index = (cumulative <= uniform.to(logits.dtype).unsqueeze(-1)).sum(-1)
    return index.clamp(max=logits.shape[-1] - 1)


Sampler = Callable[[Tensor, Tensor], Tensor]


def check_only_possible_actions(sample: Sampler, dtype: torch.dtype = torch.float32) -> None:
    for num_actions in (2, 3, 5, 16, 40, 400):
        logits = with_impossible_actions(num_actions, dtype)
        for u in (0.0, 1e-30, 0.3, 0.5, 0.9999, BELOW_ONE, 1 - 2**-53):
            # 1 - 2**-53 exists in float64 only and rounds to 1 in float32.
            actions = sample(logits, torch.full((7,), u, dtype=torch.float64).to(dtype))
            assert actions.min() >= 0
            assert actions.max() < num_actions
            assert (categorical_log_prob(logits, actions) > -INF).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_categorical_sample_never_returns_an_impossible_action(dtype: torch.dtype) -> None:
    check_only_possible_actions(categorical_sample, dtype)


@pytest.mark.parametrize("mutant", [sampling_by_searchsorted, sampling_clamped])
def test_a_careless_inverse_returns_impossible_actions(mutant: Sampler) -> None:
    with pytest.raises(AssertionError):
        check_only_possible_actions(mutant)


def test_categorical_sample_takes_uniforms_of_double_precision() -> None:
    logits = torch.zeros(3, 4)
    u = f64([0.0, 0.5, 1 - 2**-53])
    assert categorical_sample(logits, u).tolist() == [0, 2, 3]


def test_probabilities_too_small_for_the_sum_are_not_sampled_by_accident() -> None:
    logits = torch.tensor([[0.0, -200.0, -200.0], [-200.0, 0.0, -200.0]])
    for u in (0.0, BELOW_ONE):
        assert categorical_sample(logits, torch.full((2,), u)).tolist() == [0, 1]


@pytest.mark.parametrize("num_actions", [2, 5, 20])
def test_sampled_frequencies_are_the_probabilities(num_actions: int) -> None:
    logits = normal(7, num_actions).float()
    n = 100_000
    # A regular grid in place of random numbers: each frequency is off by less than 2/n, and the
    # float32 cumulative sum adds about 1e-6.
    u = ((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    counts = torch.bincount(categorical_sample(logits.expand(n, -1), u), minlength=num_actions)
    expected = logits.double().softmax(-1)
    torch.testing.assert_close(counts.double() / n, expected, rtol=0, atol=3e-5)


def test_categorical_mode_takes_the_lowest_index_among_equals() -> None:
    for num_actions in NUM_ACTIONS:
        logits = torch.zeros(3, num_actions)
        assert categorical_mode(logits).tolist() == [0, 0, 0]
        logits[:, num_actions // 2 :] = 1.0
        assert categorical_mode(logits).tolist() == [num_actions // 2] * 3


# --- Gaussian -------------------------------------------------------------------------------------


def test_gaussian_functions_agree_with_scipy_and_torch() -> None:
    mean, log_std, actions = normal(8, 6, 3), 0.5 * normal(9, 6, 3), normal(10, 6, 3)
    got = gaussian_log_prob(mean, log_std, actions)
    expected = scipy.stats.norm.logpdf(actions, mean, log_std.exp()).sum(-1)
    torch.testing.assert_close(got, torch.from_numpy(expected), **ROUNDING)
    entropy = scipy.stats.norm.entropy(mean, log_std.exp()).sum(-1)
    torch.testing.assert_close(gaussian_entropy(log_std), torch.from_numpy(entropy), **ROUNDING)


def test_gaussian_sample_is_a_shift_and_a_scale_of_the_noise() -> None:
    mean, log_std, noise = normal(13, 4, 2), normal(14, 4, 2), normal(15, 4, 2)
    actions = gaussian_sample(mean, log_std, noise)
    np.testing.assert_allclose(actions, mean.numpy() + np.exp(log_std.numpy()) * noise.numpy())
    # The density of the action is that of the noise over the stretch.
    expected = scipy.stats.norm.logpdf(noise).sum(-1) - log_std.sum(-1).numpy()
    np.testing.assert_allclose(gaussian_log_prob(mean, log_std, actions), expected, rtol=1e-12)


def test_log_std_may_be_shared_by_the_batch() -> None:
    mean, log_std, actions = normal(16, 3, 5, 2), normal(17, 3, 1, 2), normal(18, 3, 5, 2)
    full = log_std.expand(3, 5, 2)
    assert torch.equal(
        gaussian_log_prob(mean, log_std, actions), gaussian_log_prob(mean, full, actions)
    )
    assert torch.equal(
        gaussian_sample(mean, log_std, actions), gaussian_sample(mean, full, actions)
    )


# --- gradients by finite differences --------------------------------------------------------------

DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "categorical_log_prob": lambda x: categorical_log_prob(x, integers(19, x.shape[-1], 3)),
    "categorical_entropy": categorical_entropy,
}


@pytest.mark.parametrize("size", [3, 16])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_categorical_gradient_agrees_with_finite_differences(name: str, size: int) -> None:
    assert gradcheck(DIFFERENTIABLE[name], (normal(22, 3, size).requires_grad_(),))


def test_gaussian_gradients_agree_with_finite_differences() -> None:
    arrays = [normal(23 + i, 3, 2).requires_grad_() for i in range(4)]
    assert gradcheck(gaussian_log_prob, arrays[:3])
    assert gradcheck(gaussian_entropy, arrays[:1])
    assert gradcheck(gaussian_sample, arrays[:3])


# --- a seed's bytes -------------------------------------------------------------------------------


def actions_of(x: Tensor) -> Tensor:
    return x.detach().argmin(-1)


ON_SEEDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "categorical_log_prob": lambda x, y: categorical_log_prob(x, actions_of(y)),
    "categorical_entropy": lambda x, y: categorical_entropy(x),
    "both": lambda x, y: sum(categorical_log_prob_and_entropy(x, actions_of(y))),
    "gaussian_log_prob": lambda x, y: gaussian_log_prob(x, y, y.detach()),
    "gaussian_log_prob, shared log_std": lambda x, y: gaussian_log_prob(x, y[:, :1], y.detach()),
    "gaussian_entropy": lambda x, y: gaussian_entropy(x),
    "gaussian_sample": lambda x, y: gaussian_sample(x, y, x.detach()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds, batch, size in itertools.product(SEED_COUNTS, BATCHES, [1, 2, 3, 6, 17]):
        arrays = torch.randn(2, num_seeds, batch, size, generator=g)
        assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch, size)


@pytest.mark.parametrize("name", [n for n in ON_SEEDS if "shared" not in n])
def test_a_seed_gets_the_same_bytes_with_time_in_front(name: str) -> None:
    g = torch.Generator().manual_seed(1)
    for num_seeds, batch, size in itertools.product(SEED_COUNTS, [1, 3, 8], [1, 2, 6, 17]):
        arrays = torch.randn(2, 5, num_seeds, batch, size, generator=g, dtype=torch.float64)
        assert not seeds_differ(ON_SEEDS[name], *arrays, axis=1), (num_seeds, batch, size)


def test_a_seed_draws_the_same_actions_alone_and_in_a_batch() -> None:
    g = torch.Generator().manual_seed(2)
    for num_seeds, batch, size in itertools.product(SEED_COUNTS, BATCHES, [1, 2, 3, 6, 17, 64]):
        logits = torch.randn(num_seeds, batch, size, generator=g).round(decimals=1)  # some ties
        u = torch.rand(num_seeds, batch, generator=g)
        samples, modes = categorical_sample(logits, u), categorical_mode(logits)
        for k in (0, num_seeds - 1):
            alone = logits[k : k + 1].clone(), u[k : k + 1].clone()
            assert torch.equal(categorical_sample(*alone), samples[k : k + 1])
            assert torch.equal(categorical_mode(alone[0]), modes[k : k + 1])


def test_the_check_of_bytes_notices_an_operation_known_to_break_it() -> None:
    g = torch.Generator().manual_seed(3)
    shapes = itertools.product(SEED_COUNTS, BATCHES)
    assert any(seeds_differ(torch.sigmoid, torch.randn(s, b, generator=g)) for s, b in shapes)


# --- errors ---------------------------------------------------------------------------------------

L, M = torch.zeros(3, 2), torch.zeros(4, 2)
A, B = torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: categorical_log_prob(L, B),
        r"categorical_log_prob: expected actions of shape \(3,\), got \(4,\)",
    ),
    (lambda: categorical_log_prob_and_entropy(L, B), r"_and_entropy: expected actions of shape"),
    (lambda: categorical_sample(L, L), r"categorical_sample: expected uniform of shape \(3,\)"),
    (lambda: gaussian_log_prob(L, L, M), r"gaussian_log_prob: expected actions of shape"),
    (lambda: gaussian_log_prob(L, M, L), r"gaussian_log_prob: expected log_std to broadcast"),
    (lambda: gaussian_log_prob(L, L[None], L), r"gaussian_log_prob: expected log_std to broad"),
    (lambda: gaussian_sample(L, L, M), r"gaussian_sample: expected noise of shape"),
    (lambda: gaussian_sample(L, M, L), r"gaussian_sample: expected log_std to broadcast"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
