"""Runs of any kind are verified by one function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.runs import checkpoints

FORMATS = Path(__file__).parents[1] / "runs" / "fixtures"


def test_verify_finds_runs_of_any_kind(trained_folder: Callable[..., Path], out: Path) -> None:
    folder = trained_folder("random", seeds=2)
    (stage,) = (FORMATS / "format-2").glob("sft-*")
    verdicts = rlkit.verify(folder, stage)
    assert [verdict.what for verdict in verdicts] == [
        "random on FrozenLake-v1",
        "sft on enumerable",
    ]
    assert [verdict.complete for verdict in verdicts] == [[0, 1], [0]]
    path = checkpoints.list_checkpoints(folder, 0)[1][1]
    path.write_bytes(b"")
    assert "is damaged" in rlkit.verify(out)[0].problems[0]
    with pytest.raises(UsageError, match="there is no run in"):
        rlkit.verify(folder / "checkpoints")
