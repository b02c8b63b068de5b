"""Undiscounted returns under a time limit for large models, in compiled sweeps.

The same numbers, up to rounding, as `return_under_limit` and `best_return_under_limit`, in the
memory of a few values per state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel
from rlkit.tabular.mdp import IntArray, TabularMDP, check_limit
from rlkit.tabular.planning.sweeps import Sweeps, in_parts, threads
from rlkit.tabular.returns import steps_under_limit

Array = NDArray[Any]


def best_return(mdp: TabularMDP, limit: int) -> float:
    """Return the largest expected return of an episode of at most `limit` steps."""
    values = np.zeros(mdp.num_states)
    result = np.empty_like(values)
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, 1.0, pool)
        for _ in steps_under_limit(check_limit(limit), mdp.num_entries):
            least, most = sweeps.optimality(values, result)
            values, result = result, values
            if least == most == 0.0:  # every further step is the identity
                break
    return float((mdp.initial_distribution * values).sum())


def policy_return(mdp: TabularMDP, policy: IntArray, limit: int) -> float:
    """Return the expected return of an episode of at most `limit` steps under a policy."""
    values = np.zeros(mdp.num_states)
    result = np.empty_like(values)
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, 1.0, pool)
        sweeps.policy[:] = policy
        chain = sweeps.chain()
        arguments = chain.start, chain.column, chain.weight, chain.reward
        for _ in steps_under_limit(check_limit(limit), mdp.num_entries):
            changes = in_parts(pool, values.size, _policy_sweep, *arguments, values, result)
            values, result = result, values
            if max(changes) == 0.0:
                break
    return float((mdp.initial_distribution * values).sum())


@kernel
def _policy_sweep(
    start: Array,
    column: Array,
    weight: Array,
    reward: Array,
    values: Array,
    result: Array,
    first: np.uint32,
    last: np.uint32,
) -> float:
    """Write r + P v to `result`, and return the largest |r + P v - v|."""
    largest = 0.0
    for s in range(first, last):
        total = 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            total += weight[k] * values[column[k]]
        result[s] = reward[s] + total
        largest = max(largest, abs(result[s] - values[s]))
    return largest
