"""Verifying a run finds every damaged file and says which seeds are complete."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit.errors import UsageError
from rlkit.runs.integrity.verify import runs_below, verify_run
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format-1"


@pytest.fixture
def folder(trained_folder: Callable[..., Path]) -> Path:
    return trained_folder("random", seeds=2)


def test_a_sound_run_is_complete(folder: Path) -> None:
    verdict = verify_run(folder, AGENT_RUN)
    assert (verdict.complete, verdict.problems, verdict.notes) == ([0, 1], (), ())
    assert (verdict.what, verdict.status) == ("random on FrozenLake-v1", "finished")
    assert (verdict.target, verdict.unit) == (300, "environment steps")


def test_a_flipped_bit_in_any_file_is_found(folder: Path) -> None:
    draws = random.Random(0)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) >= 9  # the record, two csvs, and of each seed the sums and two checkpoints
    for path in files:
        sound = path.read_bytes()
        for _ in range(5):
            damaged = bytearray(sound)
            damaged[draws.randrange(len(sound))] ^= 1 << draws.randrange(8)
            path.write_bytes(damaged)
            problems = verify_run(folder, AGENT_RUN).problems
            assert problems
            assert str(path) in problems[0]
        path.write_bytes(sound)
    assert not verify_run(folder, AGENT_RUN).problems


def test_seeds_that_are_not_complete_are_told_apart(
    folder: Path, small: Callable[..., Run]
) -> None:
    (folder / "seed-000.csv").unlink()
    shutil.rmtree(folder / "checkpoints" / "seed-001")
    (folder / "seed-001.csv").unlink()
    (folder / "stranger.txt").write_text("")
    verdict = verify_run(folder, AGENT_RUN)
    assert [(each.state, each.done) for each in verdict.seeds] == [
        ("damaged", 300),
        ("unfinished", 0),
    ]
    assert verdict.complete == []
    assert verdict.notes == (f"{folder / 'stranger.txt'} is no part of the run",)
    assert verdict.as_data()["sound"] is False


def test_a_recorded_figure_is_checked(small: Callable[..., Run], figures: None) -> None:
    folder = small("random", seeds=1).folder
    assert not verify_run(folder, AGENT_RUN).problems
    figure = folder / "learning_curve.png"
    figure.write_bytes(figure.read_bytes()[:-1])
    (problem,) = verify_run(folder, AGENT_RUN).problems
    assert f"{figure} is damaged: expected the sha256" in problem
    figure.unlink()
    assert verify_run(folder, AGENT_RUN).problems == (f"{figure} is missing",)


def test_a_run_of_an_older_version_has_its_checkpoints_checked(tmp_path: Path) -> None:
    (source,) = FORMAT_1.glob("random-*")
    folder = tmp_path / source.name
    shutil.copytree(source, folder)
    verdict = verify_run(folder, AGENT_RUN)
    assert verdict.problems == ()
    assert verdict.complete == [0, 1]
    assert "made by an older rlkit, which stored no sums" in verdict.notes[0]
    path = next(folder.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "is damaged" in verify_run(folder, AGENT_RUN).problems[0]


def test_runs_are_found_below_folders(folder: Path, tmp_path: Path) -> None:
    assert runs_below([folder]) == [folder]
    assert runs_below([tmp_path, folder]) == [folder]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"there is no run in .*empty or below"):
        runs_below([tmp_path / "empty"])
