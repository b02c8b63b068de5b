"""`rlkit report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit.cli import main


def test_a_report_is_written_and_its_place_printed(
    trained_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = trained_folder("random", seeds=1)
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder), "--no-films", "--title", "mine"]) == 0
    assert capsys.readouterr().out == "report.html\n"
    assert "<title>mine</title>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "report: name at least one run or comparison"),
        (["nowhere"], "report: nowhere is neither the folder of a run nor of a comparison"),
        (["latest:nobody"], "there is no such run"),
        (["runs", "--out", "a.txt"], "expected a file name that ends in .html"),
        (["runs", "--film"], "Did you mean '--films'"),
    ],
)
def test_wrong_words_are_answered(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
