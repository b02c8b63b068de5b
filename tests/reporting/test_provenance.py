"""Settings, commands, versions, hashes, and what falls short."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import rlkit
from rlkit.reporting import provenance
from rlkit.runs.record import command_line


def test_settings_that_differ_are_apart_from_those_that_are_shared(compared: Path) -> None:
    learner, chance = (rlkit.load(next(compared.glob(f"{n}-*"))) for n in ("q-learning", "random"))
    differing, shared = provenance.differing_settings({"learner": learner, "chance": chance})
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in differing.rows}
    assert rows["agent"] == ["q-learning", "random"]
    assert rows["epsilon_steps"] == ["500", "-"]
    common = {row[0].text: row[1].text for row in shared.rows}
    assert common["num_env_steps"] == "1000"
    assert common["env_args"] == '{"is_slippery": false}'
    assert not rows.keys() & common.keys()


def test_hashes_are_those_of_the_files(trained_folder: Callable[..., Path]) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    rows = {row[1].text: row[2].text for row in provenance.hashes_table({"a": run}).rows}
    for name in ("run.json", "seed-000.csv", "seed-001.csv"):
        assert rows[name] == hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
    assert rows["everything that the results depend on"] == run.record["identity"]


def test_versions_are_one_column_where_they_are_the_same(compared: Path) -> None:
    runs = {path.name: rlkit.load(path) for path in compared.glob("*-FrozenLake-v1-*")}
    table = provenance.versions_table(runs)
    assert [column.name for column in table.columns] == ["package", "version"]
    next(iter(runs.values())).record["versions"]["numpy"] = "1.0"
    assert len(provenance.versions_table(runs).columns) == 3


def test_a_command_is_that_of_rlkit_or_of_a_script() -> None:
    assert command_line({"command": ["rlkit", "train", "a b"]}) == "rlkit train 'a b'"
    assert command_line({"command": ["__main__.py", "train"]}) == "rlkit train"
    assert command_line({"command": ["my.py", "--seeds", "2"]}) == "python my.py --seeds 2"


def test_a_changed_file_falls_short(trained_folder: Callable[..., Path]) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    before = provenance.shortcomings(run)
    checkpoint = next(run.folder.glob("**/*.npz"), None) or next(run.folder.glob("checkpoints/*"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    (new,) = set(provenance.shortcomings(run)) - set(before)
    assert checkpoint.name in new


def test_a_run_that_was_stopped_says_by_what(trained_folder: Callable[..., Path]) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    run.record["stopped"] = {"at": 300, "by": "--stop-at", "reason": "the interval passed 0.5"}
    assert (
        "it was stopped at 300 of 600 steps by --stop-at: the interval passed 0.5"
        in provenance.shortcomings(run)
    )
