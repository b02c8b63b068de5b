"""The return of a policy under a time limit, compiled.

The slow twin is the sparse product that `policy_chain` makes: the sums here have its order, so the
bytes are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import lean_kernel

Array = NDArray[Any]


class _Work(NamedTuple):
    """What the kernel works in. A row of the chain owns the entries starts[s] to starts[s + 1] - 1.

    It is gathered in `sums`, where `before` links its columns, the latest first.
    """

    starts: Array  # [num_states + 1]
    columns: Array  # [num_stored]
    entries: Array  # [num_stored]
    reward: Array  # [num_states], 0 for now, as are the next ones
    sums: Array
    before: Array  # -1 for now
    only: Array  # the last successor of each state, and
    entry_of_only: Array  # its probability
    values: Array  # after the last step, which are the answer
    previous: Array  # after the step before


def values_under_limit(
    probabilities: Array,
    row_start: Array,
    successors: Array,
    continuation: Array,
    expected_reward: Array,
    limit: int,
) -> Array:
    """Return the expected return of at most `limit` steps from every state, `[num_states]`.

    Args:
        probabilities: of the actions, `[num_states, num_actions]`.
        row_start: with the next two the sparse matrix P(S' = s', not terminated | s, a).
        successors: its columns.
        continuation: its entries.
        expected_reward: `[num_states, num_actions]`.
    """
    num_states, num_stored = len(probabilities), len(continuation)
    reward, sums, entry_of_only, values, previous = np.zeros((5, num_states))
    work = _Work(
        starts=np.empty(num_states + 1, dtype=np.int64),
        columns=np.empty(num_stored, dtype=np.int64),
        entries=np.empty(num_stored),
        reward=reward,
        sums=sums,
        before=np.full(num_states, -1),
        only=np.zeros(num_states, dtype=np.int64),
        entry_of_only=entry_of_only,
        values=values,
        previous=previous,
    )
    _sweep(probabilities, row_start, successors, continuation, expected_reward, limit, work)
    return work.values


@lean_kernel
def _sweep(
    probabilities: Array,
    row_start: Array,
    successors: Array,
    continuation: Array,
    expected_reward: Array,
    limit: int,
    work: _Work,
) -> None:
    num_states, num_actions = probabilities.shape
    starts, columns, entries, reward, sums, before, only, entry_of_only, values, previous = work
    end, longest = 0, 0
    for s in range(num_states):
        starts[s] = end
        latest = -2
        for a in range(num_actions):
            probability = probabilities[s, a]
            if probability == 0.0:
                continue
            reward[s] += probability * expected_reward[s, a]
            row = s * num_actions + a
            for k in range(row_start[row], row_start[row + 1]):
                sums[successors[k]] += probability * continuation[k]
                if before[successors[k]] == -1:
                    before[successors[k]], latest = latest, successors[k]
        while latest != -2:
            if sums[latest] != 0.0:
                columns[end], entries[end] = latest, sums[latest]
                only[s], entry_of_only[s] = latest, sums[latest]
                end += 1
            following = before[latest]
            sums[latest], before[latest] = 0.0, -1
            latest = following
        longest = max(longest, end - starts[s])
    starts[num_states] = end

    for _ in range(limit):
        values, previous = previous, values
        changed = False
        if longest <= 1:  # as in Taxi; such a sweep needs no inner loop
            for s in range(num_states):
                values[s] = reward[s] + (0.0 + entry_of_only[s] * previous[only[s]])
                changed |= values[s] != previous[s]
        else:
            for s in range(num_states):
                total = 0.0
                for k in range(starts[s], starts[s + 1]):
                    total += entries[k] * previous[columns[k]]
                values[s] = reward[s] + total
                changed |= values[s] != previous[s]
        # At a fixed point every further step is the identity.
        if not changed:
            break
    for s in range(num_states):
        work.values[s] = values[s]
