"""Test whether observed frequencies fit the probabilities of a table.

Events fall into the cells of rows: a row is a state and action (or the start of an episode), its
cells are the possible outcomes, and the table gives each cell a probability. Four tests are applied
to a set of events, since each detects what the others miss:

    cells      Is any one cell too frequent or too rare?  The exact tails of the binomial.
    alike      The same after rows with equal probabilities (0.8, 0.1, 0.1) are added up: in a large
               table each row is visited rarely, and only the sum shows that 0.8 is 0.7.
    spread     Do many cells deviate a little?  Pearson's X^2 = sum (n - N p)^2 / (N p) over all
               rows, compared with the gamma distribution that has its exact mean and variance for
               the given N.
    likeliest  Is the likeliest cell of each row as frequent as the table says?  Freedman's
               inequality, which holds whatever the rows and their order.

They are applied to all events and to subsets that are known before the outcome: the steps of one
part of the probe, those of one stretch of the episodes, those after one kind of step. A table does
not fit if its probabilities depend on any of these.

N is random and depends on earlier outcomes, so a p-value is not an exact probability.
`experiments/benchmarks/table_fit.py` measures how often a true table is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray

# The probability with which a true table may be rejected, over all tests of one environment.
FALSE_ALARMS = 2e-5
# X^2 has the gamma's far tail only where many cells contribute and none is nearly empty.
LEAST_EXPECTED, LEAST_FREEDOM = 5.0, 30


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table, concatenated.

    Args:
        first: where the cells of each row begin, then their total number C, `[R + 1]`.
        probability: `[C]`, > 0, summing to one within each row.
    """

    first: IntArray
    probability: FloatArray

    @cached_property
    def row(self) -> IntArray:
        """Return the row of each cell, `[C]`."""
        return np.repeat(np.arange(self.first.size - 1), np.diff(self.first))

    @cached_property
    def uncertain(self) -> BoolArray:
        """Return whether the row of each cell has other cells too, `[C]`."""
        return np.asarray(np.diff(self.first)[self.row] > 1)


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """The strongest evidence against a table."""

    test: str  # cells, alike, spread or likeliest
    subset: str  # the events that were tested
    p_value: float  # corrected for the number of tests; below FALSE_ALARMS
    cell: int  # the cell that fits worst among these events
    count: int  # how often it occurred
    total: int  # events of its row
    # Over all rows that were added up: expected share, count and total; None for a single row.
    added_up: tuple[float, int, int] | None = None


def find_misfit(table: Rows, cell: IntArray, subsets: Mapping[str, BoolArray]) -> Misfit | None:
    """Return the strongest evidence against a table, or None where it fits.

    Args:
        table: the claimed probabilities.
        cell: of each event, `[E]`, in `[0, C)`.
        subsets: the events to test together, by name, bool `[E]` each.
    """
    worst = strongest(table, cell, subsets)
    return worst if worst is not None and worst.p_value < FALSE_ALARMS else None


def strongest(table: Rows, cell: IntArray, subsets: Mapping[str, BoolArray]) -> Misfit | None:
    """Return the evidence of `find_misfit` however weak it is; None where nothing was random."""
    alike, alike_cell = _rows_alike(table)
    uncertain = table.uncertain[cell]
    worst: Misfit | None = None
    num_tests = 4 * len(subsets)
    for name, members in subsets.items():
        chosen = cell[members & uncertain]
        if not chosen.size:
            continue
        counts = np.bincount(chosen, minlength=table.row.size)
        tails = _tails(table, counts)
        p_cells, at = _smallest(tails)
        added = np.bincount(alike_cell[chosen], minlength=alike.probability.size)
        p_alike, at_alike = _smallest(_tails(alike, added))
        p_likeliest, likeliest = _likeliest(table, counts)
        of_alike = (float(alike.probability[at_alike]), int(added[at_alike]),
                    int(_totals(alike, added)[alike.row[at_alike]]))  # fmt: skip
        results = {
            "cells": (p_cells, None),
            "alike": (p_alike, of_alike),
            "spread": (_spread(table, counts), None),
            "likeliest": (p_likeliest, likeliest),
        }
        for test, (p_value, added_up) in results.items():
            corrected = min(1.0, num_tests * p_value)
            if worst is None or corrected < worst.p_value:
                worst = Misfit(
                    test=test,
                    subset=name,
                    p_value=corrected,
                    cell=at,
                    count=int(counts[at]),
                    total=int(_totals(table, counts)[table.row[at]]),
                    added_up=added_up,
                )
    return worst


def _totals(table: Rows, counts: IntArray) -> IntArray:
    """Return N of each row, `[R]`."""
    return np.asarray(np.add.reduceat(counts, table.first[:-1]))


def _tails(table: Rows, counts: IntArray) -> FloatArray:
    """Return twice the smaller tail of the binomial for each cell, `[C]`; 1 without evidence.

    P(n or more of N) = I_p(n, N - n + 1),   I the regularised incomplete beta function
    """
    from scipy import special  # takes longer to import than most of what needs no probe

    total = _totals(table, counts)[table.row]
    tails = np.ones(counts.size)
    # Where a cell never occurred, P(0) = (1 - p)^N is small only if several events were expected.
    tried = table.uncertain & ((counts > 0) | (total * table.probability > 5.0))
    p, n, N = table.probability[tried], counts[tried], total[tried]
    more = np.where(n > 0, special.betainc(np.maximum(n, 1), N - n + 1, p), 1.0)
    less = np.where(n < N, special.betainc(np.maximum(N - n, 1), n + 1, 1 - p), 1.0)
    tails[tried] = np.minimum(1.0, 2 * np.minimum(more, less))
    return tails


def _smallest(tails: FloatArray) -> tuple[float, int]:
    """Return the smallest p-value, corrected for the number of cells, and its cell."""
    at = int(tails.argmin())
    return min(1.0, float(tails[at]) * tails.size), at


def _rows_alike(table: Rows) -> tuple[Rows, IntArray]:
    """Return the distinct rows of a table, and the cell among them of each of its cells, `[C]`."""
    rows: dict[bytes, int] = {}
    first, parts = [0], []
    cell = np.empty(table.probability.size, dtype=np.int64)
    rounded = np.round(table.probability, 9)
    for begin, end in zip(table.first[:-1].tolist(), table.first[1:].tolist(), strict=True):
        at = rows.setdefault(rounded[begin:end].tobytes(), first[-1])
        if at == first[-1]:
            first.append(at + end - begin)
            parts.append(table.probability[begin:end])
        cell[begin:end] = np.arange(at, at + end - begin)
    return Rows(np.array(first), np.concatenate(parts)), cell


def _spread(table: Rows, counts: IntArray) -> float:
    """Return the upper tail of Pearson's X^2 over all rows.

        E X^2 = sum (K - 1),   Var X^2 = sum [2 (K - 1) + (sum_k 1/p_k - K^2 - 2 K + 2) / N]

    summed over rows with K cells, where cells are joined until N p >= LEAST_EXPECTED.
    """
    from scipy import special

    kept = np.flatnonzero(_totals(table, counts)[table.row] > 0)
    row = table.row[kept]
    total = _totals(table, counts)[row]
    expected = total * table.probability[kept]
    joined = _joined(row, expected)
    size = int(joined.max()) + 1
    e = np.bincount(joined, expected, size)
    n = np.bincount(joined, counts[kept], size)
    _, owner = np.unique(row[np.unique(joined, return_index=True)[1]], return_inverse=True)
    total = np.bincount(owner, e)
    k = np.bincount(owner).astype(np.float64)
    inverse = np.bincount(owner, total[owner] / e)
    varied = k > 1
    mean = float((k - 1)[varied].sum())
    if mean < LEAST_FREEDOM:
        return 1.0
    variance = 2 * (k - 1) + (inverse - k**2 - 2 * k + 2) / total
    scale = float(variance[varied].sum()) / mean
    statistic = float(((n - e) ** 2 / e).sum())
    return float(special.gammaincc(mean / scale, statistic / scale))


def _joined(row: IntArray, expected: FloatArray) -> IntArray:
    """Join the rarest cells of each row until all have LEAST_EXPECTED; return the groups, `[C]`."""
    order = np.lexsort((-expected, row))
    row, expected = row[order], expected[order]
    begins = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
    rare = expected < LEAST_EXPECTED
    before = np.cumsum(expected * rare) - expected * rare
    before -= np.repeat(before[begins], np.diff(np.append(begins, row.size)))
    # A block twice as wide as the largest rare cell holds enough, unless it is the last of its row.
    block = np.where(rare, np.floor(before / (2 * LEAST_EXPECTED)), -1.0)
    new = np.append(True, (row[1:] != row[:-1]) | ~rare[1:] | (block[1:] != block[:-1]))
    group = np.cumsum(new) - 1
    sums = np.bincount(group, expected)
    owner = row[np.flatnonzero(new)]
    is_last = np.append(owner[1:] != owner[:-1], True)
    is_first = np.append(True, owner[1:] != owner[:-1])
    poor = is_last & ~is_first & (sums < LEAST_EXPECTED)
    group = (np.cumsum(~poor) - 1)[group]
    joined = np.empty(group.size, dtype=np.int64)
    joined[order] = group
    return joined


def _likeliest(table: Rows, counts: IntArray) -> tuple[float, tuple[float, int, int]]:
    """Return Freedman's bound on both tails of the frequency of the likeliest cells.

    P(|n - sum p| >= d) <= 2 exp(-d^2 / (2 (V + d / 3))),   V = sum p (1 - p)
    """
    order = np.lexsort((np.arange(table.row.size), -table.probability, table.row))
    likeliest = order[table.first[:-1]]
    p, total = table.probability[likeliest], _totals(table, counts)
    n, expected = int(counts[likeliest].sum()), float((total * p).sum())
    variance, distance = float((total * p * (1 - p)).sum()), abs(n - expected)
    bound = 1.0
    if distance > 0:
        bound = min(1.0, 2 * float(np.exp(-(distance**2) / (2 * (variance + distance / 3)))))
    return bound, (expected / int(total.sum()), n, int(total.sum()))
