"""Returns and advantages against published numbers, slow twins written from the definition, and
identities. A wrong implementation of each important idea is kept beside its test and must fail."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlkit.maths.returns import (
    discounted_returns,
    gae,
    lambda_returns,
    monte_carlo_returns,
    n_step_returns,
    standardise,
)

# Two evaluations of one recursion in float64, in another order: rounding, a few hundred ulp.
ROUNDING = {"rtol": 1e-11, "atol": 1e-11}
NAN = math.nan


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def false_like(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.bool)


class Rollout:
    """A random rollout [T, B] of several episodes, with both kinds of end and masked slots."""

    def __init__(self, seed: int, num_steps: int, batch: int, masked: float = 0.0) -> None:
        g = np.random.default_rng(seed)
        shape = (num_steps, batch)
        self.rewards = torch.from_numpy(g.normal(size=shape))
        self.values = torch.from_numpy(g.normal(size=shape))
        self.next_values = torch.from_numpy(g.normal(size=shape))
        self.terminated = torch.from_numpy(g.random(shape) < 0.2)
        self.is_last = self.terminated | torch.from_numpy(g.random(shape) < 0.2)
        self.mask = torch.from_numpy(g.random(shape) >= masked)

    def arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.rewards, self.values, self.next_values, self.terminated, self.is_last


rollouts = st.builds(
    Rollout,
    seed=st.integers(0, 2**32 - 1),
    num_steps=st.integers(1, 12),
    batch=st.integers(1, 4),
    masked=st.sampled_from([0.0, 0.3, 0.8]),
)
fractions = st.sampled_from([0.0, 0.3, 0.95, 1.0])


# --- slow twins, from the definitions -------------------------------------------------------------


def slow_gae(rollout: Rollout, discount: float, gae_lambda: float) -> Tensor:
    """A_t = Σ_k (γλ)^k δ_{t+k} over the decisions of the same episode from t on."""
    r, v, nv, terminated, is_last = (x.tolist() for x in rollout.arrays())
    num_steps, batch = rollout.rewards.shape
    out = torch.zeros(num_steps, batch, dtype=torch.float64)
    for b in range(batch):
        decisions = [t for t in range(num_steps) if rollout.mask[t, b]]
        for i, t in enumerate(decisions):
            total, weight = 0.0, 1.0
            for k in decisions[i:]:
                successor = 0.0 if terminated[k][b] else nv[k][b]
                total += weight * (r[k][b] + discount * successor - v[k][b])
                weight *= discount * gae_lambda
                if is_last[k][b] or terminated[k][b]:
                    break
            out[t, b] = total
    return out


def slow_monte_carlo(rollout: Rollout, discount: float, bootstrap: bool) -> Tensor:
    """G_t = Σ_k γ^k r over the same episode, and γ^n V where it was cut and not terminated."""
    r, _, nv, terminated, is_last = (x.tolist() for x in rollout.arrays())
    num_steps, batch = rollout.rewards.shape
    out = torch.zeros(num_steps, batch, dtype=torch.float64)
    for b in range(batch):
        decisions = [t for t in range(num_steps) if rollout.mask[t, b]]
        for i, t in enumerate(decisions):
            total, weight = 0.0, 1.0
            for k in decisions[i:]:
                total += weight * r[k][b]
                weight *= discount
                if is_last[k][b] or k == decisions[-1]:
                    if bootstrap and not terminated[k][b]:
                        total += weight * nv[k][b]
                    break
            out[t, b] = total
    return out


def slow_n_step(r: list[float], d: list[float], v: list[float], n: int) -> list[float]:
    out = []
    for t in range(len(r)):
        total, weight = 0.0, 1.0
        end = min(t + n, len(r))
        for k in range(t, end):
            total += weight * r[k]
            weight *= d[k]
        out.append(total + weight * v[end - 1])
    return out


def slow_lambda(r: list[float], d: list[float], v: list[float], lambda_: float) -> list[float]:
    """(1-λ) Σ_n λ^(n-1) G_t^(n), all that is left of the weight on the longest return."""
    horizon = len(r)
    n_step = {n: slow_n_step(r, d, v, n) for n in range(1, horizon + 1)}
    out = []
    for t in range(horizon):
        longest = horizon - t
        total = sum((1 - lambda_) * lambda_ ** (n - 1) * n_step[n][t] for n in range(1, longest))
        out.append(total + lambda_ ** (longest - 1) * n_step[longest][t])
    return out


# --- wrong on purpose -----------------------------------------------------------------------------


def gae_merging_done(r, v, nv, terminated, is_last, *, discount, gae_lambda, mask=None):
    return gae(r, v, nv, is_last, is_last, discount=discount, gae_lambda=gae_lambda, mask=mask)


def gae_without_border(r, v, nv, terminated, is_last, *, discount, gae_lambda, mask=None):
    return gae(r, v, nv, terminated, terminated, discount=discount, gae_lambda=gae_lambda)


def gae_by_multiplication(r, v, nv, terminated, is_last, *, discount, gae_lambda, mask=None):
    going, keeping = (~terminated).to(r.dtype), (~is_last).to(r.dtype)
    weight = torch.ones_like(r) if mask is None else mask.to(r.dtype)
    out, carry = torch.zeros_like(r), torch.zeros_like(r[0])
    for t in reversed(range(len(r))):
        delta = r[t] + discount * nv[t] * going[t] - v[t]
        carry = weight[t] * (delta + discount * gae_lambda * keeping[t] * carry)
        out[t] = carry
    return out


def gae_off_by_one(r, v, nv, terminated, is_last, *, discount, gae_lambda, mask=None):
    shifted = torch.cat([nv[1:], nv[-1:]])
    return gae(r, v, shifted, terminated, is_last, discount=discount, gae_lambda=gae_lambda)


def gae_with_lambda_on_the_delta(r, v, nv, terminated, is_last, *, discount, gae_lambda, mask=None):
    scaled = discount * gae_lambda
    return gae(r, v, nv, terminated, is_last, discount=scaled, gae_lambda=1.0, mask=mask)


GAE_MUTANTS = [
    gae_merging_done,
    gae_without_border,
    gae_by_multiplication,
    gae_off_by_one,
    gae_with_lambda_on_the_delta,
]


def check_against_twin(function: Callable[..., Tensor], rollout: Rollout) -> None:
    got = function(*rollout.arrays(), discount=0.9, gae_lambda=0.8, mask=rollout.mask)
    torch.testing.assert_close(got, slow_gae(rollout, 0.9, 0.8), **ROUNDING)


# --- published numbers ----------------------------------------------------------------------------

RLAX_GAE = [
    (1.0, [[-1.45118, -4.4557, 2.5396, 0.5249, -0.49], [3, 2, 1, 0, -4.9]]),
    (0.7, [[-0.676979, -5.248167, 2.4846, 0.6704, -0.49], [2.2899, 1.73, 1, 0, -4.9]]),
    (0.4, [[0.56731, -6.042, 2.3431, 0.815, -0.49], [1.725, 1.46, 1, 0, -4.9]]),
]


@pytest.mark.trap("T6")
@pytest.mark.parametrize(("gae_lambda", "expected"), RLAX_GAE)
def test_gae_reproduces_the_rlax_goldens(gae_lambda: float, expected: list[list[float]]) -> None:
    rewards = f64([[0, 0, 1, 0, -0.5], [0, 0, 0, 0, 1]])
    values = f64([[1, 4, -3, -2, -1, -1], [-3, -2, -1, 0, 5, -1]])
    terminated = torch.tensor([[False] * 5, [False, False, False, True, False]])
    for row, discount in enumerate((0.99, 0.9)):
        ends = terminated[row]
        v, nv = values[row, :-1], values[row, 1:]
        got = gae(rewards[row], v, nv, ends, ends, discount=discount, gae_lambda=gae_lambda)
        # The goldens are printed to about 1e-3.
        torch.testing.assert_close(got, f64(expected[row]), rtol=0, atol=1e-3)


TIANSHOU_REWARDS = [101, 102, 103, 200, 104, 105, 106, 201, 107, 108, 109, 202]
TIANSHOU_NEXT = [2, 3, 4, -1, 5, 6, 7, -2, 8, 9, 10, -3]
TERMINATED_AT_4_8_12 = """
    454.8344 376.1143 291.298 200  464.5610 383.1085 295.387 201  474.2876 390.1027 299.476 202
"""
TRUNCATED_AT_4_8 = """
    454.0109 375.2386 290.3669 199.01  462.9138 381.3571 293.5248 199.02
    474.2876 390.1027 299.476 202
"""
TIANSHOU = [
    ([4, 8, 12], [float(x) for x in TERMINATED_AT_4_8_12.split()]),
    ([12], [float(x) for x in TRUNCATED_AT_4_8.split()]),
]


def tianshou_returns(function: Callable[..., Tensor], terminations: list[int]) -> Tensor:
    steps = torch.arange(1, 13)
    terminated = torch.isin(steps, torch.tensor(terminations))
    is_last = torch.isin(steps, torch.tensor([4, 8, 12]))
    next_values = f64(TIANSHOU_NEXT)
    # Its critic sees consecutive states: V(s_t) is the V(next) of the row before, first row 0.
    values = torch.cat([f64([0]), next_values[:-1]])
    rewards = f64(TIANSHOU_REWARDS)
    return values + function(
        rewards, values, next_values, terminated, is_last, discount=0.99, gae_lambda=0.95
    )


@pytest.mark.parametrize(("terminations", "expected"), TIANSHOU)
def test_gae_distinguishes_termination_from_truncation_as_tianshou(
    terminations: list[int], expected: list[float]
) -> None:
    # Printed to 1e-4, and some to 1e-3.
    torch.testing.assert_close(
        tianshou_returns(gae, terminations), f64(expected), rtol=0, atol=1e-3
    )


def test_tianshou_goldens_reject_done_merging() -> None:
    terminations, expected = TIANSHOU[1]
    error = (tianshou_returns(gae_merging_done, terminations) - f64(expected)).abs().max()
    assert error > 0.5  # the bootstraps left out are 0.99 and more


RLAX_R = [[1, 0, -1, 0, 1], [0.5, 0.8, -0.7, 0, 2.1]]
RLAX_D = [[0.5, 0.9, 1, 0.5, 0.8], [0.9, 0.5, 0.3, 0.8, 0.7]]
RLAX_V = [[3, 1, 5, -5, 3], [-1.7, 1.2, 2.3, 2.2, 2.7]]


def test_lambda_returns_reproduce_the_rlax_goldens() -> None:
    r, d, v = (f64(x).T for x in (RLAX_R, RLAX_D, RLAX_V))
    expected = [
        [1.6460547, 0.72281253, 0.7375001, 0.6500001, 3.4],
        [0.7866317, 0.9913063, 0.1101501, 2.834, 3.99],
    ]
    got = lambda_returns(r, d, v, lambda_=0.75)
    # The goldens were computed in float32.
    torch.testing.assert_close(got.T, f64(expected), rtol=0, atol=1e-6)


def test_discounted_returns_reproduce_the_rlax_goldens() -> None:
    r, d, v = (f64(x).T for x in (RLAX_R, RLAX_D, RLAX_V))
    expected = [[1.315, 0.63, 0.70, 1.7, 3.4], [1.33592, 0.9288, 0.2576, 3.192, 3.99]]
    got = discounted_returns(r, d, v[-1])
    torch.testing.assert_close(got.T, f64(expected), **ROUNDING)


# --- closed forms ---------------------------------------------------------------------------------


def four_state_loop(value: float, num_steps: int = 24) -> tuple[Tensor, ...]:
    """Reward 1 for ever, cut by a time limit of 8; every state has the same value."""
    rewards = torch.ones(num_steps, dtype=torch.float64)
    values = torch.full_like(rewards, value)
    is_last = torch.arange(num_steps) % 8 == 7
    return rewards, values, values, false_like(rewards), is_last


@pytest.mark.trap("T1")
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
def test_value_50_is_the_fixed_point_of_the_four_state_loop(gae_lambda: float) -> None:
    # 1/(1 - 0.98) = 50: with timeouts bootstrapped no target moves away from it.
    advantages = gae(*four_state_loop(50.0), discount=0.98, gae_lambda=gae_lambda)
    torch.testing.assert_close(advantages, torch.zeros_like(advantages), rtol=0, atol=1e-10)


@pytest.mark.trap("T1")
def test_done_merging_leaves_the_fixed_point_of_the_four_state_loop() -> None:
    advantages = gae_merging_done(*four_state_loop(50.0), discount=0.98, gae_lambda=0.9)
    assert advantages.max() < 0
    assert advantages.min() == pytest.approx(-49.0)  # 1 + 0 - 50 at the timeout


def test_monte_carlo_returns_of_the_four_state_loop_are_50_with_bootstrap() -> None:
    rewards, values, next_values, terminated, is_last = four_state_loop(50.0)
    got = monte_carlo_returns(rewards, terminated, is_last, discount=0.98, next_values=next_values)
    torch.testing.assert_close(got, values, **ROUNDING)


def test_monte_carlo_returns_without_values_sum_up_to_the_truncation() -> None:
    rewards, _, _, terminated, is_last = four_state_loop(0.0)
    got = monte_carlo_returns(rewards, terminated, is_last, discount=0.98)
    left = torch.arange(8, 0, -1, dtype=torch.float64).repeat(3)
    torch.testing.assert_close(got, (1 - 0.98**left) / (1 - 0.98), **ROUNDING)


def test_undiscounted_monte_carlo_returns_start_with_the_episode_return() -> None:
    rewards = f64([1, 2, 3, 10, 20, 5])
    terminated = torch.tensor([False, False, True, False, True, False])
    got = monte_carlo_returns(rewards, terminated, terminated, discount=1.0)
    assert got.tolist() == [6, 5, 3, 30, 20, 5]


@pytest.mark.trap("T7")
def test_terminal_reward_reaches_the_last_state_at_lambda_zero() -> None:
    # Two-step chain with reward 1 at the end: V(s_1) = 1 and V(s_0) = γ is a fixed point.
    values, terminated = f64([0.9, 1.0]), torch.tensor([False, True])
    next_values = f64([1.0, 123.0])
    got = gae(f64([0, 1]), values, next_values, terminated, terminated, discount=0.9, gae_lambda=0)
    torch.testing.assert_close(got, f64([0, 0]), **ROUNDING)


def test_masked_gae_of_a_token_sequence_by_hand() -> None:
    # Three decisions, then padding; score at the last one (EOS), which terminates.
    mask = torch.tensor([True, True, True, False, False])
    rewards, values = f64([-0.1, -0.2, 2.0, 0, 0]), f64([1.0, 1.5, 1.2, 0, 0])
    next_values = torch.cat([values[1:], f64([0])])
    ends = torch.tensor([False, False, True, False, False])
    arrays = (rewards, values, next_values, ends, ends)
    monte_carlo = gae(*arrays, discount=1, gae_lambda=1, mask=mask)
    torch.testing.assert_close(monte_carlo, f64([0.7, 0.3, 0.8, 0, 0]), **ROUNDING)
    one_step = gae(*arrays, discount=1, gae_lambda=0, mask=mask)
    torch.testing.assert_close(one_step, f64([0.4, -0.5, 0.8, 0, 0]), **ROUNDING)


# --- slow twins -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(rollout=rollouts, discount=fractions, gae_lambda=fractions)
def test_gae_equals_the_sum_of_discounted_td_errors(
    rollout: Rollout, discount: float, gae_lambda: float
) -> None:
    got = gae(*rollout.arrays(), discount=discount, gae_lambda=gae_lambda, mask=rollout.mask)
    torch.testing.assert_close(got, slow_gae(rollout, discount, gae_lambda), **ROUNDING)


@pytest.mark.parametrize("mutant", GAE_MUTANTS, ids=lambda f: f.__name__)
def test_a_wrong_gae_fails_against_the_sum_of_td_errors(mutant: Callable[..., Tensor]) -> None:
    rollout = Rollout(seed=0, num_steps=12, batch=4, masked=0.3)
    check_against_twin(gae, rollout)
    with pytest.raises(AssertionError):
        check_against_twin(mutant, rollout)


@settings(deadline=None, max_examples=60)
@given(rollout=rollouts, discount=fractions, bootstrap=st.booleans())
def test_monte_carlo_returns_equal_the_sum_of_discounted_rewards(
    rollout: Rollout, discount: float, bootstrap: bool
) -> None:
    got = monte_carlo_returns(
        rollout.rewards,
        rollout.terminated,
        rollout.is_last,
        discount=discount,
        next_values=rollout.next_values if bootstrap else None,
        mask=rollout.mask,
    )
    torch.testing.assert_close(got, slow_monte_carlo(rollout, discount, bootstrap), **ROUNDING)


def random_sequence(seed: int, num_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    g = np.random.default_rng(seed)
    discounts = g.choice([0.0, 0.5, 0.9, 1.0], size=num_steps)
    arrays = (g.normal(size=num_steps), discounts, g.normal(size=num_steps))
    r, d, v = (torch.from_numpy(x) for x in arrays)
    return r, d, v


@pytest.mark.parametrize("num_steps", [1, 2, 5, 9])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 50])
def test_n_step_returns_equal_the_written_out_sum(num_steps: int, n: int) -> None:
    r, d, v = random_sequence(num_steps * 100 + n, num_steps)
    expected = slow_n_step(r.tolist(), d.tolist(), v.tolist(), n)
    torch.testing.assert_close(n_step_returns(r, d, v, n=n), f64(expected), **ROUNDING)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 9])
@pytest.mark.parametrize("lambda_", [0.0, 0.4, 0.95, 1.0])
def test_lambda_returns_are_the_weighted_mean_of_n_step_returns(
    num_steps: int, lambda_: float
) -> None:
    r, d, v = random_sequence(num_steps, num_steps)
    expected = slow_lambda(r.tolist(), d.tolist(), v.tolist(), lambda_)
    torch.testing.assert_close(lambda_returns(r, d, v, lambda_=lambda_), f64(expected), **ROUNDING)


# --- identities -----------------------------------------------------------------------------------


def consistent(rollout: Rollout) -> Rollout:
    """Makes next_values[t] the value of the next row inside an episode, as a real critic does."""
    inside = ~rollout.is_last
    inside[-1] = False
    following = torch.roll(rollout.values, -1, dims=0)
    rollout.next_values = torch.where(inside, following, rollout.next_values)
    return rollout


def check_lambda_one(function: Callable[..., Tensor]) -> None:
    rollout = consistent(Rollout(seed=3, num_steps=11, batch=5))
    returns = monte_carlo_returns(
        rollout.rewards,
        rollout.terminated,
        rollout.is_last,
        discount=0.9,
        next_values=rollout.next_values,
    )
    got = function(*rollout.arrays(), discount=0.9, gae_lambda=1.0)
    torch.testing.assert_close(got, returns - rollout.values, **ROUNDING)


def test_gae_with_lambda_one_is_return_minus_value() -> None:
    check_lambda_one(gae)
    for mutant in (gae_merging_done, gae_without_border, gae_off_by_one):
        with pytest.raises(AssertionError):
            check_lambda_one(mutant)


def test_gae_with_lambda_zero_is_the_td_error() -> None:
    x = Rollout(seed=4, num_steps=7, batch=3)
    successor = torch.where(x.terminated, 0.0, x.next_values)
    expected = x.rewards + 0.9 * successor - x.values
    got = gae(*x.arrays(), discount=0.9, gae_lambda=0.0)
    torch.testing.assert_close(got, expected, **ROUNDING)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_gae_is_lambda_return_minus_value_where_nothing_is_truncated(num_steps: int) -> None:
    x = consistent(Rollout(seed=num_steps, num_steps=num_steps, batch=6))
    x.is_last = x.terminated
    x = consistent(x)
    discounts = 0.9 * (~x.terminated).double()
    expected = lambda_returns(x.rewards, discounts, x.next_values, lambda_=0.7) - x.values
    got = gae(*x.arrays(), discount=0.9, gae_lambda=0.7)
    torch.testing.assert_close(got, expected, **ROUNDING)


def test_n_step_returns_of_one_step_and_of_all_steps() -> None:
    r, d, v = random_sequence(8, 6)
    torch.testing.assert_close(n_step_returns(r, d, v, n=1), r + d * v, **ROUNDING)
    whole = discounted_returns(r, d, v[-1])
    torch.testing.assert_close(n_step_returns(r, d, v, n=6), whole, **ROUNDING)
    torch.testing.assert_close(lambda_returns(r, d, v, lambda_=1.0), whole, **ROUNDING)


def test_masked_slots_are_transparent() -> None:
    """Leaving the masked rows out altogether gives the same advantages and returns."""
    x = Rollout(seed=5, num_steps=12, batch=1, masked=0.4)
    m = x.mask[:, 0]
    short = [a[m] for a in x.arrays()]
    whole = gae(*x.arrays(), discount=0.9, gae_lambda=0.8, mask=x.mask)
    assert torch.equal(whole[m], gae(*short, discount=0.9, gae_lambda=0.8))
    r, _, nv, terminated, is_last = x.arrays()
    returns = monte_carlo_returns(r, terminated, is_last, discount=0.9, next_values=nv, mask=x.mask)
    r, _, nv, terminated, is_last = short
    assert torch.equal(
        returns[m], monte_carlo_returns(r, terminated, is_last, discount=0.9, next_values=nv)
    )


# --- borders and poison ---------------------------------------------------------------------------


@pytest.mark.trap("T2")
@pytest.mark.parametrize("poison", [NAN, math.inf, -math.inf, 1e9])
def test_nothing_behind_an_episode_end_comes_back_over_it(poison: float) -> None:
    x = Rollout(seed=6, num_steps=8, batch=2)
    x.terminated[:] = False
    x.is_last[:] = False
    x.is_last[3] = True  # truncation
    before = gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    returns = monte_carlo_returns(x.rewards, x.terminated, x.is_last, discount=0.9)
    for array in (x.rewards, x.values, x.next_values):
        array[4:] = poison
    after = gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    assert torch.equal(before[:4], after[:4])
    assert torch.isfinite(after[:4]).all()
    returns_after = monte_carlo_returns(x.rewards, x.terminated, x.is_last, discount=0.9)
    assert torch.equal(returns[:4], returns_after[:4])
    if poison != 1e9:  # a mutant: the border made by multiplication lets it through
        leaky = gae_by_multiplication(*x.arrays(), discount=0.9, gae_lambda=0.8)
        assert not torch.isfinite(leaky[:4]).any()


@pytest.mark.trap("T5")
@pytest.mark.parametrize("poison", [NAN, math.inf, 1e6])
def test_value_of_a_terminal_successor_is_never_read(poison: float) -> None:
    next_values, terminated = f64([0.5, poison]), torch.tensor([False, True])
    values, rewards = f64([0.1, 0.2]), f64([1.0, 2.0])
    arrays = (rewards, values, next_values, terminated, terminated)
    got = gae(*arrays, discount=0.9, gae_lambda=0.5)
    assert got[1].item() == 2.0 - 0.2
    if math.isnan(poison):
        assert gae_by_multiplication(*arrays, discount=0.9, gae_lambda=0.5)[1].isnan()
    returns = monte_carlo_returns(
        rewards, terminated, terminated, discount=0.9, next_values=next_values
    )
    assert returns[1].item() == 2.0


@pytest.mark.trap("T4")
def test_termination_wins_where_a_step_is_both_terminated_and_truncated() -> None:
    flag, one = torch.tensor([True]), f64([1.0])
    target = gae(one * 3, one * 0, one * 7, flag, flag, discount=0.9, gae_lambda=0.5)
    assert target.tolist() == [3.0]


def test_terminated_ends_the_episode_even_if_is_last_is_not_set() -> None:
    x = Rollout(seed=7, num_steps=9, batch=3)
    only_truncated = x.is_last & ~x.terminated
    full = gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    r, v, nv, terminated, _ = x.arrays()
    assert torch.equal(
        full, gae(r, v, nv, terminated, only_truncated, discount=0.9, gae_lambda=0.8)
    )


@pytest.mark.trap("T3")
def test_a_truncation_bootstraps_from_its_own_successor_only() -> None:
    x = Rollout(seed=8, num_steps=6, batch=1)
    x.terminated[:] = False
    x.is_last[:] = False
    x.is_last[2] = True
    before = gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    x.values[3] = 1e6  # the first observation of the next episode
    after = gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    assert torch.equal(before[:3], after[:3])


@pytest.mark.parametrize("poison", [NAN, math.inf, 1e9])
def test_poison_in_masked_slots_changes_nothing(poison: float) -> None:
    x = Rollout(seed=9, num_steps=12, batch=4, masked=0.4)
    options = {"discount": 0.9, "gae_lambda": 0.8, "mask": x.mask}

    def returns() -> Tensor:
        return monte_carlo_returns(
            x.rewards,
            x.terminated,
            x.is_last,
            discount=0.9,
            next_values=x.next_values,
            mask=x.mask,
        )

    clean, clean_returns = gae(*x.arrays(), **options), returns()
    clean_standard = standardise(clean, mask=x.mask, dim=0)
    for array in (x.rewards, x.values, x.next_values):
        array[~x.mask] = poison
    x.terminated[~x.mask] = True
    x.is_last[~x.mask] = True
    assert torch.equal(gae(*x.arrays(), **options), clean)
    assert torch.equal(returns(), clean_returns)
    assert (clean[~x.mask] == 0).all()
    assert (clean_returns[~x.mask] == 0).all()
    poisoned = torch.where(x.mask, clean, poison)
    assert torch.equal(standardise(poisoned, mask=x.mask, dim=0), clean_standard)
    if math.isnan(poison):
        assert not gae_by_multiplication(*x.arrays(), **options)[x.mask].isfinite().all()


@pytest.mark.parametrize("function", ["discounted", "n_step", "lambda"])
def test_a_discount_of_zero_lets_nothing_through(function: str) -> None:
    rewards, discounts = f64([1, 2, NAN]), f64([0.9, 0.0, 0.9])
    values = f64([0.5, NAN, math.inf])
    got = {
        "discounted": lambda: discounted_returns(rewards, discounts, values[-1]),
        "n_step": lambda: n_step_returns(rewards, discounts, values, n=2),
        "lambda": lambda: lambda_returns(rewards, discounts, values, lambda_=1.0),
    }[function]()
    torch.testing.assert_close(got[:2], f64([2.8, 2.0]), **ROUNDING)


def test_arguments_are_left_as_they_were() -> None:
    x = Rollout(seed=10, num_steps=6, batch=2, masked=0.3)
    copies = [a.clone() for a in (*x.arrays(), x.mask)]
    gae(*x.arrays(), discount=0.9, gae_lambda=0.8, mask=x.mask)
    gae(*x.arrays(), discount=0.9, gae_lambda=0.8)
    r, _, nv, terminated, is_last = x.arrays()
    monte_carlo_returns(r, terminated, is_last, discount=0.9, next_values=nv, mask=x.mask)
    monte_carlo_returns(r, terminated, is_last, discount=0.9)
    standardise(r, mask=x.mask, dim=0)
    assert all(torch.equal(a, b) for a, b in zip((*x.arrays(), x.mask), copies, strict=True))


# --- standardise ----------------------------------------------------------------------------------


@pytest.mark.trap("T88")
def test_standardise_reproduces_the_masked_whitening_golden() -> None:
    mask = torch.tensor([False, True, True, False])
    got = standardise(torch.tensor([1.0, 2.0, 3.0, 4.0]), mask=mask, dim=0)
    expected = torch.tensor([0.0, -0.7071, 0.7071, 0.0])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)  # printed to 4 digits


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 40), masked=st.sampled_from([0, 0.5]))
def test_standardise_agrees_with_numpy(seed: int, size: int, masked: float) -> None:
    g = np.random.default_rng(seed)
    x = g.normal(loc=3.0, scale=2.0, size=(3, size))
    mask = g.random((3, size)) >= masked
    mask[:, :2] = True
    arguments = {} if masked == 0 else {"mask": torch.from_numpy(mask)}
    got = standardise(torch.from_numpy(x), dim=1, **arguments).numpy()
    kept = standardise(torch.from_numpy(x), dim=1, keep_mean=True, **arguments).numpy()
    if masked == 0:
        mask[:] = True
    for row in range(3):
        valid = x[row][mask[row]]
        expected = (valid - valid.mean()) / valid.std(ddof=1)
        # The 1e-8 beside a std of the order 1 (two draws may lie close to each other).
        tolerance = 1e-11 + 2e-8 * np.abs(expected).max() / valid.std(ddof=1)
        np.testing.assert_allclose(got[row][mask[row]], expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            kept[row][mask[row]], expected + valid.mean(), rtol=0, atol=tolerance
        )
        assert (got[row][~mask[row]] == 0).all()


def naive_standardise(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.std() + 1e-8)


@pytest.mark.trap("T26")
def test_constant_advantages_standardise_to_zero() -> None:
    x = torch.full((8,), 3.3)
    assert standardise(x, dim=0).abs().max() < 1e-3
    assert standardise(x, dim=0, mask=torch.ones(8, dtype=torch.bool)).abs().max() < 1e-3
    assert naive_standardise(x).abs().max() > 0.5  # what the usual formula makes of it


@pytest.mark.trap("T26")
@settings(deadline=None, max_examples=60)
@given(
    constant=st.floats(-1e6, 1e6, width=32),
    size=st.integers(2, 3000),
    wobble=st.booleans(),
)
def test_input_constant_but_for_rounding_standardises_to_exactly_zero(
    constant: float, size: int, wobble: bool
) -> None:
    x = torch.full((size,), constant, dtype=torch.float32)
    if wobble and constant != 0.0:
        x[::2] = torch.nextafter(x[::2], torch.tensor(torch.inf))
    if torch.finfo(torch.float32).tiny * 1e8 < abs(constant):
        assert (standardise(x, dim=0) == 0).all()
    assert (standardise(x, dim=0).abs() < 1e-3).all()


def test_standardise_is_not_fooled_by_a_large_mean() -> None:
    x = torch.tensor([10000.0, 10001.0, 10002.0])
    torch.testing.assert_close(standardise(x, dim=0), torch.tensor([-1.0, 0.0, 1.0]))


@pytest.mark.trap("T25")
def test_a_single_element_stays_as_it_is() -> None:
    assert standardise(torch.tensor([[2.5], [7.0]]), dim=1).tolist() == [[2.5], [7.0]]
    mask = torch.tensor([[False, True, False], [True, True, False], [False, False, False]])
    x = torch.tensor([[NAN, 2.5, NAN], [1.0, 3.0, NAN], [NAN, NAN, NAN]])
    got = standardise(x, mask=mask, dim=1)
    root_half = 0.5**0.5
    expected = torch.tensor([[0, 2.5, 0], [-root_half, root_half, 0], [0, 0, 0]])
    torch.testing.assert_close(got, expected)  # defaults: float32 rounding


def test_standardise_treats_each_seed_by_itself() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3, 4)))
    together = standardise(x, dim=(0, 2))
    x[:, 1] = 1e9
    after = standardise(x, dim=(0, -1))
    assert torch.equal(together[:, [0, 2]], after[:, [0, 2]])
    assert (after[:, 1] == 0).all()


# --- a seed's bytes -------------------------------------------------------------------------------

SEED_COUNTS = [1, 2, 3, 5, 8, 16, 37]
ENV_COUNTS = [1, 2, 3, 5, 7, 8, 31, 256]


def variance_over_all_axes(x: Tensor) -> Tensor:
    return (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True)


def seeds_differ(function: Callable[..., Tensor], *arrays: Tensor) -> bool:
    """Whether some seed (axis 1) alone gets other bytes than in the batch."""
    together = function(*arrays)
    num_seeds = arrays[0].shape[1]
    for k in sorted({0, num_seeds // 2, num_seeds - 1}):
        alone = function(*(a[:, k : k + 1].clone() for a in arrays))
        if not torch.equal(alone, together[:, k : k + 1]):
            return True
    return False


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds in SEED_COUNTS:
        for num_envs in ENV_COUNTS:
            shape = (5, num_seeds, num_envs)
            r, v, nv = torch.randn(3, *shape, generator=g, dtype=dtype)
            terminated, truncated, mask = torch.rand(3, *shape, generator=g) < 0.3
            is_last = terminated | truncated
            discounts = 0.97 * (~terminated).to(dtype)

            def masked_gae(r, v, nv, end, last, mask):
                return gae(r, v, nv, end, last, discount=0.97, gae_lambda=0.9, mask=mask)

            def masked_returns(r, nv, end, last, mask):
                return monte_carlo_returns(r, end, last, discount=0.97, next_values=nv, mask=mask)

            cases = [
                (
                    lambda *a: gae(*a, discount=0.97, gae_lambda=0.9),
                    (r, v, nv, terminated, is_last),
                ),
                (masked_gae, (r, v, nv, terminated, is_last, mask)),
                (masked_returns, (r, nv, terminated, is_last, mask)),
                (lambda r, d, v: discounted_returns(r, d, v[-1]), (r, discounts, v)),
                (lambda r, d, v: n_step_returns(r, d, v, n=3), (r, discounts, v)),
                (lambda r, d, v: lambda_returns(r, d, v, lambda_=0.9), (r, discounts, v)),
                (lambda x: standardise(x, dim=(0, 2)), (r,)),
                (lambda x: standardise(x, dim=(0, 2), keep_mean=True), (r,)),
                (lambda x: standardise(x, dim=-1), (r,)),
                (lambda x, m: standardise(x, mask=m, dim=(0, 2)), (r, mask)),
            ]
            for i, (function, arrays) in enumerate(cases):
                assert not seeds_differ(function, *arrays), (i, num_seeds, num_envs)


def test_the_check_of_bytes_notices_a_reduction_over_the_time_axis_in_place() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = [(5, s, n) for s in SEED_COUNTS[1:] for n in ENV_COUNTS[1:]]
    differing = [seeds_differ(variance_over_all_axes, torch.randn(*s, generator=g)) for s in shapes]
    assert any(differing)


# --- errors ---------------------------------------------------------------------------------------

X = torch.zeros(4, 2)
FLAG = torch.zeros(4, 2, dtype=torch.bool)
GAE = {"discount": 0.9, "gae_lambda": 0.9}
BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: gae(X, X[:3], X, FLAG, FLAG, **GAE), r"gae: expected values of shape \(4, 2\).*3, 2"),
    (lambda: gae(X, X, X[:, :1], FLAG, FLAG, **GAE), r"gae: expected next_values of shape"),
    (lambda: gae(X, X, X, FLAG[:3], FLAG, **GAE), r"gae: expected terminated of shape"),
    (lambda: gae(X, X, X, FLAG, X, **GAE), r"gae: expected is_last to be boolean, got torch.f"),
    (lambda: gae(X, X, X, FLAG, FLAG, mask=FLAG[0], **GAE), r"gae: expected mask of shape"),
    (lambda: gae(X, X.double(), X, FLAG, FLAG, **GAE), r"gae: expected values in the floating"),
    (lambda: gae(X.clone().requires_grad_(), X, X, FLAG, FLAG, **GAE), r"gae: .*detach"),
    (
        lambda: gae(X, X, X, FLAG, FLAG, discount=1.1, gae_lambda=1),
        r"discount in \[0, 1\], got 1.1",
    ),
    (lambda: gae(X, X, X, FLAG, FLAG, discount=NAN, gae_lambda=1), r"discount in \[0, 1\]"),
    (lambda: gae(X, X, X, FLAG, FLAG, discount=1, gae_lambda=-0.1), r"gae_lambda in \[0, 1\]"),
    (lambda: monte_carlo_returns(X.long(), FLAG, FLAG, discount=1), r"monte_carlo.*floating"),
    (lambda: monte_carlo_returns(X, FLAG, FLAG[:2], discount=1), r"expected is_last of shape"),
    (
        lambda: monte_carlo_returns(X, FLAG, FLAG, discount=1, next_values=X[1:]),
        r"monte_carlo_returns: expected next_values of shape",
    ),
    (lambda: discounted_returns(X, X[1:], X[0]), r"discounted_returns: expected discounts of"),
    (lambda: discounted_returns(X, X, X), r"discounted_returns: expected bootstrap_value of shape"),
    (lambda: discounted_returns(X[:0], X[:0], X[0]), r"with T of at least 1"),
    (lambda: n_step_returns(X, X, X[1:], n=1), r"n_step_returns: expected values of shape"),
    (lambda: n_step_returns(X, X, X, n=0), r"expected n of at least 1, got 0"),
    (lambda: lambda_returns(X, X[1:], X, lambda_=1), r"lambda_returns: expected discounts"),
    (lambda: lambda_returns(X, X, X, lambda_=2), r"lambda_ in \[0, 1\], got 2"),
    (lambda: standardise(X.clone().requires_grad_(), dim=0), r"standardise: .*detach"),
    (lambda: standardise(X, mask=FLAG[0], dim=0), r"mask"),
    (lambda: standardise(X, mask=X, dim=0), r"mask to be boolean"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
