"""Planning with a known model: the Bellman operators, value iteration and policy iteration.

    optimality operator   (T v)(s)    = max_a  E[R + discount * v(S') | s, a]
    policy operator       (T_pi v)(s) = E_a~pi E[R + discount * v(S') | s, a]

with v(S') = 0 where the episode terminated. Below discount 1, T brings any two functions closer by
the factor `discount` in the largest difference over states (the sup norm), so repeating it leads to
V*, and the distance left can be bounded from the last change.

At discount 1 it brings nothing closer. The optimum is then the best expected total reward over the
policies that have one: those sure to end, or to fall silent (see `chain`). Policy iteration
started from such a policy finds it, and any step that would leave this class proves that the
return has no upper bound.

Puterman, Markov Decision Processes (1994), sections 6.3 and 6.4; Bertsekas and Tsitsiklis,
An Analysis of Stochastic Shortest Path Problems (1991), for discount 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlkit.tabular.endings import head_for_the_end
from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import EPSILON, action_values, bellman_optimality, greedy
from rlkit.tabular.policy_chain import (
    NoFiniteReturn,
    check_discount,
    discounted_value,
    policy_probabilities,
    total_reward,
)
from rlkit.tabular.returns import from_start

_LARGE = 1000  # states, from which on policy iteration at discount 1 gets a head start


class NotConverged(RuntimeError):
    """An iteration ran out of sweeps, or float64 cannot hold the answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a planner found."""

    values: (
        FloatArray  # [num_states], V* to within error_bound; -inf: no policy has a finite return
    )
    policy: IntArray  # [num_states], greedy with respect to values
    sweeps: int  # applications of the optimality operator, or evaluations of policy iteration
    error_bound: float  # largest possible |values - V*| over states, rounding included


def value_iteration(
    mdp: TabularMDP,
    *,
    discount: float,
    tolerance: float = 1e-9,
    max_sweeps: int = 1_000_000,
    initial_values: FloatArray | None = None,
) -> Plan:
    """Repeat v <- T v until v is proven to be close to V*.

    Guarantee below discount 1: after a sweep that changed no state by more than c,
    |v - V*| <= (discount * c + rounding) / (1 - discount) in every state, where `rounding` bounds
    the float64 error of one sweep. The sweeps stop when this is at most tolerance / 2. Where
    rounding alone is more than that, they stop when `discount * c` no longer exceeds it. The
    number reached is `error_bound`. Actions within 2 * error_bound of the best count as tied (true
    ties come out no further apart), but never those further apart than 1e-9 and rounding; the
    policy loses at most 2 * error_bound + (tie tolerance) / (1 - discount).

    At discount 1 the last change proves nothing. There the exact optimum is found first by
    `policy_iteration`, or the reason why there is none; the sweeps start from the value of a
    policy with a finite return, which makes them rise towards it, and stop within tolerance / 2
    of it; the policy is that of `policy_iteration`.

    Args:
        discount: in [0, 1].
        tolerance: twice the error allowed in any state's value, > 0, in units of reward.
        max_sweeps: >= 1.
        initial_values: `[num_states]` to start from, by default 0; not used at discount 1.

    Raises:
        NotConverged: after `max_sweeps` sweeps.
        NoFiniteReturn: at discount 1, where no policy has a finite optimal return.
    """
    check_discount(discount)
    if not tolerance > 0:
        raise ValueError(f"value iteration: tolerance must be > 0, got {tolerance!r}")
    if max_sweeps < 1:
        raise ValueError(f"value iteration: max_sweeps must be >= 1, got {max_sweeps!r}")
    if discount == 1.0:
        return _undiscounted_value_iteration(mdp, tolerance, max_sweeps)

    values = np.zeros(mdp.num_states) if initial_values is None else initial_values
    error = np.inf
    for sweep in range(1, max_sweeps + 1):
        previous, values = values, bellman_optimality(mdp, values, discount)
        change = discount * float(np.abs(values - previous).max())
        rounding = _rounding(mdp, values, discount)
        error = (change + rounding) / (1 - discount)
        if error <= tolerance / 2 or change <= rounding:
            ties = min(2 * error, 1e-9 + 2 * rounding / (1 - discount))
            policy = greedy(mdp, values, discount, tie_tolerance=ties)
            return Plan(values=values, policy=policy, sweeps=sweep, error_bound=error)
    raise _too_slow(max_sweeps, discount, error, tolerance)


def _undiscounted_value_iteration(mdp: TabularMDP, tolerance: float, max_sweeps: int) -> Plan:
    optimum = policy_iteration(mdp, discount=1.0)
    policy, finite = _finite_policy(mdp)
    values, _ = _evaluate(mdp, policy, 1.0, finite)
    error = np.inf
    for sweep in range(1, max_sweeps + 1):
        values = bellman_optimality(mdp, values, 1.0)
        distance = float(np.abs(values[finite] - optimum.values[finite]).max())
        error = distance + optimum.error_bound
        if error <= tolerance / 2 or distance <= optimum.error_bound:
            return Plan(values=values, policy=optimum.policy, sweeps=sweep, error_bound=error)
    raise _too_slow(max_sweeps, 1.0, error, tolerance)


def policy_iteration(mdp: TabularMDP, *, discount: float, max_sweeps: int = 1000) -> Plan:
    """Evaluate the policy exactly, make it greedy, until no action is better than the chosen one.

    An action replaces the chosen one only if it is better by more than the rounding of the
    evaluation. Guarantee: `values` is the exact value of a policy (a sparse linear solve), and no
    single change of action improves it by more than the residual |T v - v|. Below discount 1 this
    bounds the error by residual / (1 - discount); at discount 1 by the residual times the expected
    number of steps of an optimal policy, for which that of the policy found is taken.

    Args:
        discount: in [0, 1].
        max_sweeps: most policies to evaluate.

    Raises:
        NoFiniteReturn: at discount 1, if from some initial state no policy is sure to end or fall
            silent, or if the return can be made as large as one likes.
        NotConverged: after `max_sweeps` evaluations, or where float64 cannot resolve the answer.
    """
    check_discount(discount)
    if max_sweeps < 1:
        raise ValueError(f"policy iteration: max_sweeps must be >= 1, got {max_sweeps!r}")
    sweeps = 0
    policy, finite = mdp.expected_reward.argmax(axis=1), np.ones(mdp.num_states, dtype=np.bool_)
    if discount == 1.0:
        policy, finite = _finite_policy(mdp)
        if mdp.num_states >= _LARGE:
            policy = _head_start(mdp, policy, finite)
    for sweep in range(1, max_sweeps + 1):
        values, horizon = _evaluate(mdp, policy, discount, finite)
        noise = 16 * horizon * _rounding(mdp, values, discount)
        q = action_values(mdp, values, discount)
        chosen = np.take_along_axis(q, policy[:, None], axis=1)[:, 0]
        best = q.max(axis=1)
        improve = best > chosen + noise
        sweeps = sweep
        if not improve.any():
            break
        policy = np.where(improve, q.argmax(axis=1), policy)
    else:
        raise NotConverged(
            f"policy iteration at discount {discount}: still improving after {max_sweeps} "
            "policies; raise max_sweeps"
        )
    residual = float(np.abs(best[finite] - values[finite]).max())
    error = horizon * (residual + _rounding(mdp, values, discount))
    if error > 1e-4 * max(1.0, float(np.abs(values[finite]).max())):
        raise NotConverged(
            f"policy iteration at discount {discount}: episodes take about {horizon:.3g} steps, "
            f"which leaves an uncertainty of {error:.3g} in float64; lower the discount"
        )
    final = greedy(mdp, values, discount, tie_tolerance=2 * noise)
    if discount == 1.0:
        # Where ties offer no way to an end, the policy that was evaluated has one.
        check, _ = total_reward(mdp, policy_probabilities(mdp, final))
        if not np.allclose(check[finite], values[finite], rtol=1e-6, atol=1e-6):
            final = policy
    return Plan(values=values, policy=final, sweeps=sweeps, error_bound=error)


def best_total_return(mdp: TabularMDP) -> float | None:
    """The best expected undiscounted return of whole episodes; None where none is known.

    No policy has a finite one, or there is no largest, or float64 cannot resolve it.
    """
    try:
        return from_start(mdp, policy_iteration(mdp, discount=1.0).values)
    except (NoFiniteReturn, NotConverged):
        return None


def _evaluate(
    mdp: TabularMDP, policy: IntArray, discount: float, finite: BoolArray
) -> tuple[FloatArray, float]:
    """The exact value of a policy, and the most steps over which an error can add up."""
    probabilities = policy_probabilities(mdp, policy)
    if discount < 1.0:
        return discounted_value(mdp, probabilities, discount), 1 / (1 - discount)
    values, steps = total_reward(mdp, probabilities)
    # Every improvement so far was strict: a policy that now goes on for ever gains as it goes.
    endless = np.flatnonzero(np.isnan(values) & finite)
    if endless.size:
        raise NoFiniteReturn(
            f"planning at discount 1: from state {endless[0]} the total reward has no upper bound, "
            "since the agent can go on for ever and gain a positive reward a step on average; "
            "choose a discount below 1 or set a time limit"
        )
    return np.where(finite, values, -np.inf), max(1.0, float(steps[finite].max(initial=1.0)))


def _finite_policy(mdp: TabularMDP) -> tuple[IntArray, BoolArray]:
    """A policy with a finite total reward, and the states `[num_states]` where one exists."""
    policy, finite = head_for_the_end(mdp)
    lost = np.flatnonzero((mdp.initial_distribution > 0) & ~finite)
    if lost.size:
        raise NoFiniteReturn(
            f"planning at discount 1: from state {lost[0]}, where episodes may start, no policy is "
            "sure to end the episode or to stop earning rewards, so no return is finite; choose a "
            "discount below 1 or set a time limit"
        )
    return policy, finite


def _head_start(mdp: TabularMDP, policy: IntArray, finite: BoolArray) -> IntArray:
    """A better policy with a finite total reward, by sweeps, which cost less than evaluations."""
    values, _ = _evaluate(mdp, policy, 1.0, finite)
    for _ in range(1000):
        previous, values = values, bellman_optimality(mdp, values, 1.0)
        if np.allclose(values[finite], previous[finite], rtol=1e-12, atol=1e-12):
            break
    better = greedy(mdp, values, 1.0)
    try:
        check, _ = total_reward(mdp, policy_probabilities(mdp, better))
    except NoFiniteReturn:
        return policy
    return policy if np.isnan(check[finite]).any() else better


def _rounding(mdp: TabularMDP, values: FloatArray, discount: float) -> float:
    """A bound on the float64 error of one application of an operator: K + 2 roundings a side."""
    finite = values[np.isfinite(values)]
    size = np.abs(mdp.reward).max() + discount * np.abs(finite).max(initial=0.0)
    return float((mdp.probability.shape[2] + 2) * EPSILON * size)


def _too_slow(sweeps: int, discount: float, error: float, tolerance: float) -> NotConverged:
    return NotConverged(
        f"value iteration at discount {discount}: after {sweeps} sweeps the values are only known "
        f"within {error:.3g}, expected {tolerance / 2:.3g}; raise max_sweeps or tolerance, or use "
        "policy_iteration, which does not slow down as the discount nears 1"
    )
