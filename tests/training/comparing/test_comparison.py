"""A comparison as data: estimates, intervals, differences and the key of what is compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.training.comparing.comparison import Comparison

NAN = float("nan")


@dataclass
class Result:
    """What a comparison reads of a run."""

    scores: Any
    folder: Path = Path("a-run")
    num_env_steps: int = 100
    record: Any = field(default_factory=lambda: {"environment": "Lake"})
    caveats: Any = ()
    optimum: Any = None
    environment_name: str = "Lake"

    def __post_init__(self) -> None:
        self.scores = np.array(self.scores)


def compared(folder: Path, **runs: Any) -> Comparison:
    return Comparison(runs, folder)


def test_estimates_are_means_over_finished_seeds_with_students_interval(tmp_path: Path) -> None:
    comparison = compared(
        tmp_path, a=Result([3.0, NAN, 7.0, 4.0], caveats=("stopped early",)), b=Result([1.0, 2.0])
    )
    summary = comparison.summary()
    a = summary["agents"]["a"]
    low, high = stats.t.interval(0.95, 2, loc=14 / 3, scale=stats.sem([3.0, 7.0, 4.0]))
    assert a["mean"] == pytest.approx(14 / 3, rel=1e-12)
    assert a["interval"] == pytest.approx([low, high], rel=1e-12)
    assert a["env_steps"] == 100
    assert "stopped early" in a["notes"]
    assert np.isnan(a["final"][1])
    (pair,) = summary["pairs"]
    assert (pair["a"], pair["b"]) == ("a", "b")
    assert pair["difference"] == pytest.approx(14 / 3 - 1.5, rel=1e-12)


def test_an_agent_without_a_finished_seed_is_listed_but_not_compared(tmp_path: Path) -> None:
    comparison = compared(tmp_path, a=Result([1.0, 2.0]), failed=Result([NAN, NAN]))
    summary = comparison.summary()
    assert np.isnan(summary["agents"]["failed"]["mean"])
    assert summary["pairs"] == []


def test_where_no_seed_was_finished_only_the_summary_is_written(tmp_path: Path) -> None:
    (path,) = compared(tmp_path, a=Result([NAN]), b=Result([NAN])).write()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name] == ["summary.json"]
    assert json.loads(path.read_text())["agents"]["a"]["final"] == [None]


def test_the_key_is_that_of_names_runs_and_budgets_in_any_order(tmp_path: Path) -> None:
    one, two = Result([1.0]), Result([2.0], folder=Path("another"))
    key = compared(tmp_path, a=one, b=two).key
    assert compared(tmp_path / "elsewhere", b=two, a=one).key == key
    others = [
        compared(tmp_path, a=one),
        compared(tmp_path, a=two, b=one),
        compared(tmp_path, a=one, c=two),
        compared(tmp_path, a=one, b=Result([2.0], folder=Path("another"), num_env_steps=50)),
    ]
    assert len({key, *(other.key for other in others)}) == 5
