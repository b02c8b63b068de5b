"""Planning with a known model: value iteration and policy iteration.

    optimality operator   (T v)(s)    = max_a  E[R + discount * v(S') | s, a]
    policy operator       (T_pi v)(s) = E_a~pi E[R + discount * v(S') | s, a]

with v(S') = 0 where the episode terminated. Below discount 1, T brings any two functions closer by
the factor `discount` in the largest difference over states (the sup norm). Repeating it therefore
converges to V*, and the last change bounds the remaining distance. Discount 1, where neither holds,
is in `undiscounted`.

Puterman, Markov Decision Processes (1994), sections 6.3 and 6.4.
"""

from __future__ import annotations

import time

import numpy as np

from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.planning import undiscounted
from rlkit.tabular.planning.certificate import Certifier
from rlkit.tabular.planning.plan import (
    NotConverged,
    Plan,
    Report,
    check_tolerance,
    first_values,
    improve_until_greedy,
    most_steps,
)
from rlkit.tabular.planning.sweeps import Sweeps, threads
from rlkit.tabular.policy_chain import (
    check_discount,
    check_model,
    discounted_value,
    policy_probabilities,
)

__all__ = ["NotConverged", "Plan", "policy_iteration", "value_iteration"]


def value_iteration(
    mdp: TabularMDP,
    *,
    discount: float,
    tolerance: float = 1e-9,
    max_sweeps: int = 1_000_000,
    initial_values: FloatArray | None = None,
    report: Report | None = None,
) -> Plan:
    """Repeat v <- T v until v is proven to be close to V*.

    Guarantee below discount 1: after a sweep that changed no state by more than c,
    |v - V*| <= (discount * c + rounding) / (1 - discount) in every state, where `rounding` bounds
    the float64 error of one sweep; `certificate` has the two-sided form. The sweeps stop when this
    is at most tolerance / 2. Where rounding alone exceeds that, they stop when `discount * c` no
    longer exceeds rounding and no longer falls. The bound that was reached is `error_bound`.
    Actions within 2 * error_bound of the best count as tied (true ties differ by no more), but
    never those further apart than 1e-9 and rounding; the policy loses at most
    2 * error_bound + (tie tolerance) / (1 - discount).

    At discount 1 the last change proves nothing: see `undiscounted.value_iteration`.

    Args:
        discount: in [0, 1].
        tolerance: twice the error allowed in any state's value, > 0, in units of reward.
        max_sweeps: >= 1. With fewer than needed, the plan is not `converged`, but its bounds hold.
        initial_values: `[num_states]` to start from, by default 0; not used at discount 1.
        report: called after each sweep.

    Raises:
        NotConverged: at discount 1, after `max_sweeps` sweeps.
        NoFiniteReturn: at discount 1, where no policy has a finite optimal return.
    """
    check_model(mdp)
    check_discount(discount)
    check_tolerance(tolerance, max_sweeps)
    if discount == 1.0:
        return undiscounted.value_iteration(
            mdp, tolerance=tolerance, max_sweeps=max_sweeps, report=report
        )

    began = time.perf_counter()
    certifier = Certifier(mdp, discount, tolerance)
    values = first_values(mdp, initial_values)
    result = np.empty_like(values)
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, discount, pool)
        while True:
            certificate = certifier.sweep(sweeps, values, result, report)
            values, result = result, values
            if certifier.ends(certificate) or sweeps.count == max_sweeps:
                return certifier.plan(values, certificate, sweeps.count, began)


def policy_iteration(
    mdp: TabularMDP, *, discount: float, max_sweeps: int = 1000, report: Report | None = None
) -> Plan:
    """Evaluate a policy exactly and make it greedy, until no action beats the chosen one.

    Guarantee: `values` is the exact value of a policy (a sparse linear solve), and no single change
    of action improves it by more than the residual |T v - v|, which bounds the error by
    residual / (1 - discount). For discount 1 see `undiscounted.policy_iteration`.

    Args:
        discount: in [0, 1].
        max_sweeps: most policies to evaluate.
        report: called after each evaluation.

    Raises:
        NoFiniteReturn: at discount 1, if from some initial state no policy is sure to end or to
            stop earning rewards, or if the return has no upper bound.
        NotConverged: after `max_sweeps` evaluations, or where float64 cannot resolve the answer.
    """
    check_model(mdp)
    check_discount(discount)
    if max_sweeps < 1:
        raise ValueError(f"policy iteration: max_sweeps must be >= 1, got {max_sweeps!r}")
    if discount == 1.0:
        return undiscounted.policy_iteration(mdp, max_sweeps=max_sweeps, report=report)

    steps = most_steps(mdp, discount)

    def evaluate(policy: IntArray) -> tuple[FloatArray, float]:
        probabilities = policy_probabilities(mdp, policy)
        return discounted_value(mdp, probabilities, discount), steps

    myopic = mdp.expected_reward.argmax(axis=1)
    plan, _ = improve_until_greedy(
        mdp, myopic, evaluate, discount=discount, max_sweeps=max_sweeps, report=report
    )
    return plan


def gauss_seidel(
    mdp: TabularMDP,
    *,
    discount: float,
    tolerance: float = 1e-9,
    max_sweeps: int = 1_000_000,
    report: Report | None = None,
) -> Plan:
    """Sweep through the states there and back, each using the new values of those before it.

    The guarantee is that of `value_iteration`, from a sweep of the operator after every ten.

    Args:
        discount: in [0, 1).
        tolerance: twice the error allowed in any state's value, > 0, in units of reward.
        max_sweeps: >= 1. With fewer than needed, the plan is not `converged`, but its bounds hold.
        report: called after each sweep of the operator.
    """
    check_model(mdp)
    check_discount(discount)
    if discount == 1.0:
        raise ValueError(
            "Gauss-Seidel sweeps: the discount must be below 1; at 1 use value_iteration or "
            "policy_iteration"
        )
    check_tolerance(tolerance, max_sweeps)
    began = time.perf_counter()
    certifier = Certifier(mdp, discount, tolerance)
    values = np.zeros(mdp.num_states)
    result = np.empty_like(values)
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, discount, pool)
        while True:
            sweeps.there_and_back(values, min(10, max_sweeps - 1 - sweeps.count))
            certificate = certifier.sweep(sweeps, values, result, report)
            values, result = result, values
            if certifier.ends(certificate) or sweeps.count >= max_sweeps:
                return certifier.plan(values, certificate, sweeps.count, began)
