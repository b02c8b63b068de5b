"""Frequencies against probabilities: what each test detects, and that true tables pass."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from rlkit.tabular.reading import fit as table_fit
from rlkit.tabular.reading.fit import FALSE_ALARMS, Rows, find_misfit, strongest

Array = NDArray[Any]


def rows_of(rows: list[Any]) -> Rows:
    first = np.append(0, np.cumsum([len(row) for row in rows]))
    return Rows(first, np.concatenate([np.asarray(row, float) for row in rows]))


def drawn(rows: list[Any], visits: int, seed: int = 0) -> Array:
    """Cells of `visits` events of each row, drawn with these probabilities."""
    rng, first, cells = np.random.default_rng(seed), 0, []
    for row in rows:
        cells.append(first + rng.choice(len(row), size=visits, p=row))
        first += len(row)
    return np.concatenate(cells)


def everything(cell: Array) -> dict[str, Array]:
    return {"": np.ones(cell.size, dtype=bool)}


def different(n: int, probability: float) -> list[list[float]]:
    """Rows of two cells, no two of them equal."""
    return [[probability + 1e-6 * i, 1 - probability - 1e-6 * i] for i in range(n)]


def one_row_wrong() -> tuple[list[Any], list[Any], int]:
    claim = [[0.5, 0.5]] * 300
    return claim, [*claim[:7], [0.95, 0.05], *claim[8:]], 60


def many_rows_seldom_visited() -> tuple[list[Any], list[Any], int]:
    return [[0.8, 0.1, 0.1]] * 8000, [[0.8, 0.13, 0.07]] * 8000, 2


def many_rows_a_little_wrong() -> tuple[list[Any], list[Any], int]:
    claim = different(300, 0.5)
    return claim, [[p + 0.1 * (-1) ** i, q - 0.1 * (-1) ** i] for i, (p, q) in enumerate(claim)], 60


def many_different_rows_seldom_visited() -> tuple[list[Any], list[Any], int]:
    claim = different(8000, 0.7)
    return claim, [[p - 0.07, q + 0.07] for p, q in claim], 2


FAULTS = {
    "cells": one_row_wrong,
    "alike": many_rows_seldom_visited,
    "spread": many_rows_a_little_wrong,
    "likeliest": many_different_rows_seldom_visited,
}
BLIND: dict[str, tuple[str, Any]] = {
    "spread": ("_spread", lambda table, counts: 1.0),
    "likeliest": ("_likeliest", lambda table, counts: (1.0, (0.5, 0, 1))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_test_detects_a_fault_that_the_others_miss(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, truth, visits = FAULTS[name]()
    table, cell = rows_of(claim), drawn(truth, visits)
    misfit = find_misfit(table, cell, everything(cell))
    assert misfit is not None
    assert misfit.test == name
    honest = drawn(claim, visits)
    assert find_misfit(table, honest, everything(honest)) is None

    smallest = table_fit._smallest
    if name in BLIND:
        monkeypatch.setattr(table_fit, *BLIND[name])
    else:  # both tests use the smallest tail, of tables of different sizes
        of_all = table.probability.size
        monkeypatch.setattr(
            table_fit,
            "_smallest",
            lambda tails: (
                (1.0, 0) if (tails.size == of_all) == (name == "cells") else smallest(tails)
            ),
        )
    assert find_misfit(table, cell, everything(cell)) is None


def test_what_cancels_over_all_events_is_seen_in_a_subset() -> None:
    table = rows_of([[0.5, 0.5]])
    cell = np.repeat([0, 1, 1, 0], [600, 400, 600, 400])
    assert find_misfit(table, cell, everything(cell)) is None
    halves = {"early": np.arange(2000) < 1000, "late": np.arange(2000) >= 1000}
    misfit = find_misfit(table, cell, everything(cell) | halves)
    assert misfit is not None
    assert misfit.subset == "early"
    assert (misfit.cell, misfit.count, misfit.total) in [(0, 600, 1000), (1, 400, 1000)]


def test_rows_without_chance_are_no_evidence() -> None:
    table = rows_of([[1.0], [1.0]])
    cell = np.array([0, 1, 1])
    assert strongest(table, cell, everything(cell)) is None


def test_tails_are_those_of_the_binomial() -> None:
    table = rows_of([[0.3, 0.7], [0.05, 0.95], [1.0]])
    counts = np.array([9, 11, 0, 40, 5])
    total = np.array([20, 20, 40, 40, 5])
    expected = 2 * np.minimum(
        stats.binom.cdf(counts, total, table.probability),
        stats.binom.sf(counts - 1, total, table.probability),
    )
    expected[[2, 4]] = 1.0  # two expected and none seen says nothing; a sure row never does
    np.testing.assert_allclose(
        table_fit._tails(table, counts), np.minimum(expected, 1), rtol=1e-10
    )  # two ways to the incomplete beta function


def test_the_spread_has_the_exact_mean_and_variance_of_pearsons_statistic() -> None:
    """Over multinomial draws, where the p-value's own distribution is known to be uniform."""
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.full(4, 5.0)) for _ in range(30)]
    table = rows_of(rows)
    p = []
    for _ in range(2000):
        counts = np.concatenate([rng.multinomial(80, row) for row in rows])
        p.append(table_fit._spread(table, counts))
    # Five standard errors of 2000 draws: of the mean 1/2 and of a share of 1 %.
    assert abs(np.mean(p) - 0.5) < 5 * np.sqrt(1 / 12 / 2000)
    assert abs(np.mean(np.array(p) < 0.01) - 0.01) < 5 * np.sqrt(0.01 * 0.99 / 2000)


def test_cells_are_joined_within_their_row_until_enough_is_expected() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 40, size=50)
    row = np.repeat(np.arange(50), sizes)
    expected = rng.exponential(rng.choice([0.3, 3, 30], size=50)[row])
    joined = table_fit._joined(row, expected)
    sums = np.bincount(joined, expected)
    owners = [np.unique(row[joined == j]) for j in range(sums.size)]
    assert all(owner.size == 1 for owner in owners)
    alone = np.bincount([owner[0] for owner in owners]) == 1
    poor = sums < table_fit.LEAST_EXPECTED
    assert not (poor & ~alone[[owner[0] for owner in owners]]).any()
    # A cell that is large enough stays on its own, except for the last to take up a rest.
    large = np.flatnonzero(expected >= table_fit.LEAST_EXPECTED)
    assert (np.bincount(joined)[joined[large]] == 1).mean() > 0.8


@pytest.mark.slow
def test_true_chains_are_rejected_no_more_often_than_promised() -> None:
    """Multinomial counts with a large level, where it shows; the benchmark plays whole probes."""
    rng = np.random.default_rng(2)
    rows = [rng.dirichlet(np.ones(3)) for _ in range(40)]
    table = rows_of(rows)
    p = []
    for seed in range(400):
        cell = drawn(rows, 50, seed)
        parts = {str(i): np.arange(cell.size) % 4 == i for i in range(4)}
        worst = strongest(table, cell, everything(cell) | parts)
        assert worst is not None
        p.append(worst.p_value)
    assert np.mean(np.array(p) < 0.05) <= 0.05
    assert FALSE_ALARMS <= 1e-4 / 2
