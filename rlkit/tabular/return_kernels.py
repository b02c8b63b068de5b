"""The return of a policy under a time limit, compiled.

The slow twin is the sparse product that `policy_chain` makes: the sums here have its order, so the
bytes are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Array = NDArray[Any]


@kernel
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
    num_states, num_actions = probabilities.shape
    most = row_start[num_states * num_actions]
    starts = np.empty(num_states + 1, dtype=np.int64)
    columns, entries = np.empty(most, dtype=np.int64), np.empty(most)
    reward = np.zeros(num_states)
    # A row of the chain is gathered in `sums`; `before` links its columns, the latest first.
    sums, before = np.zeros(num_states), np.full(num_states, -1)
    # Where each state has one successor at most, as in Taxi, a sweep needs no inner loop.
    only, entry_of_only = np.zeros(num_states, dtype=np.int64), np.zeros(num_states)
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

    values, previous = np.zeros(num_states), np.empty(num_states)
    for _ in range(limit):
        values, previous = previous, values
        changed = False
        if longest <= 1:
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
    return values
