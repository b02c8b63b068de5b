"""Exact answers about policies: values, and returns under a time limit.

An agent scores the undiscounted return of an episode that is truncated at the time limit, while
most agents maximise the discounted value without a limit. Both are computed here, and the best
possible score, which under a limit requires a policy that depends on the elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlkit.maths.compiled import in_threads
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP, check_limit
from rlkit.tabular.memory import available_bytes
from rlkit.tabular.policy_chain import (
    NoFiniteReturn,
    check_discount,
    check_model,
    discounted_value,
    policy_chain,
    policy_probabilities,
    total_reward,
)
from rlkit.tabular.return_kernels import values_under_limit

# With more expected steps, a total reward has fewer than six digits of precision in float64.
MOST_STEPS = 1e9


class LimitTooLong(ValueError):
    """A return under a time limit that would take hours to compute."""


def policy_value(mdp: TabularMDP, policy: ArrayLike, *, discount: float) -> FloatArray:
    """Return the value of a policy without a time limit: the v with v = T_pi v.

    Args:
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        discount: in [0, 1].

    Returns:
        `[num_states]`. At discount 1, NaN in the states from which the policy may earn rewards
        without end, if they are never reached from the initial ones.

    Raises:
        NoFiniteReturn: at discount 1, if such a state can be reached, or if episodes take so long
            that float64 cannot add up their rewards.
    """
    check_discount(discount)
    probabilities = policy_probabilities(mdp, policy)
    if probabilities.ndim != 2:
        raise ValueError(f"policy_value: expected one policy, got shape {np.shape(policy)}")
    if discount < 1.0:
        return discounted_value(mdp, probabilities, discount)
    values, steps = total_reward(mdp, probabilities)
    lost = np.flatnonzero((mdp.initial_distribution > 0) & np.isnan(values))
    if lost.size:
        raise NoFiniteReturn(
            f"policy_value at discount 1: from state {lost[0]}, where episodes may start, this "
            "policy may continue without end and keep earning rewards, so its return is not "
            "finite; choose a discount below 1, or use return_under_limit"
        )
    long = float(np.abs(steps[mdp.initial_distribution > 0]).max())
    if not long <= MOST_STEPS:
        raise NoFiniteReturn(
            f"policy_value at discount 1: this policy takes about {long:.1g} steps to end, more "
            "than float64 can add up; choose a discount below 1, or use return_under_limit"
        )
    return values


def total_return(mdp: TabularMDP, policy: ArrayLike) -> float | None:
    """Return the expected undiscounted return of whole episodes, or None if it is not finite.

    Args:
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.
    """
    try:
        return from_start(mdp, policy_value(mdp, policy, discount=1.0))
    except NoFiniteReturn:
        return None


def from_start(mdp: TabularMDP, values: FloatArray) -> float:
    """Average values over the initial distribution; states where no episode starts may be NaN."""
    starts = mdp.initial_distribution > 0
    return float((mdp.initial_distribution[starts] * values[starts]).sum())


def return_under_limit(
    mdp: TabularMDP, policies: ArrayLike, limit: int | None = None
) -> FloatArray:
    """Return the expected undiscounted return of an episode of at most `limit` steps.

        v_0 = 0,  v_{n+1} = r_pi + P_pi v_n,  return = sum_s initial_distribution(s) v_limit(s)

    Args:
        policies: actions `[num_states]` or `[B, num_states]`, or probabilities
            `[num_states, num_actions]` or `[B, num_states, num_actions]`.
        limit: steps; by default the MDP's own time limit.

    Returns:
        `[B]`, with B = 1 for a single policy. Each entry has the same bytes in any batch.
    """
    steps = require_limit(mdp, limit)
    probabilities = policy_probabilities(mdp, policies)
    batch = probabilities.reshape(-1, mdp.num_states, mdp.num_actions)
    values = np.empty(batch.shape[:2])

    def evaluate(i: int) -> None:
        longest = min(steps, _longest(mdp.num_entries))
        values[i] = values_under_limit(batch[i], *mdp.continuing, mdp.expected_reward, longest)
        if longest < steps:
            chain, reward = policy_chain(mdp, batch[i : i + 1])
            if not np.array_equal(reward + chain @ values[i], values[i]):
                raise _too_long(steps, longest)

    in_threads(evaluate, range(len(batch)))
    return np.asarray((values * mdp.initial_distribution).sum(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedPlan:
    """The best policy that may depend on the elapsed time."""

    expected_return: float  # from the initial distribution
    policy: IntArray  # [limit, num_states]: the action after t steps
    values: FloatArray  # [limit + 1, num_states]: best expected return from t on; last row 0


def optimal_return_under_limit(mdp: TabularMDP, limit: int | None = None) -> TimedPlan:
    """Return the plan with the largest expected return of an episode of at most `limit` steps.

        v_limit = 0,  v_t(s) = max_a E[R + v_{t+1}(S') | s, a]

    Backward induction (Puterman 1994, section 4.5). Ties go to the lowest action.

    Args:
        limit: steps; by default the MDP's own time limit.
    """
    steps = require_limit(mdp, limit)
    _require_room(mdp, steps)
    values = np.zeros((steps + 1, mdp.num_states))
    policy = np.zeros((steps, mdp.num_states), dtype=np.int64)
    for t in reversed(range(steps)):
        q = _one_step(mdp, values[t + 1])
        values[t] = q.max(axis=1)
        # 1e-12 of the largest value is above the rounding of a few thousand sums.
        slack = 1e-12 * max(1.0, float(np.abs(values[t]).max()))
        policy[t] = (q >= values[t][:, None] - slack).argmax(axis=1)
    start = float((mdp.initial_distribution * values[0]).sum())
    return TimedPlan(expected_return=start, policy=policy, values=values)


def best_return_under_limit(mdp: TabularMDP, limit: int | None = None) -> float:
    """Return the `expected_return` of `optimal_return_under_limit`, in the memory of one step."""
    values = np.zeros(mdp.num_states)
    for _ in steps_under_limit(require_limit(mdp, limit), mdp.num_entries):
        previous, values = values, _one_step(mdp, values).max(axis=1)
        if np.array_equal(values, previous):  # every further step is the identity
            break
    return float((mdp.initial_distribution * values).sum())


def steps_under_limit(limit: int, num_entries: int) -> Iterator[int]:
    """Yield the steps of a time limit, for a loop that breaks where nothing changes any more.

    Args:
        limit: their number.
        num_entries: of the model, which a step goes through.

    Raises:
        LimitTooLong: after so many steps that all of them would take hours.
    """
    longest = _longest(num_entries)
    yield from range(min(limit, longest))
    if limit > longest:
        raise _too_long(limit, longest)


def _longest(num_entries: int) -> int:
    """Return how many steps are computed at most; in large models fewer."""
    return max(100_000, min(10_000_000, 10**12 // max(1, num_entries)))


def _too_long(limit: int, longest: int) -> LimitTooLong:
    return LimitTooLong(
        f"return under a time limit of {limit:,} steps: after {longest:,} steps it still changes, "
        "and more would take too long; choose a smaller limit, or none"
    )


def _require_room(mdp: TabularMDP, limit: int) -> None:
    """Raise ValueError where a plan for each step does not fit into memory."""
    needed, available = 16 * (limit + 1) * mdp.num_states, available_bytes()
    if available is not None and needed > available:
        raise ValueError(
            f"optimal return under a limit of {limit:,} steps: a plan for each step would need "
            f"{needed / 1e9:,.2g} GB of memory, and {available / 1e9:,.2g} GB are available; "
            "best_return_under_limit needs the memory of one step"
        )


def _one_step(mdp: TabularMDP, values: FloatArray) -> FloatArray:
    """Return E[R + v(S') | s, a], `[num_states, num_actions]`."""
    future = mdp.continuing.product(values).reshape(mdp.num_states, mdp.num_actions)
    return np.asarray(mdp.expected_reward + future)


def require_limit(mdp: TabularMDP, limit: int | None) -> int:
    """Return a limit, or the MDP's own; ValueError where there is neither."""
    check_model(mdp)
    chosen = mdp.time_limit if limit is None else limit
    if chosen is None:
        raise ValueError(
            "return under a time limit: this MDP has no time limit and none was given; pass "
            "limit=, or use policy_value with discount=1 for the return without one"
        )
    return check_limit(chosen)
