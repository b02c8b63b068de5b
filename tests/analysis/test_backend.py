"""MPLBACKEND: an unknown name is ignored and reported, others are left alone."""

from __future__ import annotations

import pytest

from rlkit.analysis.backend import ignore_unknown_backend
from rlkit.cli import main


@pytest.mark.parametrize("name", ["agg", "Agg", "TkAgg", "module://mine.backend", ""])
def test_known_backends_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", name)
    assert ignore_unknown_backend() is None


def test_the_command_line_ignores_an_unknown_backend_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    assert main(["list"]) == 0
    assert "MPLBACKEND='nonsense' is no backend of matplotlib" in capsys.readouterr().err
    assert ignore_unknown_backend() is None
