"""`report`: where it is written, and what it replaces."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.reporting.page import MARK
from tests.small_stage import small_spec


def test_runs_comparisons_and_stages_are_one_file(
    compared: Path, trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from rlkit.rlhf.stages.run_stage import run_stage

    run = rlkit.load(trained_folder("random", seeds=1))
    stage = run_stage(small_spec(), 1, tmp_path / "stages")
    out = tmp_path / "new folder" / "all.html"
    assert rlkit.report([run, compared, stage.folder], out, films=False) == out
    text = out.read_text()
    for title in ("random on FrozenLake-v1", "learner and chance on FrozenLake-v1", "fit on line"):
        assert f'-head">{title}</h2>' in text
    assert "<title>3 results</title>" in text
    assert [path.name for path in out.parent.iterdir()] == ["all.html"]


def test_the_title_is_that_of_the_only_section_or_given(
    trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = trained_folder("random", seeds=1), tmp_path / "a.html"
    rlkit.report(folder, out, films=False)
    assert "<title>random on FrozenLake-v1</title>" in out.read_text()
    assert re.findall(r"<h1[^>]*>(.*?)</h1>", out.read_text()) == ["random on FrozenLake-v1"]
    rlkit.report(folder, out, films=False, title="A & B")
    assert "<title>A &amp; B</title>" in out.read_text()
    assert re.findall(r"<h1[^>]*>(.*?)</h1>", out.read_text()) == ["A &amp; B"]


def test_a_report_is_replaced_and_another_file_only_on_request(
    trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = trained_folder("random", seeds=1), tmp_path / "index.html"
    out.write_text("my own page")
    with pytest.raises(UsageError, match=r"exists and is not a report of rlkit.*--overwrite"):
        rlkit.report(folder, out, films=False)
    assert out.read_text() == "my own page"
    rlkit.report(folder, out, films=False, overwrite=True)
    assert MARK in out.read_text()
    rlkit.report(folder, out, films=False)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("report.pdf", r"expected a file name that ends in \.html"),
        ("folder.html", "it is a folder"),
        ("file/report.html", "is not a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_the_work(
    out: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        rlkit.report("nowhere", tmp_path / out)


def test_nothing_and_what_is_no_run_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name at least one run or comparison"):
        rlkit.report([], tmp_path / "a.html")
    with pytest.raises(UsageError, match="expected runs, comparisons or their folders, got None"):
        rlkit.report(None, tmp_path / "a.html")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_small(compared: Path, tmp_path: Path) -> None:
    """A comparison with two films and eight seeds; the page for all is allowed 5 MB."""
    out = rlkit.report(compared, tmp_path / "a.html")
    assert out.stat().st_size < 1_000_000
