"""Brings the seeds of a run to their end and keeps its record: the same for every kind of run."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlkit.errors import RlkitError, UsageError
from rlkit.runs import store
from rlkit.runs.record import FORMATS, RECORD, Kind, read_record
from rlkit.runs.reports import Failure, Reports, Stopped
from rlkit.runs.workers import StopSignals, Work, work_in_processes

Counter = Literal["num_env_steps", "num_updates"]
_UNITS = {"num_env_steps": "environment steps", "num_updates": "updates"}


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after saving.

    No `Exception`, so that a loop over many runs that catches those ends as well.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of a run."""

    kind: Kind
    name: str  # of the agent or stage
    task: str  # what it is trained on
    identity: Mapping[str, Any]  # everything that the results depend on, as plain data
    sources: Mapping[str, Any] = field(default_factory=dict)  # where inputs were found
    counter: Counter  # in what the way of a seed is counted
    target: int  # how far each seed is to come
    versions: Mapping[str, str]  # that the results may depend on
    work: Work  # brings seeds there
    caveats: Sequence[str] = ()  # what a reader of the results must know about the environment
    notes: Sequence[str] = ()  # other sentences for the user, known before the start
    reproducible: bool = True  # as far as was checked before the start
    resumable: bool = True  # whether the same call finds the run again


def carry_out(
    plan: Plan,
    folder: Path,
    num_seeds: int,
    *,
    workers: int,
    allow_drift: bool,
    reports: Reports,
) -> bool:
    """Do what is missing of a run whose folder this process has locked.

    Returns:
        whether anything was missing.

    Raises:
        UsageError: the run was begun with other versions.
        Interrupted: SIGINT or SIGTERM came; everything is saved, the same call goes on.
    """
    if is_finished(plan, folder, num_seeds, reports):
        return False
    seeds = [seed for seed in range(num_seeds) if not _is_done(folder, seed, plan.target)]
    record = _begin(plan, folder, num_seeds, seeds, allow_drift)
    _note_surplus(plan, record, reports)
    started, before = time.monotonic(), _amount_done(folder, range(num_seeds))
    notes: list[str] = record["notes"]

    def note(text: str) -> None:
        if text not in notes:
            notes.append(text)
            reports.note(text)

    def caveat(text: str) -> None:
        if text not in record["caveats"]:
            record["caveats"].append(text)
        note(text)

    def irreproducible(text: str) -> None:
        record["reproducible"] = False
        caveat(text)

    def end(status: str, failures: Sequence[Failure]) -> None:
        for seed in seeds:
            record["failures"].pop(str(seed), None)
        for failure in failures:
            content = {"message": failure.message, "exit_code": failure.exit_code}
            record["failures"][str(failure.seed)] = content
        record["status"] = status or _status(plan, record, folder)
        done = _amount_done(folder, range(num_seeds)) - before
        unit = plan.counter.removeprefix("num_")
        record["timing"].append({"seconds": round(time.monotonic() - started, 3), unit: done})
        store.write_json(folder / RECORD, record)

    # Listening before the record says that it runs: whoever reads that may send a signal.
    with StopSignals().watched() as stop:
        record["status"] = "running"
        store.write_json(folder / RECORD, record)
        reports.begin(f"{plan.name} on {plan.task}", num_seeds, plan.target)
        for s in range(num_seeds):
            reports.progress([s], _amount_done(folder, [s]))
        own = Reports(
            progress=reports.progress,
            note=note,
            stop=lambda: stop() or reports.stop(),
            irreproducible=irreproducible,
            caveat=caveat,
        )
        num_workers = min(workers, len(seeds))
        failures: list[Failure] = []
        try:
            if num_workers > 1:
                failures = work_in_processes(plan.work, folder, seeds, num_workers, own)
            elif seeds:
                failures = plan.work(folder, seeds, own)
        except BaseException as error:
            asked_to = isinstance(error, (Stopped, KeyboardInterrupt))
            with contextlib.suppress(RlkitError):  # what went wrong first is the answer
                end("interrupted" if asked_to else "failed", [])
            if not isinstance(error, Stopped):
                raise
            further = (
                "the same command goes on from there"
                if plan.resumable
                else "it can be opened there, but not continued, because it cannot be identified"
            )
            raise Interrupted(
                stop.received or 2, f"{error}; everything is saved in {folder}: {further}"
            ) from None
        end("", failures)
    return True


def is_finished(plan: Plan, folder: Path, num_seeds: int, reports: Reports) -> bool:
    """Whether a run has all that is asked for; it can then be opened without its lock."""
    if not (folder / RECORD).exists():
        return False
    record = read_record(folder, plan.kind)
    seeds = range(num_seeds)
    if record["status"] != "finished" or not all(_is_done(folder, s, plan.target) for s in seeds):
        return False
    _note_surplus(plan, record, reports)
    if record["format"] != FORMATS[plan.kind]:
        reports.note(
            f"the run {folder} was made by an older rlkit, which did not record everything that "
            "its results depend on; to be sure of them, train anew with another --out"
        )
    reports.note(f"the run is finished already: {folder}")
    return True


def note_siblings(plan: Plan, folder: Path, reports: Reports) -> None:
    """Say of which runs a new one is not the longer or shorter form, but might be taken for it."""
    if folder.exists() or plan.counter not in plan.identity:
        return
    identity = json.loads(json.dumps(plan.identity))
    unit = _UNITS[plan.counter].split()[-1]
    for path in sorted(folder.parent.glob(f"{folder.name[:-10]}*/{RECORD}")):
        with contextlib.suppress(RlkitError):
            record = read_record(path.parent, plan.kind)
            if all(
                record.get(name) == value
                for name, value in identity.items()
                if name != plan.counter
            ):
                reports.note(
                    f"a schedule of {plan.name} spans the run, so {plan.target:,} {unit} are "
                    f"another configuration than the {record[plan.counter]:,} of "
                    f"{path.parent.name}: this is a run of its own"
                )


def _begin(
    plan: Plan,
    folder: Path,
    num_seeds: int,
    unfinished: Sequence[int],
    allow_drift: bool,
) -> dict[str, Any]:
    """The run's record, new or read back and brought up to what is asked now."""
    counter, target = plan.counter, plan.target
    if not (folder / RECORD).exists():
        return {
            "format": FORMATS[plan.kind],
            "status": "new",
            **plan.identity,
            **({"sources": dict(plan.sources)} if plan.sources else {}),
            counter: target,
            "num_seeds": num_seeds,
            "versions": dict(plan.versions),
            "torch_threads": 1,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "reproducible": plan.reproducible,
            "failures": {},
            "caveats": list(plan.caveats),
            "notes": list(plan.notes),
            "timing": [],
        }
    record = read_record(folder, plan.kind)
    if unfinished:
        require_continuable(plan, folder, record, allow_drift=allow_drift)
        drift = _drift(plan, record)
        if drift:
            record["reproducible"] = False
            record["notes"].append(f"went on with other versions: {drift}")
    record["reproducible"] = record["reproducible"] and plan.reproducible
    caveats = record.setdefault("caveats", [])
    caveats += [text for text in plan.caveats if text not in caveats]
    record["notes"] += [text for text in plan.notes if text not in record["notes"]]
    record[counter] = max(record[counter], target)
    record["num_seeds"] = max(record["num_seeds"], num_seeds)
    return record


def require_continuable(
    plan: Plan, folder: Path, record: Mapping[str, Any], *, allow_drift: bool
) -> None:
    """Refuse to continue a run that would not go on as it began.

    Raises:
        UsageError: it was begun in an older format, or with other versions.
    """
    if record["format"] != FORMATS[plan.kind]:
        raise UsageError(
            f"the run {folder} was begun by an older rlkit (format {record['format']}), which "
            "seeded episodes with other integers, so it cannot be continued. It can still be "
            "opened, plotted and evaluated; to train anew, choose another --out or move it away"
        )
    drift = _drift(plan, record)
    if drift and not allow_drift:
        raise UsageError(
            f"the run {folder} was begun with other versions ({drift}), so going on may not "
            "give the same results; install those, start anew with another --out, or go on "
            "with --allow-drift, which marks the run as not reproducible"
        )


def _drift(plan: Plan, record: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {record['versions'].get(name)} -> {now}"
        for name, now in plan.versions.items()
        if record["versions"].get(name) != now
    )


def _note_surplus(plan: Plan, record: Mapping[str, Any], reports: Reports) -> None:
    counter, target = plan.counter, plan.target
    if target < record[counter]:
        rest = (
            f"its rows and scores are given up to the {target:,} that were asked for"
            if plan.kind == "agent"
            else f"{target:,} were asked for; nothing is cut off"
        )
        reports.note(
            f"the run already has {record[counter]:,} {_UNITS[counter]} of each seed; {rest}"
        )


def _status(plan: Plan, record: Mapping[str, Any], folder: Path) -> str:
    """How the run as a whole stands: a call may have asked for less than it has."""
    if record["failures"]:
        return "failed"
    seeds = range(record["num_seeds"])
    done = all(_is_done(folder, seed, record[plan.counter]) for seed in seeds)
    return "finished" if done else "interrupted"


def _is_done(folder: Path, seed: int, target: int) -> bool:
    """Whether a seed's newest checkpoint, which must be sound, is at the end, its row written."""
    checkpoints = store.list_checkpoints(folder, seed)
    if not checkpoints or checkpoints[0][0] < target:
        return False
    try:
        state = store.read_checkpoint(checkpoints[0][1])
    except ValueError:
        return False
    return not state.get(store.ROW_PENDING, False)


def _amount_done(folder: Path, seeds: Iterable[int]) -> int:
    return sum(
        checkpoints[0][0] for seed in seeds if (checkpoints := store.list_checkpoints(folder, seed))
    )
