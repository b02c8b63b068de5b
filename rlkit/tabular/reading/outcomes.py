"""The possible outcomes of a model, and which of them each step of a probe had.

Only the visited pairs of state and action are listed. A *row* is one such pair, and the last row is
the start of an episode; its *cells* are the distinct outcomes with a positive probability, in the
table's order. Equal entries of the table are one cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray, TabularMDP
from rlkit.tabular.reading.probe import Record

IMPOSSIBLE = -1
_CHUNK = 10**7  # entries compared at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """R rows with C cells in all, and E events: T steps, followed by the resets.

    Args:
        first: where the cells of each row begin, then C, `[R + 1]`.
        probability: of each cell `[C]`, > 0.
        pair: state * num_actions + action of each row but the last, `[R - 1]`.
        entry: `[C]`, the k of a cell in the arrays of the model; for a start, its state.
        cell: of each event `[E]`, or IMPOSSIBLE.
    """

    first: IntArray
    probability: FloatArray
    pair: IntArray
    entry: IntArray
    cell: IntArray


def tally(mdp: TabularMDP, record: Record) -> Outcomes:
    """Find each step and reset of a record among the outcomes of a model."""
    pair, row = np.unique(record.state * mdp.num_actions + record.action, return_inverse=True)
    probability, next_state, reward, terminated = mdp.padded(pair)
    cell_of = _cells(probability, next_state, reward, terminated)

    cell = np.empty(row.size, dtype=np.int64)
    size = max(1, _CHUNK // probability.shape[1])
    for begin in range(0, row.size, size):
        part = slice(begin, begin + size)
        at = row[part]
        same = _close(reward[at], record.reward[part, None])
        same &= next_state[at] == record.next_state[part, None]
        same &= terminated[at] == record.terminated[part, None]
        same &= probability[at] > 0
        which = same.argmax(axis=1)
        cell[part] = np.where(same.any(axis=1), cell_of[at, which], IMPOSSIBLE)

    possible = cell_of >= 0
    num_cells = int(cell_of.max()) + 1
    of_pairs = np.bincount(cell_of[possible], probability[possible], num_cells)
    # The first entry of each cell, since later ones are written first.
    owner, entry = np.empty(num_cells, dtype=np.int64), np.empty(num_cells, dtype=np.int64)
    rows, entries = np.nonzero(possible)
    owner[cell_of[possible][::-1]], entry[cell_of[possible][::-1]] = rows[::-1], entries[::-1]

    starts = np.flatnonzero(mdp.initial_distribution > 0)
    position = np.full(mdp.num_states, IMPOSSIBLE)
    position[starts] = num_cells + np.arange(starts.size)
    return Outcomes(
        first=np.append(np.searchsorted(owner, np.arange(pair.size + 1)), num_cells + starts.size),
        probability=np.append(of_pairs, mdp.initial_distribution[starts]),
        pair=pair,
        entry=np.append(entry, starts),
        cell=np.append(cell, position[record.start]),
    )


def _cells(
    probability: FloatArray, next_state: IntArray, reward: FloatArray, terminated: BoolArray
) -> IntArray:
    """Return the cell of each entry `[V, K]`, by row and first appearance; -1 where impossible."""
    row, k = np.nonzero(probability > 0)
    gain, end, successor = reward[row, k], terminated[row, k], next_state[row, k]
    order = np.lexsort((gain, end, successor, row))
    new = np.ones(order.size, dtype=np.bool_)
    new[1:] = ~_close(gain[order][1:], gain[order][:-1])
    new[1:] |= end[order][1:] != end[order][:-1]
    new[1:] |= successor[order][1:] != successor[order][:-1]
    new[1:] |= row[order][1:] != row[order][:-1]
    group = np.empty(order.size, dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    appearance = np.full(int(group.max()) + 1, order.size)
    np.minimum.at(appearance, group, np.arange(order.size))
    rank = np.empty_like(appearance)
    rank[np.argsort(appearance)] = np.arange(appearance.size)
    cells = np.full(probability.shape, IMPOSSIBLE)
    cells[row, k] = rank[group]
    return cells


def _close(one: FloatArray, other: FloatArray) -> BoolArray:
    """Return whether rewards agree to single precision, in which many environments compute them."""
    return np.asarray(np.isclose(one, other, rtol=1e-6, atol=1e-9))
