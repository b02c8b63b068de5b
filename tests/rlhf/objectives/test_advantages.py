"""Advantages of tokens and of groups: by hand, by enumeration, and by independent slow twins."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlkit.maths.returns import standardise
from rlkit.rlhf.objectives.advantages import (
    check_groups,
    grpo_advantages,
    rloo_advantages,
    to_tokens,
    token_gae,
)

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def ragged(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(1)


# --- tokens ---------------------------------------------------------------------------------------

# Two responses: one ended after three tokens, one was cut off after four.
MASK = ragged([3, 4], 4)
REWARDS = f64([[-0.1, -0.2, 2.0, 0.0], [0.1, 0.0, -0.3, 1.0]])
VALUES = f64([[1.0, 1.5, 1.2, 99.0], [0.5, 0.2, 0.3, 0.4]])
TRUNCATED = torch.tensor([False, True])


@pytest.mark.claim(23)
def test_lambda_one_is_the_reward_to_go_less_the_value() -> None:
    got = token_gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=1.0)
    # -0.1 - 0.2 + 2 - 1; -0.2 + 2 - 1.5; 2 - 1.2   and   0.8 - 0.5; 0.7 - 0.2; 0.7 - 0.3; 1 - 0.4
    expected = f64([[0.7, 0.3, 0.8, 0.0], [0.3, 0.5, 0.4, 0.6]])
    torch.testing.assert_close(got, expected, **ROUNDING)


@pytest.mark.claim(23)
def test_lambda_zero_is_the_temporal_difference_with_no_value_after_the_end() -> None:
    got = token_gae(REWARDS, VALUES, MASK, discount=1.0, gae_lambda=0.0)
    # -0.1 + 1.5 - 1; -0.2 + 1.2 - 1.5; 2 + 0 - 1.2 (not the 99 that stands after the end)
    expected = f64([[0.4, -0.5, 0.8, 0.0], [-0.2, 0.1, -0.2, 0.6]])
    torch.testing.assert_close(got, expected, **ROUNDING)


@pytest.mark.claim(24)
def test_the_length_limit_is_an_end_unless_its_value_is_given() -> None:
    final = f64([math.nan, 10.0])  # the first response ended: nothing comes after it
    options = {"discount": 0.5, "gae_lambda": 0.0}
    plain = token_gae(REWARDS, VALUES, MASK, truncated=TRUNCATED, **options)
    torch.testing.assert_close(plain, token_gae(REWARDS, VALUES, MASK, **options), **ROUNDING)
    cut = token_gae(REWARDS, VALUES, MASK, truncated=TRUNCATED, final_values=final, **options)
    expected = plain.clone()
    expected[1, 3] += 0.5 * 10.0
    torch.testing.assert_close(cut, expected, **ROUNDING)
    # With lambda = 1 it reaches every token of that response, discounted.
    options["gae_lambda"] = 1.0
    difference = token_gae(
        REWARDS, VALUES, MASK, truncated=TRUNCATED, final_values=final, **options
    ) - token_gae(REWARDS, VALUES, MASK, **options)
    expected = f64([[0, 0, 0, 0], [10 / 16, 10 / 8, 10 / 4, 10 / 2]])
    torch.testing.assert_close(difference, expected, **ROUNDING)


@pytest.mark.claim(24)
def test_a_response_as_long_as_the_batch_is_wide_is_not_cut_off_for_that() -> None:
    # The same response ends at the last column; whether it was cut off is data, not geometry.
    mask = ragged([4], 4)
    options = {"discount": 1.0, "gae_lambda": 0.9, "final_values": f64([5.0])}
    ended, cut = (
        token_gae(REWARDS[1:], VALUES[1:], mask, truncated=torch.tensor([flag]), **options)
        for flag in (False, True)
    )
    torch.testing.assert_close(cut[0, -1] - ended[0, -1], f64(5.0), **ROUNDING)


def by_loops(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    final: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Σ_k (γλ)^k δ over the decisions of one response after another."""
    advantages = torch.zeros_like(rewards)
    for b in range(len(rewards)):
        slots = mask[b].nonzero().flatten().tolist()
        v = [float(values[b, t]) for t in slots] + [float(final[b])]
        delta = [float(rewards[b, t]) + discount * v[i + 1] - v[i] for i, t in enumerate(slots)]
        for i, t in enumerate(slots):
            advantages[b, t] = sum(
                (discount * gae_lambda) ** k * d for k, d in enumerate(delta[i:])
            )
    return advantages


@pytest.mark.claim(23)
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    holes=st.booleans(),
    discount=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_token_gae_is_the_sum_of_temporal_differences(
    seed: int, holes: bool, discount: float, gae_lambda: float
) -> None:
    rng = np.random.default_rng(seed)
    mask = ragged(rng.integers(1, 8, size=5).tolist(), 7)
    if holes:  # tokens in the middle that the policy did not choose
        mask &= torch.from_numpy(rng.random((5, 7)) < 0.7)
    rewards, values = (torch.from_numpy(rng.normal(size=(5, 7))) for _ in range(2))
    final, truncated = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.random(5) < 0.5)
    got = token_gae(
        rewards,
        values,
        mask,
        truncated=truncated,
        final_values=final,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    expected = by_loops(
        rewards, values, mask, final.masked_fill(~truncated, 0.0), discount, gae_lambda
    )
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)  # powers by two routes


@pytest.mark.claim(25)
@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e9])
def test_tokens_after_a_response_change_no_advantage(poison: float) -> None:
    def run(filler: float) -> bytes:
        rewards, values = (x.masked_fill(~MASK, filler) for x in (REWARDS, VALUES))
        final = f64([filler, 3.0])
        options = {"discount": 0.9, "gae_lambda": 0.8}
        got = token_gae(rewards, values, MASK, truncated=TRUNCATED, final_values=final, **options)
        return got.numpy().tobytes()

    assert run(poison) == run(0.0)


# --- whitening ------------------------------------------------------------------------------------


@pytest.mark.claim(26)
def test_whitening_is_over_the_tokens_of_the_batch_and_padding_changes_nothing() -> None:
    mask = ragged([3, 1, 5], 5)
    x = normal(3, 3, 5) * 4 + 7
    got = standardise(x, mask=mask, dim=(0, 1))
    chosen = got[mask].numpy()
    assert abs(chosen.mean()) < 1e-12
    assert chosen.var(ddof=1) == pytest.approx(1.0, abs=1e-8)  # 1e-8 beside the deviation
    assert not got[~mask].any()
    wide = torch.cat([x, torch.full((3, 4), math.nan, dtype=x.dtype)], dim=1)
    wide_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1)
    padded = standardise(wide, mask=wide_mask, dim=(0, 1))
    torch.testing.assert_close(padded[:, :5], got, **ROUNDING)
    # Whitening that counts the padding is off by far more.
    careless = standardise(x.masked_fill(~mask, 0.0), dim=(0, 1))
    assert (careless - got)[mask].abs().max() > 0.1


@pytest.mark.claim(26)
def test_whitening_can_keep_the_mean() -> None:
    mask = ragged([3, 1, 5], 5)
    x = normal(3, 3, 5) * 4 + 7
    kept = standardise(x, mask=mask, dim=(0, 1), keep_mean=True)[mask]
    assert kept.mean().item() == pytest.approx(x[mask].mean().item(), abs=1e-12)
    assert kept.std().item() == pytest.approx(1.0, abs=1e-8)


@pytest.mark.claim(26)
def test_whitening_leaves_fewer_than_two_tokens_as_they_are() -> None:
    x = normal(3, 2, 3)
    for lengths in ([0, 1], [0, 0]):
        mask = ragged(lengths, 3)
        got = standardise(x, mask=mask, dim=(0, 1))
        assert torch.equal(got, x.masked_fill(~mask, 0.0))


# --- groups ---------------------------------------------------------------------------------------


@pytest.mark.claim(33)
def test_the_baseline_of_a_response_is_the_mean_of_the_others() -> None:
    rewards = normal(4, 12)
    got = rloo_advantages(rewards, 4)
    for i in range(12):
        start = i - i % 4
        others = [float(rewards[j]) for j in range(start, start + 4) if j != i]
        assert got[i].item() == pytest.approx(float(rewards[i]) - np.mean(others), abs=1e-12)
    torch.testing.assert_close(got.view(3, 4).sum(1), torch.zeros(3).double(), **ROUNDING)
    # The same by the other formula.
    means = rewards.view(3, 4).mean(1).repeat_interleave(4)
    torch.testing.assert_close(got, 4 / 3 * (rewards - means), **ROUNDING)


def test_leaving_one_out_has_no_bias_where_the_plain_mean_shrinks_the_gradient() -> None:
    # All pairs (K = 2) of the answers to a prompt, weighted by their probability.
    theta, rewards = normal(5, 4).requires_grad_(), normal(6, 4)
    log_prob = theta.log_softmax(-1)
    (exact,) = torch.autograd.grad((log_prob.exp() * rewards).sum(), theta, retain_graph=True)

    def expected_gradient(advantages: Callable[[Tensor], Tensor]) -> Tensor:
        total = torch.zeros(4, dtype=torch.float64)
        for i in range(4):
            for j in range(4):
                drawn = (log_prob[i] + log_prob[j]).detach().exp()
                a = advantages(torch.stack([rewards[i], rewards[j]]))
                surrogate = drawn * (a[0] * log_prob[i] + a[1] * log_prob[j]) / 2
                (grad,) = torch.autograd.grad(surrogate, theta, retain_graph=True)
                total += grad
        return total

    got = expected_gradient(lambda r: rloo_advantages(r, 2))
    torch.testing.assert_close(got, exact, **ROUNDING)
    centred = expected_gradient(lambda r: grpo_advantages(r, 2, scale=False))
    torch.testing.assert_close(centred, exact / 2, **ROUNDING)  # (K - 1) / K of it


def test_grpo_standardises_each_group_by_itself() -> None:
    rewards = normal(7, 10) + torch.tensor([0.0, 50.0]).repeat_interleave(5)
    groups = rewards.view(2, 5).numpy()
    expected = (groups - groups.mean(1, keepdims=True)) / groups.std(1, ddof=1, keepdims=True)
    # 1e-8 beside a deviation of order 1
    np.testing.assert_allclose(grpo_advantages(rewards, 5).view(2, 5), expected, atol=1e-7)


@pytest.mark.claim(33)
@pytest.mark.parametrize("reward", [0.0, 3.3, -1e6, 0.1])
def test_a_group_of_equal_rewards_has_advantages_of_zero(reward: float) -> None:
    rewards = torch.cat([torch.full((4,), reward), normal(8, 4).float()])
    for advantages in (grpo_advantages, rloo_advantages):
        got = advantages(rewards, 4)
        assert got.isfinite().all()
        # float32 means of equal numbers may differ from them by an ulp
        assert got[:4].abs().max() <= 2e-7 * abs(reward)
        assert got[4:].abs().max() > 0.1
    assert not grpo_advantages(rewards, 4)[:4].any()


def test_groups_do_not_mix() -> None:
    rewards = normal(9, 12)
    for advantages in (grpo_advantages, rloo_advantages):
        changed = rewards.clone()
        changed[8:] += 100 * normal(10, 4)
        before, after = advantages(rewards, 4), advantages(changed, 4)
        assert torch.equal(before[:8], after[:8])
        assert not torch.equal(before[8:], after[8:])


def test_a_group_that_mixes_prompts_is_rejected() -> None:
    prompts = torch.tensor([[1, 2], [3, 4]]).repeat_interleave(3, dim=0)
    check_groups(prompts, 3)
    with pytest.raises(ValueError, match="group 1 holds different prompts"):
        check_groups(prompts, 2)
    tiled = torch.tensor([[1, 2], [3, 4]]).repeat(3, 1)
    with pytest.raises(ValueError, match="group 0 holds different prompts"):
        check_groups(tiled, 3)


def test_every_token_has_the_advantage_of_its_response() -> None:
    mask = ragged([1, 3], 3)
    got = to_tokens(torch.tensor([2.0, -1.0]), mask)
    assert got.tolist() == [[2.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
    assert to_tokens(torch.tensor([math.nan, 1.0]), ragged([0, 3], 3)).isfinite().all()


# --- refusals -------------------------------------------------------------------------------------

ROWS = torch.zeros(4)
OPTIONS = {"discount": 1.0, "gae_lambda": 1.0}
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: token_gae(REWARDS, VALUES, MASK.float(), **OPTIONS), "mask to be boolean"),
    (lambda: token_gae(REWARDS, VALUES, MASK[:, :3], **OPTIONS), "mask of shape"),
    (lambda: token_gae(REWARDS[0], VALUES[0], MASK[0], **OPTIONS), r"rewards of shape \[B, T\]"),
    (
        lambda: token_gae(REWARDS, VALUES, MASK, final_values=f64([0, 0]), **OPTIONS),
        "truncated",
    ),
    (
        lambda: token_gae(
            REWARDS, VALUES, MASK, truncated=ROWS[:2], final_values=f64([0, 0]), **OPTIONS
        ),
        "truncated to be boolean",
    ),
    (
        lambda: token_gae(
            REWARDS, VALUES, MASK, truncated=TRUNCATED, final_values=f64([0]), **OPTIONS
        ),
        "final_values of shape",
    ),
    (lambda: token_gae(REWARDS, VALUES, MASK, discount=1.1, gae_lambda=1.0), "discount"),
    (lambda: rloo_advantages(ROWS, 3), "divide the batch"),
    (lambda: rloo_advantages(ROWS, 1), "at least 2"),
    (lambda: grpo_advantages(ROWS[:0], 2), "divide the batch"),
    (lambda: to_tokens(ROWS, MASK), "advantages"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
