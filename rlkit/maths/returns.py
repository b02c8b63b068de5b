"""Returns and advantages of actions.

Arrays are time-major, `[T, ...]` with any trailing batch shape, so the same function serves
rollouts `[T, S, N]` and token sequences `[T, B]`. Nothing here takes part in a gradient: the caller
detaches, and a tensor that requires a gradient is rejected.

Which function to use:

* for a rollout of several episodes in a row, with a critic: `gae`; the critic's target is
  `gae(...) + values`;
* for the same without a critic (REINFORCE): `monte_carlo_returns`;
* with the discount of each step as data, 0 at a termination, and no truncation inside:
  `discounted_returns`, `n_step_returns`, `lambda_returns`;
* to bring any of these to mean 0 and variance 1: `standardise`.

Two flags describe the end of an episode. `terminated` means that the future is worth 0: it stops
the bootstrap. `is_last` means that the next row belongs to another episode, after a termination or
a truncation: it stops the trace. Where both are set, the episode terminated. Both act by selection,
never by multiplication, so a NaN beyond an end does not spread over it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlkit.maths.masking import masked_mean
from rlkit.maths.shapes import (
    require_detached,
    require_flags,
    require_floats,
    require_same_shape,
    require_shape,
)

__all__ = [
    "discounted_returns",
    "gae",
    "lambda_returns",
    "monte_carlo_returns",
    "n_step_returns",
    "standardise",
]


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    is_last: Tensor,
    *,
    discount: float,
    gae_lambda: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the generalised advantage of each action in a rollout.

        δ_t = r_{t+1} + γ V(s_{t+1}) - V(s_t),    V(s_{t+1}) = 0 where terminated
        A_t = δ_t + γ λ A_{t+1},                  A_{t+1} = 0 where is_last, and beyond the end

    Args:
        rewards: r_{t+1}, t = 0..T-1, shape [T, ...].
        values: V(s_t), shape [T, ...].
        next_values: V(s_{t+1}) of the true successor of transition t, which at a truncation is
            the final observation and not the first of the next episode, shape [T, ...].
        terminated: the successor is terminal, boolean, shape [T, ...].
        is_last: transition t ends its episode for any reason, boolean, shape [T, ...]; a
            terminated transition counts as last even if it is not set here.
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1].
        mask: True = a decision of the policy, boolean, shape [T, ...]. Other slots are
            transparent: what they hold, flags included, is ignored, and the trace passes over
            them without decay. So `next_values` of a decision is V at the next decision.

    Returns:
        A_t, shape [T, ...], 0 outside the mask.

    Raises:
        ValueError: shapes differ, a flag is not boolean, a tensor requires a gradient, or γ or λ
            is outside [0, 1].

    Source: Schulman et al. (2016), arXiv 1506.02438, eqs. 11-12 and 16. Differs from it in the
    two kinds of episode end and in the mask.
    """
    _check_arrays("gae", rewards=rewards, values=values, next_values=next_values)
    require_flags("gae", rewards.shape, terminated=terminated, is_last=is_last, mask=mask)
    _check_fraction("gae", "discount", discount)
    _check_fraction("gae", "gae_lambda", gae_lambda)
    delta = rewards + discount * next_values.masked_fill(terminated, 0.0) - values
    return _scan_episodes(delta, discount * gae_lambda, is_last | terminated, mask)


def monte_carlo_returns(
    rewards: Tensor,
    terminated: Tensor,
    is_last: Tensor,
    *,
    discount: float,
    next_values: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the discounted return of each step to the end of its own episode (reward to go).

        G_t = r_{t+1} + γ G_{t+1}              inside an episode
        G_t = r_{t+1}                          at a termination
        G_t = r_{t+1} + γ V(s_{t+1})           at a truncation and at the end of the rollout

    Without `next_values` the last line has V = 0: rewards after a truncation are omitted. That is
    REINFORCE in its textbook form; it is exact if every episode of the rollout terminates, or if
    the time limit is part of the task.

    Args:
        rewards: r_{t+1}, t = 0..T-1, shape [T, ...].
        terminated: the successor is terminal, boolean, shape [T, ...].
        is_last: transition t ends its episode for any reason, boolean, shape [T, ...].
        discount: γ in [0, 1].
        next_values: V(s_{t+1}) of the true successor, shape [T, ...]; read only
            at truncations and at the end.
        mask: True = a decision of the policy, boolean, shape [T, ...]; as in `gae`.

    Returns:
        G_t, shape [T, ...], 0 outside the mask.

    Raises:
        ValueError: shapes differ, a flag is not boolean, a tensor requires a gradient, or γ is
            outside [0, 1].

    Source: Sutton and Barto (2018), eqs. 3.8-3.9; Pardo et al. (2018), arXiv 1712.00378, for
    the bootstrap at a truncation.
    """
    _check_arrays("monte_carlo_returns", rewards=rewards)
    require_flags(
        "monte_carlo_returns", rewards.shape, terminated=terminated, is_last=is_last, mask=mask
    )
    _check_fraction("monte_carlo_returns", "discount", discount)
    ends = is_last | terminated
    if next_values is None:
        return _scan_episodes(rewards, discount, ends, mask)
    _check_arrays("monte_carlo_returns", rewards=rewards, next_values=next_values)
    cut = ends | _is_final_decision(ends, mask)
    bootstrap = next_values.masked_fill(terminated | ~cut, 0.0)
    return _scan_episodes(rewards + discount * bootstrap, discount, cut, mask)


def discounted_returns(rewards: Tensor, discounts: Tensor, bootstrap_value: Tensor) -> Tensor:
    """Return the discounted return of each step, where each step has its own discount.

        G_t = r_{t+1} + γ_{t+1} G_{t+1},    G_T = V(s_T)

    Args:
        rewards: r_{t+1}, t = 0..T-1, shape [T, ...].
        discounts: γ_{t+1}: γ, or 0 where the successor is terminal, shape [T, ...].
        bootstrap_value: V(s_T), shape [...].

    Returns:
        G_t, shape [T, ...].

    Raises:
        ValueError: shapes differ or a tensor requires a gradient.

    Source: Sutton and Barto (2018), eq. 3.9; rlax.discounted_returns, given only the one
    value that it reads.
    """
    _check_arrays("discounted_returns", rewards=rewards, discounts=discounts)
    require_shape("discounted_returns", rewards.shape[1:], bootstrap_value=bootstrap_value)
    require_detached("discounted_returns", bootstrap_value=bootstrap_value)
    return _reverse_scan(rewards, discounts, discounts == 0, bootstrap_value)


def n_step_returns(rewards: Tensor, discounts: Tensor, values: Tensor, *, n: int) -> Tensor:
    """Return the sum of n discounted rewards, completed by the value of the state reached.

        G_t = r_{t+1} + γ_{t+1} (r_{t+2} + γ_{t+2} (... (r_{t+n} + γ_{t+n} V(s_{t+n}))))

    Within n steps of the end the return is shorter and completed by V(s_T).

    Args:
        rewards: r_{t+1}, t = 0..T-1, shape [T, ...].
        discounts: γ_{t+1}: γ, or 0 where the successor is terminal, shape [T, ...].
        values: V(s_{t+1}), shape [T, ...].
        n: number of rewards, at least 1.

    Returns:
        G_t, shape [T, ...].

    Raises:
        ValueError: shapes differ, a tensor requires a gradient, or n is below 1.

    Source: Sutton and Barto (2018), eq. 7.1; rlax.n_step_bootstrapped_returns.
    """
    _check_arrays("n_step_returns", rewards=rewards, discounts=discounts, values=values)
    if n < 1:
        raise ValueError(f"n_step_returns: expected n of at least 1, got {n}")
    num_steps = rewards.shape[0]
    n = min(n, num_steps)
    # Beyond the end: reward 0 and discount 1, which carry V(s_T) back unchanged.
    rewards = torch.cat([rewards, torch.zeros_like(rewards[: n - 1])])
    discounts = torch.cat([discounts, torch.ones_like(discounts[: n - 1])])
    returns = torch.cat([values[n - 1 :], *[values[-1:]] * (n - 1)])
    for k in reversed(range(n)):
        discount = discounts[k : k + num_steps]
        returns = rewards[k : k + num_steps] + discount * returns.masked_fill(discount == 0, 0.0)
    return returns


def lambda_returns(rewards: Tensor, discounts: Tensor, values: Tensor, *, lambda_: float) -> Tensor:
    """Return the λ-return of each step, a mean of all its n-step returns.

        G_t = r_{t+1} + γ_{t+1} [(1-λ) V(s_{t+1}) + λ G_{t+1}],    G_T = V(s_T)

    Args:
        rewards: r_{t+1}, t = 0..T-1, shape [T, ...].
        discounts: γ_{t+1}: γ, or 0 where the successor is terminal, shape [T, ...].
        values: V(s_{t+1}), shape [T, ...].
        lambda_: λ in [0, 1]; 0 is one step, 1 is `discounted_returns`.

    Returns:
        G_t, shape [T, ...].

    Raises:
        ValueError: shapes differ, a tensor requires a gradient, or λ is outside [0, 1].

    Source: Sutton and Barto (2018), eq. 12.2 in its recursive form; rlax.lambda_returns.
    """
    _check_arrays("lambda_returns", rewards=rewards, discounts=discounts, values=values)
    _check_fraction("lambda_returns", "lambda_", lambda_)
    ends = discounts == 0
    one_step = rewards + (1.0 - lambda_) * discounts * values.masked_fill(ends, 0.0)
    return _reverse_scan(one_step, lambda_ * discounts, ends, values[-1])


def standardise(
    x: Tensor,
    *,
    mask: Tensor | None = None,
    dim: int | Sequence[int],
    keep_mean: bool = False,
) -> Tensor:
    """Return x shifted and scaled to mean 0 and variance 1 over some dimensions.

        y = (x - mean) / (std + 1e-8),    std with the divisor n-1

    Input that is constant up to rounding (std within 16 units in the last place of the mean) has no
    scale to divide by: y is exactly 0 there. With fewer than two elements y = x.

    Args:
        x: advantages or rewards, any shape.
        mask: True = counts, boolean, same shape; None = all count.
        dim: the dimension or dimensions that are standardised together; the others are
            independent of one another (`dim=(0, 2)` of [T, S, N] is per seed).
        keep_mean: add the mean back, so that only the scale changes.

    Returns:
        y, same shape, 0 outside the mask.

    Raises:
        ValueError: the shapes differ, the mask is not boolean, or x requires a gradient.

    Source: the usual standard score. The 1e-8 is that of common PPO implementations.
    """
    _check_arrays("standardise", x=x)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if mask is None:
        size = math.prod(x.shape[d] for d in dims)
        if size < 2:
            return x
        bessel: Tensor | float = size / (size - 1)
    else:
        count = mask.sum(dims, keepdim=True)  # integers add exactly in any order
        bessel = count.to(x.dtype) / (count - 1).clamp(min=1)
    mean = masked_mean(x, mask, dim=dims, keepdim=True)
    centred = x - mean
    std = (masked_mean(centred.square(), mask, dim=dims, keepdim=True) * bessel).sqrt()
    rounding = 16.0 * torch.finfo(x.dtype).eps * mean.abs()
    scaled = centred / (torch.where(std > rounding, std, math.inf) + 1e-8)
    if keep_mean:
        scaled = scaled + mean
    if mask is None:
        return scaled
    return torch.where(count < 2, x, scaled).masked_fill(~mask, 0.0)


def _scan_episodes(delta: Tensor, decay: float, cut: Tensor, mask: Tensor | None) -> Tensor:
    """Return x_t = delta_t + decay x_{t+1}; no second term at cuts; masked slots are skipped."""
    beyond = torch.zeros_like(delta[0])
    decays = torch.full_like(delta, decay)
    if mask is None:
        return _reverse_scan(delta, decays, cut, beyond)
    ignored = ~mask
    decays.masked_fill_(ignored, 1.0)
    result = _reverse_scan(delta.masked_fill(ignored, 0.0), decays, cut & mask, beyond)
    return result.masked_fill_(ignored, 0.0)


def _reverse_scan(delta: Tensor, decay: Tensor, cut: Tensor, carry: Tensor) -> Tensor:
    """Return x_t = delta_t + decay_t x_{t+1}, computed from the end, with x_{t+1} = 0 at cuts."""
    result = delta.clone()
    rows = zip(result.unbind(), decay.unbind(), cut.unbind(), strict=True)
    for result_t, decay_t, cut_t in reversed(list(rows)):
        carry = result_t.addcmul_(decay_t, carry.masked_fill(cut_t, 0.0))
    return result


def _is_final_decision(ends: Tensor, mask: Tensor | None) -> Tensor:
    """Return where the rollout has no later decision: without a mask, its last row."""
    if mask is None:
        final = torch.zeros_like(ends)
        final[-1] = True
        return final
    decisions_from_here = mask.flip(0).cumsum(0).flip(0)
    return decisions_from_here == 1  # also set in masked slots before it, which do not matter


def _check_arrays(function: str, **arrays: Tensor) -> None:
    """Require detached floating-point tensors of one shape [T, ...] and one precision."""
    (first, reference), *_ = arrays.items()
    if reference.ndim == 0 or reference.shape[0] == 0:
        raise ValueError(
            f"{function}: expected {first} of shape [T, ...] with T of at least 1, "
            f"got {tuple(reference.shape)}"
        )
    require_same_shape(function, **arrays)
    require_floats(function, **arrays)
    require_detached(function, **arrays)


def _check_fraction(function: str, name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{function}: expected {name} in [0, 1], got {value}")
