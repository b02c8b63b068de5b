"""The sparse matrix of a model, compiled: its rows and its product with values.

The slow twin is scipy's sparse array: the sums here have its order, so the bytes are the same. A
table to learn from needs no more than this, and importing scipy.sparse takes as long as learning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import lean_kernel

Array = NDArray[Any]


class Rows(NamedTuple):
    """A sparse matrix in compressed rows, as in scipy's `csr_array`."""

    start: Array  # [num_rows + 1] int32: row i owns the entries start[i] to start[i + 1] - 1
    columns: Array  # [num_stored] int32, increasing in each row
    entries: Array  # [num_stored] float64

    def product(self, vector: Array) -> Array:
        """Return the product with a vector, `[num_rows]`."""
        products = np.empty(len(self.start) - 1)
        _product(*self, np.asarray(vector, dtype=np.float64), products)
        return products


def continuing_rows(probability: Array, next_state: Array, terminated: Array, start: Array) -> Rows:
    """Return P(S' = s', not terminated | row); equal successors are summed.

    Args:
        probability: `[num_entries]`.
        next_state: `[num_entries]`.
        terminated: `[num_entries]`.
        start: of the rows, `[num_rows + 1]`.
    """
    continues = (probability > 0) & ~terminated
    num_stored, num_columns = np.count_nonzero(continues), int(next_state.max()) + 1
    rows = Rows(
        np.zeros(len(start), dtype=np.int32),
        np.empty(num_stored, dtype=np.int32),
        np.empty(num_stored),
    )
    sums, row_of = np.empty(num_columns), np.full(num_columns, -1, dtype=np.int32)
    end = _continuing(probability, next_state, continues, start, rows, sums, row_of)
    return Rows(rows.start, rows.columns[:end], rows.entries[:end])


@lean_kernel
def _continuing(
    probability: Array,
    next_state: Array,
    continues: Array,
    row_start: Array,
    rows: Rows,
    sums: Array,
    row_of: Array,
) -> int:
    """Write the rows and return the number of their entries.

    Args:
        continues: whether an entry counts.
        sums: to work in, `[num_columns]`.
        row_of: to work in, `[num_columns]`, -1 everywhere: the last row with an entry in a column.
    """
    start, columns, entries = rows
    end = 0
    for row in range(len(row_start) - 1):
        first = end
        for k in range(row_start[row], row_start[row + 1]):
            if continues[k]:
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
    return end


@lean_kernel
def _product(start: Array, columns: Array, entries: Array, vector: Array, products: Array) -> None:
    for row in range(len(products)):
        total = 0.0
        for k in range(start[row], start[row + 1]):
            total += entries[k] * vector[columns[k]]
        products[row] = total
