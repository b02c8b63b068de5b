"""The sparse matrix of a model, compiled: its rows and its product with values.

The slow twin is scipy's sparse array: the sums here have its order, so the bytes are the same. A
table to learn from needs no more than this, and importing scipy.sparse takes as long as learning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Array = NDArray[Any]


class Rows(NamedTuple):
    """A sparse matrix in compressed rows, as in scipy's `csr_array`."""

    start: Array  # [num_rows + 1] int32: row i owns the entries start[i] to start[i + 1] - 1
    columns: Array  # [num_stored] int32, increasing in each row
    entries: Array  # [num_stored] float64

    def product(self, vector: Array) -> Array:
        """Return the product with a vector, `[num_rows]`."""
        return np.asarray(_product(*self, np.asarray(vector, dtype=np.float64)))


def continuing_rows(probability: Array, next_state: Array, terminated: Array, start: Array) -> Rows:
    """Return P(S' = s', not terminated | row); equal successors are summed.

    Args:
        probability: `[num_entries]`.
        next_state: `[num_entries]`.
        terminated: `[num_entries]`.
        start: of the rows, `[num_rows + 1]`.
    """
    num_states = int(next_state.max()) + 1
    return Rows(*_continuing(probability, next_state, terminated, start, num_states))


@kernel
def _continuing(
    probability: Array, next_state: Array, terminated: Array, row_start: Array, num_states: int
) -> tuple[Array, Array, Array]:
    num_rows, num_stored = len(row_start) - 1, 0
    for k in range(len(probability)):
        num_stored += probability[k] > 0.0 and not terminated[k]
    start = np.zeros(num_rows + 1, dtype=np.int32)
    columns, entries = np.empty(num_stored, dtype=np.int32), np.empty(num_stored)
    sums, row_of = np.empty(num_states), np.full(num_states, -1, dtype=np.int32)
    end = 0
    for row in range(num_rows):
        first = end
        for k in range(row_start[row], row_start[row + 1]):
            if probability[k] > 0.0 and not terminated[k]:
                column = next_state[k]
                if row_of[column] == row:
                    sums[column] += probability[k]
                else:
                    sums[column], row_of[column] = probability[k], row
                    columns[end] = column
                    end += 1
        gap = 1
        while gap < (end - first) // 3:
            gap = 3 * gap + 1
        while gap > 0:  # Shell's sort; one insertion sort for a short row
            for k in range(first + gap, end):
                column, at = columns[k], k
                while at >= first + gap and columns[at - gap] > column:
                    columns[at] = columns[at - gap]
                    at -= gap
                columns[at] = column
            gap //= 3
        for k in range(first, end):
            entries[k] = sums[columns[k]]
        start[row + 1] = end
    return start, columns[:end], entries[:end]


@kernel
def _product(start: Array, columns: Array, entries: Array, vector: Array) -> Array:
    products = np.empty(len(start) - 1)
    for row in range(len(products)):
        total = 0.0
        for k in range(start[row], start[row + 1]):
            total += entries[k] * vector[columns[k]]
        products[row] = total
    return products
