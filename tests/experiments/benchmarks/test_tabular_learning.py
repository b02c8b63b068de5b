"""The benchmark of tabular learning measures what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.benchmarks import tabular_learning
from experiments.benchmarks.tabular_learning import ROWS, plain_loop, table, updates_per_second


def test_the_table_has_the_median_and_the_bounds_of_each_row() -> None:
    repetitions = [dict.fromkeys(ROWS, value) for value in (3.0, 1.0, 2.0)]
    lines = table(repetitions, "median of 3").splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert lines[2].startswith("| loop, FrozenLake-v1 | 2 million updates/s | 1 to 3 | >= 20 | 40")


@pytest.mark.torture
def test_loops_and_commands_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e4 < plain_loop("FrozenLake-v1", 20_000) < updates_per_second("Taxi-v4", 200_000)
    sizes = ["--steps", "2000", "--taxi-steps", "2000", "--loop-steps", "100000"]
    monkeypatch.setattr(sys, "argv", ["x", *sizes, "--repetitions", "1", "--out", str(tmp_path)])
    tabular_learning.main()
    header, row = (tmp_path / "times.csv").read_text().splitlines()
    values = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    assert values["ratio"] == pytest.approx(0.02 / values["command"] / values["plain"], rel=1e-3)
    assert values["gap"] > 100  # after 2,000 steps
    assert "command, 30 seeds of Taxi-v4" in (tmp_path / "table.md").read_text()
