"""The cost of safety is measured against the same training without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import safety_cost
from experiments.benchmarks.safety_cost import CASES, without_safety
from rlkit.determinism import prepared_torch
from rlkit.runs import checkpoints, store
from rlkit.runs.reports import Reports
from rlkit.training.seed_trainer import train_seeds


def test_without_safety_the_seeds_learn_the_same_and_write_nothing(
    spec_of: Any, tmp_path: Path, results: Any, reference: Any
) -> None:
    spec, folders = spec_of("q-learning-gymnasium"), (tmp_path / "with", tmp_path / "without")
    environment = spec.resolve().seen_as(spec.view)
    progress: list[list[int]] = [[], []]
    for folder, reports in zip(folders, progress, strict=True):
        store.prepare_folder(folder)
        own = Reports(progress=lambda seeds, steps, reports=reports: reports.append(steps))
        with prepared_torch():
            if folder.name == "with":
                train_seeds(spec, environment, folder, [0], own)
            else:
                with without_safety():
                    train_seeds(spec, environment, folder, [0], own)
    assert progress[0] == progress[1]
    assert results(folders[0]) == {0: reference("q-learning-gymnasium", seeds=2)[0]}
    assert not checkpoints.list_checkpoints(folders[1], 0)
    assert len((folders[1] / "seed-000.csv").read_text().splitlines()) == 1


def test_the_table_has_a_row_of_each_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        what: (*case[:3], 40)
        for what, case in CASES.items()
        if case[0] == "q-learning" and "native" in case[2]
    }
    monkeypatch.setattr(safety_cost, "CASES", small)
    monkeypatch.setattr(safety_cost, "SEEDS", range(2))
    monkeypatch.setattr(sys, "argv", ["x", "--repetitions", "1", "--out", str(tmp_path)])
    safety_cost.main()
    assert "| q-learning, ordinary loop | " in (tmp_path / "table.md").read_text()
    assert len((tmp_path / "times.csv").read_text().splitlines()) == 2
