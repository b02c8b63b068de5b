"""Planning at discount 1: value iteration and policy iteration for the expected total reward.

At discount 1 the optimality operator brings nothing closer. The optimum is then the best expected
total reward over the policies that have one: those that are sure to end the episode or to stop
earning rewards (see `policy_chain`). Policy iteration started from such a policy finds it, and any
step that would leave this class proves that the return has no upper bound.

Bertsekas and Tsitsiklis, An Analysis of Stochastic Shortest Path Problems (1991).
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from rlkit.tabular import graph
from rlkit.tabular.endings import terminating_policy
from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import bellman_optimality, greedy
from rlkit.tabular.planning.plan import (
    NotConverged,
    Plan,
    Report,
    improve_until_greedy,
    out_of_sweeps,
)
from rlkit.tabular.policy_chain import NoFiniteReturn, policy_probabilities, total_reward
from rlkit.tabular.returns import from_start

_LARGE = 1000  # states, from which on policy iteration starts from a policy improved by sweeps


def value_iteration(
    mdp: TabularMDP, *, tolerance: float, max_sweeps: int, report: Report | None = None
) -> Plan:
    """Repeat v <- T v towards the exact optimum, which `policy_iteration` finds first.

    The sweeps start from the value of a policy with a finite return, which makes them rise towards
    the optimum, and stop within tolerance / 2 of it. The policy is that of `policy_iteration`.

    Raises:
        NotConverged: after `max_sweeps` sweeps.
        NoFiniteReturn: as for `policy_iteration`.
    """
    began = time.perf_counter()
    optimum = policy_iteration(mdp)
    policy, finite = _finite_policy(mdp)
    values, _ = _evaluate(mdp, policy, finite)
    error = np.inf
    for sweep in range(1, max_sweeps + 1):
        values = bellman_optimality(mdp, values, 1.0)
        distance = float(np.abs(values[finite] - optimum.values[finite]).max())
        error = distance + optimum.error_bound
        if report is not None:
            report(sweep, error, error)
        if error <= tolerance / 2 or distance <= optimum.error_bound:
            seconds = time.perf_counter() - began
            return dataclasses.replace(
                optimum, values=values, sweeps=sweep, below=error, above=error, seconds=seconds
            )
    raise out_of_sweeps(max_sweeps, 1.0, error, tolerance)


def policy_iteration(
    mdp: TabularMDP, *, max_sweeps: int = 1000, report: Report | None = None
) -> Plan:
    """Evaluate a policy exactly and make it greedy, starting from one with a finite return.

    The residual |T v - v| times the expected number of steps of an optimal policy bounds the error;
    the number of steps of the resulting policy stands in for it.

    Raises:
        NoFiniteReturn: if from some initial state no policy is sure to end or to stop earning
            rewards, or if the return has no upper bound.
        NotConverged: after `max_sweeps` evaluations, or where float64 cannot resolve the answer.
    """
    policy, finite = _finite_policy(mdp)
    if mdp.num_states >= _LARGE:
        policy = _improved_by_sweeps(mdp, policy, finite)
    plan, evaluated = improve_until_greedy(
        mdp,
        policy,
        lambda candidate: _evaluate(mdp, candidate, finite),
        discount=1.0,
        max_sweeps=max_sweeps,
        finite=finite,
        report=report,
    )
    # Where ties offer no way to an end, the policy that was evaluated has one.
    total, _ = total_reward(mdp, policy_probabilities(mdp, plan.policy))
    if not np.allclose(total[finite], plan.values[finite], rtol=1e-6, atol=1e-6):
        plan = dataclasses.replace(plan, policy=evaluated)
    return plan


def best_total_return(mdp: TabularMDP) -> float | None:
    """Return the best expected undiscounted return of whole episodes, or None where none is known.

    There is none where no policy has a finite return or returns have no upper bound, and none is
    known where float64 cannot resolve it.
    """
    try:
        return from_start(mdp, policy_iteration(mdp).values)
    except (NoFiniteReturn, NotConverged):
        return None


def _evaluate(mdp: TabularMDP, policy: IntArray, finite: BoolArray) -> tuple[FloatArray, float]:
    """Return the exact value of a policy, and the most steps over which an error can add up."""
    values, steps = total_reward(mdp, policy_probabilities(mdp, policy))
    # Every improvement so far was strict: a policy that now never ends gains as it continues.
    endless = np.flatnonzero(np.isnan(values) & finite)
    if endless.size:
        raise NoFiniteReturn(
            f"planning at discount 1: from state {endless[0]} the total reward has no upper bound, "
            "since the agent can continue without end and gain a positive average reward per step; "
            "choose a discount below 1 or set a time limit"
        )
    return np.where(finite, values, -np.inf), max(1.0, float(steps[finite].max(initial=1.0)))


def _finite_policy(mdp: TabularMDP) -> tuple[IntArray, BoolArray]:
    """Return a policy with a finite return, and the states `[num_states]` where one exists."""
    policy, finite = terminating_policy(mdp)
    lost = np.flatnonzero((mdp.initial_distribution > 0) & ~finite)
    if lost.size:
        raise NoFiniteReturn(
            f"planning at discount 1: from state {lost[0]}, where episodes may start, no policy "
            "is sure to end the episode or to stop earning rewards, so no return is finite; choose "
            "a discount below 1 or set a time limit"
        )
    _require_no_endless_gain(mdp, finite)
    return policy, finite


def _require_no_endless_gain(mdp: TabularMDP, finite: BoolArray) -> None:
    """Reject a model in which the agent can enter states without a finite return that may pay.

    Whether rewards there add up to plus or minus infinity is not examined.
    """
    if finite.all():
        return
    stays = graph.remaining_actions(mdp.continuation, ~finite[:, None] & ~mdp.may_end)
    pays = np.asarray((stays & (mdp.expected_reward > 0)).any(axis=1))
    anything = np.ones((mdp.num_states, mdp.num_actions), dtype=np.bool_)
    policy = np.zeros(mdp.num_states, dtype=np.int64)
    leads = graph.extend_backwards(mdp.continuation, policy, pays, allowed=anything, ends=~anything)
    if (leads & (mdp.initial_distribution > 0)).any():
        raise NoFiniteReturn(
            f"planning at discount 1: the agent can reach state {np.flatnonzero(pays)[0]}, from "
            "where no policy is sure to end and rewards may be earned without end, so the return "
            "may have no upper bound; choose a discount below 1 or set a time limit"
        )


def _improved_by_sweeps(mdp: TabularMDP, policy: IntArray, finite: BoolArray) -> IntArray:
    """Return a better policy with a finite total reward; sweeps cost less than evaluations."""
    values, _ = _evaluate(mdp, policy, finite)
    for _ in range(1000):
        previous, values = values, bellman_optimality(mdp, values, 1.0)
        if np.allclose(values[finite], previous[finite], rtol=1e-12, atol=1e-12):
            break
    better = greedy(mdp, values, 1.0)
    try:
        total, _ = total_reward(mdp, policy_probabilities(mdp, better))
    except NoFiniteReturn:
        return policy
    return policy if np.isnan(total[finite]).any() else better
