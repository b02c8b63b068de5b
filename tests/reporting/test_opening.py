"""What a report is about, found by folder, name or object."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit
from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.reporting import opening
from rlkit.reporting.opening import Compared, open_subjects
from rlkit.training.run import Run


def test_a_comparison_brings_the_runs_beside_it_as_they_were_compared(compared: Path) -> None:
    (one,) = open_subjects([compared])
    assert isinstance(one, Compared)
    assert [run.agent for run in one.runs.values()] == ["q-learning", "random"]
    assert {len(run.seeds) for run in one.runs.values()} == {4}
    assert one.missing == {}


def test_a_folder_above_has_its_comparisons_and_the_runs_that_are_in_none(
    compared: Path, trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    alone = trained_folder("q-learning", seeds=2)
    shutil.copytree(alone, tmp_path / "alone")
    subjects = open_subjects([tmp_path, alone, compared])
    kinds = [(type(one).__name__, one.folder.name) for one in subjects]
    assert ("Compared", "compared") in kinds
    assert ("Run", "alone") in kinds
    assert len(kinds) == len(set(one.folder for one in subjects)) == 3


def test_what_else_lies_below_the_folder_of_a_comparison_is_said(
    compared: Path, trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    runs = tmp_path / "all"
    shutil.copytree(compared, runs)  # as the first comparison of all is written
    assert [one.folder for one in open_subjects([runs])] == [runs]  # its own runs are none of it
    (runs / "compare-again").mkdir()
    shutil.copy(compared / "summary.json", runs / "compare-again")
    alone = trained_folder("q-learning", seeds=2)
    shutil.copytree(alone, runs / "alone")
    with pytest.warns(RlkitWarning, match=r"other comparisons \(1\) and runs \(1\): .*-again"):
        (one,) = open_subjects([runs])
    assert one.folder == runs


def test_objects_are_taken_as_they_are(compared: Path) -> None:
    run = rlkit.load(next(compared.glob("random-*")))
    assert open_subjects([run]) == [run]
    assert open_subjects([run.folder, str(run.folder)])[0].folder == run.folder


def test_latest_is_the_newest_run(
    trained_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained_folder("random", seeds=1)
    (tmp_path / "here").mkdir()
    shutil.copytree(folder, tmp_path / "here" / "runs" / folder.name)
    monkeypatch.chdir(tmp_path / "here")
    (one,) = open_subjects(["latest"])
    assert isinstance(one, Run)
    assert one.agent == "random"


def test_a_run_that_moved_away_is_missed_in_words(compared: Path) -> None:
    shutil.rmtree(next(compared.glob("random-*")))
    (one,) = open_subjects([compared])
    assert isinstance(one, Compared)
    (text,) = one.missing.values()
    assert "is not beside the comparison, so curve, settings and film are omitted" in text


def test_a_run_with_changed_rows_is_missed_in_words(compared: Path) -> None:
    rows = next(compared.glob("random-*")) / "seed-000.csv"
    rows.write_bytes(rows.read_bytes().replace(b"250,", b"251,", 1))
    (one,) = open_subjects([compared])
    assert isinstance(one, Compared)
    (text,) = one.missing.values()
    assert "seed-000.csv" in text


def test_a_changed_summary_is_an_error(compared: Path) -> None:
    path = compared / "summary.json"
    path.write_text(path.read_text().replace('"mean": 0.', '"mean": 1.', 1))
    with pytest.raises(RlkitError, match=r"summary\.json is damaged"):
        open_subjects([compared])


def test_a_summary_without_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"comparison": ')
    with pytest.raises(UsageError, match="cannot be read"):
        open_subjects([tmp_path])


@pytest.mark.parametrize("content", [{"pairs": 3}, {"pairs": [], "agents": {"a": {}}}, ["pairs"]])
def test_a_summary_of_somebody_else_is_an_error(tmp_path: Path, content: object) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with pytest.raises(RlkitError, match="is not the summary of a comparison"):
        open_subjects([tmp_path])


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither the folder of a run nor of a comparison"):
        open_subjects([tmp_path])
    with pytest.raises(UsageError, match="expected runs, comparisons or their folders, got 3"):
        open_subjects([3])  # type: ignore[list-item]


def test_a_report_of_very_many_runs_is_rejected(
    compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MOST_SUBJECTS", 1)
    with pytest.raises(UsageError, match="these are 2 runs and comparisons, and a report has at"):
        open_subjects(sorted(compared.glob("*-*/")))
