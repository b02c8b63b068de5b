"""Which states can lead to which, ignoring probabilities: compiled searches against the arrows.

Row i = s * num_actions + a lists in `column[start[i]]` to `column[start[i + 1] - 1]` the states to
which action a can lead from state s; a chain is the case of one action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel, unsigned

Array = NDArray[Any]


def extend_backwards(
    matrix: scipy.sparse.csr_array, policy: Array, arrived: Array, *, allowed: Array, ends: Array
) -> Array:
    """Extend `arrived` backwards through allowed actions, and write those into `policy`.

    A state is added, one layer per round, when one of its allowed actions may end the episode or
    lead to a state that has arrived. `policy` gets the lowest such action and is changed in place.

    Args:
        matrix: `[num_states * num_actions, num_states]`; its entries are the arrows.
        policy: actions `[num_states]`, kept where a state has arrived already or never does.
        arrived: `[num_states]`.
        allowed: `[num_states, num_actions]`.
        ends: whether an action may end the episode, `[num_states, num_actions]`.

    Returns:
        The states that arrive, `[num_states]`.
    """
    result = np.array(arrived, dtype=np.bool_)
    arrows = unsigned(matrix.indptr), unsigned(matrix.indices)
    goes = np.ascontiguousarray(allowed)
    queue = np.empty(result.size, dtype=np.uint32)
    size = _first_layer(*arrows, goes, np.ascontiguousarray(ends), result, policy, queue)
    if 0 < size < result.size:
        num_actions = np.uint32(goes.shape[1])
        before = _predecessors(*arrows, num_actions, np.uint32(result.size))
        _later_layers(*arrows, *before, goes, result, policy, queue, size)
    return result


def remaining_actions(matrix: scipy.sparse.csr_array, allowed: Array) -> Array:
    """Return the allowed actions that can lead only to states which keep such an action.

    An action that can lead to a state without one is removed, until none is.

    Args:
        matrix: `[num_states * num_actions, num_states]`; its entries are the arrows.
        allowed: `[num_states, num_actions]`.
    """
    result = np.array(allowed, dtype=np.bool_, order="C")
    num_states, num_actions = result.shape
    arrows = unsigned(matrix.indptr), unsigned(matrix.indices)
    before = _predecessors(*arrows, np.uint32(num_actions), np.uint32(num_states))
    _remove_actions(*before, result)
    return result


def backward_closure(chain: scipy.sparse.csr_array, states: Array) -> Array:
    """Return the states from which the chain can reach one of `states`, which are included."""
    everywhere = np.ones((states.size, 1), dtype=np.bool_)
    policy = np.zeros(states.size, dtype=np.int64)
    return extend_backwards(chain, policy, states, allowed=everywhere, ends=~everywhere)


@kernel
def _first_layer(
    start: Array, column: Array, allowed: Array, ends: Array, arrived: Array, policy: Array,
    queue: Array,
) -> int:  # fmt: skip
    """Add the states that lead to arrived ones or to an end; return their number in `queue`."""
    size = 0
    num_states, num_actions = allowed.shape
    for s in range(num_states):
        if arrived[s]:
            continue
        for a in range(num_actions):
            if not allowed[s, a]:
                continue
            leads = ends[s, a]
            i = s * num_actions + a
            for k in range(start[i], start[i + 1]):
                leads = leads or arrived[column[k]]
            if leads:
                policy[s] = a
                queue[size] = s
                size += 1
                break
    for j in range(size):
        arrived[queue[j]] = True
    return size


@kernel
def _predecessors(
    start: Array, column: Array, num_actions: np.uint32, num_states: np.uint32
) -> tuple[Array, Array]:
    """Return for each state where the rows that lead to it begin, and these rows."""
    first = np.zeros(num_states + np.uint32(1), dtype=np.uint32)
    for k in range(column.shape[0]):
        first[column[k] + np.uint32(1)] += np.uint32(1)
    for s in range(num_states):
        first[s + np.uint32(1)] += first[s]
    free = first.copy()
    before = np.empty(column.shape[0], dtype=np.uint32)
    for i in range(num_states * num_actions):
        for k in range(start[i], start[i + np.uint32(1)]):
            before[free[column[k]]] = i
            free[column[k]] += np.uint32(1)
    return first, before


@kernel
def _remove_actions(first: Array, before: Array, allowed: Array) -> None:
    """Remove the actions that lead to states without any, in place."""
    num_states, num_actions = allowed.shape
    number = np.zeros(num_states, dtype=np.int64)
    queue = np.empty(num_states, dtype=np.uint32)
    size = 0
    for s in range(num_states):
        for a in range(num_actions):
            number[s] += allowed[s, a]
        if number[s] == 0:
            queue[size] = s
            size += 1
    done = 0
    while done < size:
        for p in range(first[queue[done]], first[queue[done] + np.uint32(1)]):
            s, a = divmod(np.int64(before[p]), num_actions)
            if allowed[s, a]:
                allowed[s, a] = False
                number[s] -= 1
                if number[s] == 0:
                    queue[size] = s
                    size += 1
        done += 1


@kernel
def _later_layers(
    start: Array, column: Array, first: Array, before: Array, allowed: Array, arrived: Array,
    policy: Array, queue: Array, size: int,
) -> None:  # fmt: skip
    """Add layer after layer of the states that lead to the layer before."""
    num_actions = allowed.shape[1]
    waiting = np.zeros(arrived.shape[0], dtype=np.bool_)
    begin = 0
    while begin < size:
        end = size
        for j in range(begin, end):
            for p in range(first[queue[j]], first[queue[j] + np.uint32(1)]):
                s = np.int64(before[p]) // num_actions
                if arrived[s] or waiting[s]:
                    continue
                for a in range(num_actions):
                    if not allowed[s, a]:
                        continue
                    leads = False
                    i = s * num_actions + a
                    for k in range(start[i], start[i + 1]):
                        leads = leads or arrived[column[k]]
                    if leads:
                        policy[s] = a
                        queue[size] = s
                        size += 1
                        waiting[s] = True
                        break
        for j in range(end, size):  # only now, so that a layer does not see itself
            arrived[queue[j]] = True
        begin = end
