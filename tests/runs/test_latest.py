"""`latest` in place of a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import UsageError
from rlkit.runs.latest import kind_of, named_folder, names_run, require_free_name


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


@pytest.fixture
def mine(runs: Path) -> Path:
    """The folder of a run that is called mine."""
    folder = runs / "run-1"
    (folder / "run.json").write_text(json.dumps({"kind": "stage", "stage": "ppo", "alias": "mine"}))
    return folder


def test_a_run_is_found_by_its_name_here_and_in_another_folder(mine: Path, runs: Path) -> None:
    assert named_folder("mine", "stage") == Path("runs/run-1")
    assert named_folder("mine") == named_folder("runs/mine") == Path("runs/run-1")
    assert named_folder(runs / "mine", out="elsewhere") == mine
    with pytest.raises(
        UsageError, match=r"in elsewhere/ has .*, but runs/run-1 has it: give runs/"
    ):
        named_folder("mine", out="elsewhere")
    assert named_folder("other", out="elsewhere") == Path("other")
    assert kind_of(Path("mine")) == "stage"
    assert names_run("mine")
    assert not names_run("other")


def test_the_folder_of_a_run_comes_before_a_name_and_another_folder_does_not(
    mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    assert named_folder("mine") == Path("runs/run-1")
    (tmp_path / "mine" / "run.json").write_text("{}")
    assert named_folder("mine") == Path("mine")


def test_a_name_like_one_that_is_there_is_suggested(mine: Path) -> None:
    with pytest.raises(UsageError, match=r"no run in runs/ has this name\. Did you mean 'mine'"):
        named_folder("mime")
    with pytest.raises(UsageError, match=r"no run in runs/ has this name \(there are mine\)$"):
        named_folder("something-else")
    assert named_folder("elsewhere/something-else") == Path("elsewhere/something-else")


def test_a_name_of_two_runs_names_both(mine: Path, runs: Path) -> None:
    (runs / "copy").mkdir()
    (runs / "copy" / "run.json").write_bytes((mine / "run.json").read_bytes())
    with pytest.raises(UsageError, match="mine is the name of several runs: runs/copy, runs/run-1"):
        named_folder("mine")
    with pytest.raises(UsageError, match=r"--name.: 'mine' is the name of .*runs/copy already"):
        require_free_name("mine", mine)


def test_a_name_is_free_for_its_own_run_and_for_no_other(mine: Path, runs: Path) -> None:
    assert require_free_name("mine", mine) == "mine"
    with pytest.raises(UsageError, match=r"'mine' is the name of .*run-1 already; choose another"):
        require_free_name("mine", runs / "run-2")
    with pytest.raises(UsageError, match=r"'run-0' is the name of .*run-0 already"):
        require_free_name("run-0", runs / "run-2")


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "-a", ".", "latest", "uniform", "latest:x", "x" * 81, "größe", 3]
)
def test_what_is_no_name_is_rejected(name: Any, runs: Path) -> None:
    with pytest.raises(UsageError, match=r"option name \(--name\): expected up to 80 letters"):
        require_free_name(name, runs / "run-2")
