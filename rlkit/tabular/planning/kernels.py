"""Compiled sweeps over the states of a sparse model.

Row i = s * num_actions + a of the matrix holds P(S' = s', not terminated | s, a): `weight[k]` is
the probability of `column[k]`, for k from `start[i]` to `start[i + 1] - 1`. Indices are unsigned:
signed ones cost a test for negative values, which takes half of the time of a sweep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Array = NDArray[Any]


@kernel
def optimality_sweep(
    start: Array,
    column: Array,
    weight: Array,
    reward: Array,
    num_actions: np.uint32,
    discount: float,
    values: Array,
    result: Array,
    policy: Array,
    first: np.uint32,
    last: np.uint32,
) -> tuple[float, float]:
    """Write T v to `result` and the first best actions to `policy`.

    Args:
        reward: E[R | s, a], `[num_states * num_actions]`.
        values: v `[num_states]`.
        first: the first state, for threads that share a sweep.
        last: the one after the last.

    Returns:
        The smallest and the largest (T v)(s) - v(s).
    """
    least, most = np.inf, -np.inf
    for s in range(first, last):
        best, choice = -np.inf, np.uint32(0)
        for a in range(num_actions):
            i = s * num_actions + a
            total = 0.0
            for k in range(start[i], start[i + np.uint32(1)]):
                total += weight[k] * values[column[k]]
            total = reward[i] + discount * total
            if total > best:
                best, choice = total, np.uint32(a)
        result[s], policy[s] = best, choice
        change = best - values[s]
        least, most = min(least, change), max(most, change)
    return least, most


@kernel
def gauss_seidel_sweep(
    start: Array,
    column: Array,
    weight: Array,
    reward: Array,
    num_actions: np.uint32,
    discount: float,
    values: Array,
    policy: Array,
    backwards: bool,
) -> float:
    """Replace the value of each state by that of its best action, one state after another.

    Later states see the new values of earlier ones. The best actions are written to `policy`.

    Returns:
        The largest change of a value.
    """
    largest = 0.0
    num_states = np.uint32(values.shape[0])
    for j in range(num_states):
        s = num_states - np.uint32(1) - j if backwards else j
        best, choice = -np.inf, np.uint32(0)
        for a in range(num_actions):
            i = s * num_actions + a
            total = 0.0
            for k in range(start[i], start[i + np.uint32(1)]):
                total += weight[k] * values[column[k]]
            total = reward[i] + discount * total
            if total > best:
                best, choice = total, np.uint32(a)
        largest = max(largest, abs(best - values[s]))
        values[s], policy[s] = best, choice
    return largest


@kernel
def chain_entries(start: Array, num_actions: np.uint32, policy: Array, chain_start: Array) -> None:
    """Write to `chain_start` `[num_states + 1]` where the rows of the policy's chain begin."""
    total = np.uint32(0)
    for s in range(np.uint32(policy.shape[0])):
        chain_start[s] = total
        i = s * num_actions + policy[s]
        total += start[i + np.uint32(1)] - start[i]
    chain_start[policy.shape[0]] = total


@kernel
def fill_chain(
    start: Array,
    column: Array,
    weight: Array,
    num_actions: np.uint32,
    policy: Array,
    chain_start: Array,
    chain_column: Array,
    chain_weight: Array,
) -> None:
    """Copy the rows of the chosen actions."""
    for s in range(np.uint32(policy.shape[0])):
        i = s * num_actions + policy[s]
        k = start[i]
        for j in range(chain_start[s], chain_start[s + np.uint32(1)]):
            chain_column[j], chain_weight[j] = column[k], weight[k]
            k += np.uint32(1)
