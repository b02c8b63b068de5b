"""One step of a known finite MDP for the environments of one seed, compiled.

The slow twin is `table.TabularBatchEnv.step`; both give the same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import part

Array = NDArray[Any]

MOST_COUNTED = 4


class Table(NamedTuple):
    """A model as flat arrays; row = state * num_actions + action."""

    row_start: Array  # [num_rows + 1], uint32
    cumulative: Array  # [num_entries], of the probabilities of a row; 1 from the last possible on
    next_state: Array  # [num_entries]
    reward: Array  # [num_entries]
    terminated: Array  # [num_entries]
    first_state: Array  # [num_states], the cumulative initial distribution
    num_actions: np.uint32
    time_limit: int  # the largest int64 for none


class Place(NamedTuple):
    """Where the N environments of one seed stand; changed in place."""

    state: Array  # [N], int64
    elapsed: Array  # [N], steps since the reset


class Outcome(NamedTuple):
    """What a step of N environments gave; overwritten by each step."""

    reward: Array  # [N]
    terminated: Array  # [N]
    truncated: Array  # [N]
    next_obs: Array  # [N]


@part
def first_above(cumulative: Array, number: float) -> int:
    """Return the first index with a value above a number: `np.searchsorted` with side="right".

    That function would take part of NumPy's and SciPy's linear algebra with it.
    """
    low, high = 0, cumulative.shape[0]
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] <= number:
            low = middle + 1
        else:
            high = middle
    return low


@part
def step(table: Table, place: Place, actions: Array, noise: Array, outcome: Outcome) -> None:
    """Sample the successors, and the first states of new episodes.

    Args:
        noise: numbers in [0, 1), `[2, N]`: for the successors, then for the first states.
    """
    for n in range(actions.shape[0]):
        row = np.uint32(place.state[n]) * table.num_actions + np.uint32(actions[n])
        first, end = table.row_start[row], table.row_start[row + np.uint32(1)]
        k = first
        if np.uint32(1) < end - first <= MOST_COUNTED:
            # Adding up comparisons is quicker than a loop that ends at random.
            for j in range(first, end):
                k += np.uint32(table.cumulative[j] <= noise[0, n])
        else:
            while table.cumulative[k] <= noise[0, n]:
                k += np.uint32(1)
        place.elapsed[n] += 1
        outcome.reward[n] = table.reward[k]
        outcome.terminated[n] = table.terminated[k]
        outcome.truncated[n] = place.elapsed[n] >= table.time_limit
        outcome.next_obs[n] = table.next_state[k]
        place.state[n] = table.next_state[k]
        if outcome.terminated[n] or outcome.truncated[n]:
            place.elapsed[n] = 0
            place.state[n] = first_above(table.first_state, noise[1, n])
