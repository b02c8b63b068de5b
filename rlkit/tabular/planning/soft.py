"""The exact optimum of a return that is penalised by the divergence from a reference policy.

The objective of a policy is the expected sum of discount^t (R_t - kl_coef * KL_t), where KL_t is
D_KL(pi || reference) in the state at time t. Its optimum solves the soft Bellman equation

    Q(s, a) = E[R + discount * V(S') | s, a]
    V(s)    = kl_coef * log sum_a reference(a | s) exp(Q(s, a) / kl_coef)
    pi(a | s) = reference(a | s) exp((Q(s, a) - V(s)) / kl_coef)

with V(S') = 0 where the episode terminated. The right-hand side brings any two functions closer by
the factor `discount`, as that of the ordinary equation does. As kl_coef falls to 0, V becomes V* of
the actions that the reference takes at all; as it grows, the value of the reference.

Todorov, Linearly-solvable Markov decision problems (2006); Haarnoja et al., Reinforcement learning
with deep energy-based policies (2017), theorem 1, with a reference in place of the uniform policy.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlkit.tabular.linear import solve_chain
from rlkit.tabular.mdp import FloatArray, TabularMDP
from rlkit.tabular.operators import action_values
from rlkit.tabular.planning.plan import (
    check_tolerance,
    most_steps,
    out_of_sweeps,
    require_representable,
    rounding,
)
from rlkit.tabular.policy_chain import (
    check_discount,
    check_model,
    policy_chain,
    policy_probabilities,
)
from rlkit.tabular.returns import from_start, require_limit, steps_under_limit


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftPlan:
    """The optimum of the penalised return."""

    kl_coef: float
    discount: float
    values: FloatArray  # [num_states], the penalised value of the optimal policy
    policy: FloatArray  # probabilities [num_states, num_actions]
    kl: FloatArray  # [num_states], nats: D_KL(policy || reference) in each state
    error_bound: float  # no value is further than this from the optimum
    sweeps: int
    start_value: float  # of the initial distribution


def soft_value_iteration(
    mdp: TabularMDP,
    reference: Any,
    *,
    kl_coef: float,
    discount: float,
    tolerance: float = 1e-9,
    max_sweeps: int = 1_000_000,
) -> SoftPlan:
    """Return the policy with the largest return penalised by its divergence from a reference.

    The sweeps stop when every value is proven to be within tolerance / 2 of the optimum, or as
    close as float64 comes; `error_bound` has the bound that was reached.

    Args:
        mdp: the model.
        reference: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        kl_coef: the penalty of one nat, > 0, in units of reward.
        discount: in [0, 1).
        tolerance: twice the error allowed in any state's value, > 0, in units of reward.
        max_sweeps: at most so many.

    Raises:
        ValueError: a number is out of range, or the reference does not fit the model.
        NotConverged: after `max_sweeps` sweeps, or where float64 cannot hold the values.
    """
    check_model(mdp)
    check_discount(discount)
    check_tolerance(tolerance, max_sweeps)
    if discount == 1.0:
        raise ValueError(
            "soft value iteration: expected a discount below 1, got 1; soft_return_under_limit has "
            "the undiscounted optimum of episodes with a time limit"
        )
    kl_coef = _positive(kl_coef)
    probabilities = policy_probabilities(mdp, reference)
    values, steps = np.zeros(mdp.num_states), most_steps(mdp, discount)
    for sweeps in itertools.count(1):
        before = values
        values = soft_values(action_values(mdp, before, discount), probabilities, kl_coef)
        noise = rounding(mdp, values, discount)
        change = float(np.abs(values - before).max())
        error = steps * (discount * change + noise)
        if not np.isfinite(error) or error <= tolerance / 2 or discount * change <= noise:
            break
        if sweeps == max_sweeps:
            raise out_of_sweeps(max_sweeps, discount, error, tolerance)
    require_representable(mdp, discount, values, error)
    q = action_values(mdp, values, discount)
    policy = soft_policy(q, probabilities, kl_coef)
    return SoftPlan(
        kl_coef=kl_coef,
        discount=float(discount),
        values=values,
        policy=policy,
        kl=divergence(policy, probabilities),
        error_bound=error,
        sweeps=sweeps,
        start_value=from_start(mdp, values),
    )


def soft_return_under_limit(
    mdp: TabularMDP, reference: Any, *, kl_coef: float, limit: int | None = None
) -> float:
    """Return the largest penalised return of episodes of at most `limit` steps, undiscounted.

        v_0 = 0,  v_{n+1}(s) = kl_coef * log sum_a reference(a | s) exp(q_n(s, a) / kl_coef)

    The policy that reaches it may watch the clock, as that of `optimal_return_under_limit` may.

    Args:
        mdp: the model.
        reference: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        kl_coef: the penalty of one nat, > 0, in units of reward.
        limit: steps; by default the MDP's own time limit.
    """
    kl_coef, probabilities = _positive(kl_coef), policy_probabilities(mdp, reference)
    values = np.zeros(mdp.num_states)
    for _ in steps_under_limit(require_limit(mdp, limit), mdp.num_entries):
        before = values
        values = soft_values(action_values(mdp, before, 1.0), probabilities, kl_coef)
        if np.array_equal(values, before):  # every further step is the identity
            break
    return from_start(mdp, values)


def penalised_value(
    mdp: TabularMDP, policy: Any, reference: Any, *, kl_coef: float, discount: float
) -> FloatArray:
    """Return the expected sum of discount^t (R_t - kl_coef * KL_t) of a policy, `[num_states]`.

    Args:
        mdp: the model.
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        reference: likewise.
        kl_coef: the penalty of one nat, > 0, in units of reward.
        discount: in [0, 1).

    Raises:
        ValueError: the policy takes an action that the reference never takes, so the penalty is
            infinite; or a number is out of range.
    """
    if not 0.0 <= discount < 1.0:
        raise ValueError(f"penalised_value: discount must be in [0, 1), got {discount!r}")
    probabilities, penalty = _penalised(mdp, policy, reference, kl_coef)
    chain, reward = policy_chain(mdp, probabilities[None])
    return solve_chain(discount * chain, reward - penalty)


def penalised_return_under_limit(
    mdp: TabularMDP, policy: Any, reference: Any, *, kl_coef: float, limit: int | None = None
) -> float:
    """Return the penalised return of a policy in episodes of at most `limit` steps, undiscounted.

    Its distance to `soft_return_under_limit` is how far the policy is from the optimum.

    Args, raises: as `penalised_value`; `limit` is by default the MDP's own time limit.
    """
    probabilities, penalty = _penalised(mdp, policy, reference, kl_coef)
    chain, reward = policy_chain(mdp, probabilities[None])
    values = np.zeros(mdp.num_states)
    for _ in steps_under_limit(require_limit(mdp, limit), chain.nnz):
        before, values = values, reward - penalty + chain @ values
        if np.array_equal(values, before):
            break
    return from_start(mdp, values)


def _penalised(
    mdp: TabularMDP, policy: Any, reference: Any, kl_coef: float
) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities of a policy and its penalty in each state."""
    probabilities = policy_probabilities(mdp, policy)
    kl = divergence(probabilities, policy_probabilities(mdp, reference))
    if np.isinf(kl).any():
        raise ValueError(
            f"penalised return: in state {int(np.isinf(kl).argmax())} the policy takes an action "
            "that the reference never takes, so the penalty is infinite"
        )
    return probabilities, _positive(kl_coef) * kl


def soft_values(q: FloatArray, reference: FloatArray, kl_coef: float) -> FloatArray:
    """Return kl_coef * log sum_a reference(a | s) exp(q(s, a) / kl_coef), `[num_states]`.

    Args:
        q: action values `[num_states, num_actions]`.
        reference: probabilities of the same shape.
        kl_coef: > 0.
    """
    best, weights = _weights(q, reference, kl_coef)
    with np.errstate(under="ignore"):
        # Of a large coefficient the sum is nearly 1, of which the logarithm has few digits.
        shift = (reference * np.expm1(np.minimum(q - best, 0.0) / kl_coef)).sum(axis=1)
    logs = np.where(shift > -0.5, np.log1p(np.maximum(shift, -0.5)), np.log(weights.sum(axis=1)))
    return np.asarray(best[:, 0] + kl_coef * logs)


def soft_policy(q: FloatArray, reference: FloatArray, kl_coef: float) -> FloatArray:
    """Return probabilities in proportion to reference(a | s) exp(q(s, a) / kl_coef)."""
    _, weights = _weights(q, reference, kl_coef)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _weights(q: FloatArray, reference: FloatArray, kl_coef: float) -> tuple[FloatArray, FloatArray]:
    """Return the best value of the actions that the reference takes, and the weights about it."""
    best = np.where(reference > 0, q, -np.inf).max(axis=1, keepdims=True)
    with np.errstate(under="ignore"):
        return best, reference * np.exp(np.minimum(q - best, 0.0) / kl_coef)


def divergence(policy: FloatArray, reference: FloatArray) -> FloatArray:
    """Return D_KL(policy || reference) in nats, `[...]` for `[..., actions]`; may be inf."""
    taken = policy > 0
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(taken, policy, 1.0)) - np.log(np.where(taken, reference, 1.0))
    # Rounding would let a policy gain from its penalty where the coefficient is huge.
    return np.asarray(np.maximum((policy * np.where(taken, logs, 0.0)).sum(axis=-1), 0.0))


def _positive(kl_coef: float) -> float:
    if not 0 < kl_coef < np.inf:
        raise ValueError(f"kl_coef must be > 0 and finite, got {kl_coef!r}")
    return float(kl_coef)
