"""Runs of any kind are verified by one function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit
from rlkit.cli import main
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


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with a figure of regret, whose runs are elsewhere."""
    runs, folder = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("compared")
    arguments = {"seeds": 2, "steps": 60, "evaluate_every": 30}
    run = rlkit.train("random", "FrozenLake-v1", **arguments, out=runs)
    return rlkit.compare([run], out=folder, regret=True).folder


FILES = ["summary.json", "learning_curves.png", "final_performance.png", "regret.png"]


def test_a_comparison_is_verified_with_its_figures(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (verdict,) = rlkit.verify(comparison)
    assert not verdict.problems
    assert verdict.what == "comparison of random on FrozenLake-v1"
    assert sorted(path.name for path in comparison.iterdir()) == sorted(FILES)
    assert main(["verify", str(comparison)]) == 0
    assert "sound" in capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["first", "middle", "end", "cut", "gone"])
def test_damage_of_a_comparison_is_named(
    name: str, damage: str, comparison: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(comparison, folder)
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        if name == "summary.json":  # nothing says that the figures are of a comparison
            with pytest.raises(UsageError, match="there is no run"):
                rlkit.verify(folder)
            return
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[{"first": 0, "middle": len(data) // 2, "end": len(data) - 3}[damage]] ^= 4
        path.write_bytes(data)
    (verdict,) = rlkit.verify(folder)
    assert len(verdict.problems) == 1
    assert name in verdict.problems[0]


def test_a_summary_of_an_older_rlkit_is_no_damage(comparison: Path, tmp_path: Path) -> None:
    content = json.loads((comparison / "summary.json").read_text())
    del content["files"], content["sha256"]
    (tmp_path / "summary.json").write_text(json.dumps(content))
    (verdict,) = rlkit.verify(tmp_path)
    assert not verdict.problems
    assert "older rlkit" in verdict.notes[0]
    (tmp_path / "summary.json").write_text(json.dumps({"passed": 3}))  # of something else
    with pytest.raises(UsageError, match="there is no run"):
        rlkit.verify(tmp_path)
