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

import numpy as np

from rlkit.tabular import undiscounted
from rlkit.tabular.iteration import (
    NotConverged,
    Plan,
    improve_until_greedy,
    out_of_sweeps,
    rounding,
)
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import bellman_optimality, greedy
from rlkit.tabular.policy_chain import check_discount, discounted_value, policy_probabilities

__all__ = ["NotConverged", "Plan", "policy_iteration", "value_iteration"]


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
    rounding alone exceeds that, they stop when `discount * c` no longer exceeds rounding. The bound
    that was reached is `error_bound`. Actions within 2 * error_bound of the best count as tied
    (true ties differ by no more), but never those further apart than 1e-9 and rounding; the policy
    loses at most 2 * error_bound + (tie tolerance) / (1 - discount).

    At discount 1 the last change proves nothing: see `undiscounted.value_iteration`.

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
        return undiscounted.value_iteration(mdp, tolerance=tolerance, max_sweeps=max_sweeps)

    values = np.zeros(mdp.num_states) if initial_values is None else initial_values
    error = np.inf
    for sweep in range(1, max_sweeps + 1):
        previous, values = values, bellman_optimality(mdp, values, discount)
        change = discount * float(np.abs(values - previous).max())
        noise = rounding(mdp, values, discount)
        error = (change + noise) / (1 - discount)
        if error <= tolerance / 2 or change <= noise:
            ties = min(2 * error, 1e-9 + 2 * noise / (1 - discount))
            policy = greedy(mdp, values, discount, tie_tolerance=ties)
            return Plan(values=values, policy=policy, sweeps=sweep, error_bound=error)
    raise out_of_sweeps(max_sweeps, discount, error, tolerance)


def policy_iteration(mdp: TabularMDP, *, discount: float, max_sweeps: int = 1000) -> Plan:
    """Evaluate a policy exactly and make it greedy, until no action beats the chosen one.

    Guarantee: `values` is the exact value of a policy (a sparse linear solve), and no single change
    of action improves it by more than the residual |T v - v|, which bounds the error by
    residual / (1 - discount). For discount 1 see `undiscounted.policy_iteration`.

    Args:
        discount: in [0, 1].
        max_sweeps: most policies to evaluate.

    Raises:
        NoFiniteReturn: at discount 1, if from some initial state no policy is sure to end or to
            stop earning rewards, or if the return has no upper bound.
        NotConverged: after `max_sweeps` evaluations, or where float64 cannot resolve the answer.
    """
    check_discount(discount)
    if max_sweeps < 1:
        raise ValueError(f"policy iteration: max_sweeps must be >= 1, got {max_sweeps!r}")
    if discount == 1.0:
        return undiscounted.policy_iteration(mdp, max_sweeps=max_sweeps)

    def evaluate(policy: IntArray) -> tuple[FloatArray, float]:
        probabilities = policy_probabilities(mdp, policy)
        return discounted_value(mdp, probabilities, discount), 1 / (1 - discount)

    myopic = mdp.expected_reward.argmax(axis=1)
    plan, _ = improve_until_greedy(mdp, myopic, evaluate, discount=discount, max_sweeps=max_sweeps)
    return plan
