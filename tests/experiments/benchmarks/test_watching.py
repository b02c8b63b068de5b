"""The cost of watching is measured against the same training without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.benchmarks import watching
from experiments.benchmarks.watching import CASES


def test_the_table_has_a_row_of_each_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    what = "q-learning, compiled loop"
    monkeypatch.setattr(watching, "CASES", {what: (*CASES[what][:3], 40, 2, 1)})
    monkeypatch.setattr(sys, "argv", ["x", "--repetitions", "1", "--out", str(tmp_path)])
    watching.main()
    assert f"| {what} | 40 | " in (tmp_path / "table.md").read_text()
    assert len((tmp_path / "times.csv").read_text().splitlines()) == 2
