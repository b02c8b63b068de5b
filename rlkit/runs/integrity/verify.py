"""Checks every file of a run against its sha256, and says which seeds are complete."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.runs import checkpoints
from rlkit.runs.kinds import RunKind
from rlkit.runs.record import (
    IDENTITY,
    RECORD,
    file_problem,
    read_record,
    read_rows,
    target_of,
)


@dataclass(frozen=True)
class SeedVerdict:
    """How one seed stands: complete, unfinished, failed or damaged."""

    seed: int
    state: str
    done: int  # environment steps or updates of its newest sound checkpoint


@dataclass(frozen=True)
class Verdict:
    """What the files of a run are found to be."""

    folder: Path
    what: str = ""  # was trained on what; empty if the record cannot be read
    status: str = ""
    target: int = 0  # of each seed, in the unit
    unit: str = ""
    seeds: tuple[SeedVerdict, ...] = ()
    problems: tuple[str, ...] = ()  # damage, one sentence each
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> list[int]:
        """The seeds that were trained to the end and whose files are sound."""
        return [each.seed for each in self.seeds if each.state == "complete"]

    def as_data(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {
            "run": str(self.folder),
            "what": self.what,
            "status": self.status,
            "target": self.target,
            "unit": self.unit,
            "sound": not self.problems,
            "seeds": [vars(each) for each in self.seeds],
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def runs_below(places: Iterable[str | Path]) -> list[Path]:
    """Return the folders of runs among some folders and anywhere below them.

    Raises:
        UsageError: there is none below one of them.
    """
    folders: dict[Path, None] = {}
    for place in map(Path, places):
        found = sorted(Path(root) for root, _, files in os.walk(place) if RECORD in files)
        if not found:
            raise UsageError(f"there is no run in {place} or below: no folder has a {RECORD}")
        folders |= dict.fromkeys(found)
    return list(folders)


def verify_run(folder: Path, kind: RunKind) -> Verdict:
    """Check every file of a run; what is wrong is in the verdict, not raised."""
    try:
        record = read_record(folder, kind)
    except RlkitError as error:
        return Verdict(folder, problems=(str(error),))
    sealed = IDENTITY in record
    problems: list[str] = []
    notes: list[str] = []
    if not sealed:
        notes.append(
            "it was made by an older rlkit, which stored no sums of csvs, record and figures: "
            "only their form was checked, and the checkpoints"
        )
    target = target_of(record, kind)
    seeds = []
    for seed in range(record["num_seeds"]):
        wrong = list(_problems_of_seed(folder, seed, sealed, notes))
        problems += wrong
        seeds.append(_verdict_of_seed(folder, seed, target, record, bool(wrong)))
    for name in record.get("files", {}):
        problem = file_problem(folder, record, name)
        if problem is not None:
            problems.append(problem)
    notes += [f"{path} is no part of the run" for path in _strangers(folder, record)]
    named = ("stage", "label") if "stage" in record else ("agent", "environment")
    return Verdict(
        folder,
        " on ".join(str(record[name]) for name in named),
        record["status"],
        target,
        kind.unit,
        tuple(seeds),
        tuple(dict.fromkeys(problems)),
        tuple(dict.fromkeys(notes)),
    )


def _problems_of_seed(folder: Path, seed: int, sealed: bool, notes: list[str]) -> Iterator[str]:
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", RlkitWarning)
        try:
            read_rows(folder, seed, sealed=sealed)
        except RlkitError as error:
            yield str(error)
        except OSError as error:
            yield f"reading the csv of seed {seed} in {folder} failed: {error.strerror}"
    notes += [str(one.message) for one in raised]
    for _, path in checkpoints.list_checkpoints(folder, seed):
        try:
            checkpoints.own_checkpoint(folder, seed, path)
        except ValueError as error:
            yield str(error)
    best = checkpoints.best_problem(folder, seed)
    if best is not None:
        yield best


def _verdict_of_seed(
    folder: Path, seed: int, target: int, record: dict[str, Any], damaged: bool
) -> SeedVerdict:
    done, state, _ = checkpoints.newest_checkpoint(folder, seed)
    if damaged:
        return SeedVerdict(seed, "damaged", done)
    if str(seed) in record["failures"]:
        return SeedVerdict(seed, "failed", done)
    complete = done >= target and not state.get(checkpoints.ROW_PENDING, False)
    return SeedVerdict(seed, "complete" if complete else "unfinished", done)


def _strangers(folder: Path, record: dict[str, Any]) -> list[Path]:
    """Return files in the folder of a run that it did not write."""
    seeds = range(record["num_seeds"])
    own = {RECORD, ".lock", "checkpoints", *record.get("files", {})}
    own |= {f"seed-{seed:03d}.csv" for seed in seeds}
    own |= {"reference.npz"} if "reference" in record else set()
    own |= {"answers.jsonl"}  # of a person, who may have been asked
    if IDENTITY not in record:  # nothing says which figures it has
        own |= {path.name for path in folder.glob("*.png")}
    strangers = [path for path in folder.iterdir() if path.name not in own]
    with contextlib.suppress(OSError):
        names = {f"seed-{seed:03d}" for seed in seeds}
        strangers += [p for p in (folder / "checkpoints").iterdir() if p.name not in names]
    return sorted(strangers)
