"""`latest` in place of a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlkit.errors import UsageError
from rlkit.runs.latest import kind_of, named_folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` of four runs, the oldest first, and of two that are none."""
    monkeypatch.chdir(tmp_path)
    kinds = [{"stage": "sft"}, {"stage": "ppo"}, {"stage": "reward"}, {"agent": "q-learning"}]
    for i, kind in enumerate([*kinds, None, {}]):
        file = tmp_path / "runs" / f"run-{i}" / "run.json"
        file.parent.mkdir(parents=True)
        file.write_text("{" if kind is None else json.dumps({"kind": "stage"} | kind))
        os.utime(file, ns=(i, i))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("path", "key", "among", "expected"),
    [
        ("latest", "stage", (), "run-2"),
        ("latest", "stage", ("sft", "ppo"), "run-1"),
        ("latest:sft", "stage", ("sft", "ppo"), "run-0"),
        ("latest", "agent", (), "run-3"),
    ],
)
def test_latest_is_the_newest_run_that_fits(
    path: str, key: str, among: tuple[str, ...], expected: str, runs: Path
) -> None:
    assert named_folder(path, key, among=among).name == expected
    assert named_folder(path, key, among=among, out=runs) == runs / expected


def test_other_paths_are_folders_also_one_that_is_called_latest(runs: Path) -> None:
    assert named_folder("runs/run-7", "stage") == Path("runs/run-7")
    Path("latest").mkdir()
    assert named_folder("latest", "stage") == Path("latest")


@pytest.mark.parametrize(
    ("path", "among"), [("latest:dpo", ()), ("latest:reward", ("sft", "ppo")), ("latest", ("dpo",))]
)
def test_a_run_that_is_not_there_is_reported_with_what_would_fit(
    path: str, among: tuple[str, ...], runs: Path
) -> None:
    fitting = ", ".join(sorted(among)) or "dpo"
    with pytest.raises(UsageError, match=f"no such run in runs/ .expected one of {fitting}."):
        named_folder(path, "stage", among=among)


def test_the_kind_of_a_run_is_read_from_its_record(runs: Path) -> None:
    assert kind_of(runs / "run-0") == "stage"
    assert kind_of(runs / "nothing") is None
    assert kind_of(Path("latest:q-learning")) == "stage"  # as written above
    assert kind_of(Path("latest:lspi")) is None
