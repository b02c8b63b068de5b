"""Trains the seeds of a run and keeps its record, for every kind of run."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps, loads
from pathlib import Path
from typing import Any, Protocol

from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.files import write_atomically
from rlkit.runs import checkpoints
from rlkit.runs.identity import arithmetic, identity_digest
from rlkit.runs.integrity.seals import finite
from rlkit.runs.integrity.trust import sign
from rlkit.runs.kinds import RunKind
from rlkit.runs.record import IDENTITY, RECORD, STOPPED, read_record, read_rows, write_record
from rlkit.runs.record import target_of as target_of  # for those who execute
from rlkit.runs.reports import Failure, Reports, Stopped, StopSignals, Watch, WatchError
from rlkit.runs.reports import Interrupted as Interrupted  # `execute` raises it
from rlkit.runs.workers import Work, work_in_processes


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run, and how far a call wants its seeds to be trained."""

    kind: RunKind
    name: str  # of the agent or stage
    task: str  # what it is trained on
    identity: Mapping[str, Any]  # everything that the results depend on, as plain data
    sources: Mapping[str, Any] = field(default_factory=dict)  # where inputs were found
    names: Mapping[str, str] = field(default_factory=dict)  # by which code is found again
    target: int  # how far to train each seed, in the unit of the kind
    versions: Mapping[str, str]  # that the results may depend on
    work: Work  # trains seeds up to the target
    worker_imports: Sequence[str] = ()  # modules that the work needs, besides those of the kind
    caveats: Sequence[str] = ()  # what a reader of the results must know about the environment
    notes: Sequence[str] = ()  # other sentences for the user, known before the start
    reproducible: bool = True  # as far as was checked before the start
    resumable: bool = True  # whether the same call finds the run again
    # What may end the run before its target, by name, and how such a run is trained further.
    stoppers: Mapping[str, str] = field(default_factory=dict)

    def target_in(self, record: Mapping[str, Any]) -> int:
        """Return how far seeds are to be trained: less than the target where a stopper ended it."""
        stopped = record.get(STOPPED)
        if stopped is None or stopped["by"] not in self.stoppers:
            return self.target
        return min(self.target, int(stopped["at"]))


class RunWatch(Watch, Protocol):
    """A watch of a whole run, in the process that keeps its record."""

    @property
    def stopped(self) -> dict[str, Any] | None:
        """Where, by what and why the run was ended, for its record; None if it was not."""

    def begin(self, folder: Path, num_seeds: int, record: Mapping[str, Any]) -> None:
        """Take what the seeds have on the disk. Called before the first step."""

    def end(self) -> None:
        """Let go of what is open."""


def execute(
    request: RunRequest,
    folder: Path,
    num_seeds: int,
    *,
    workers: int,
    allow_drift: bool,
    reports: Reports,
    watch: RunWatch | None = None,
) -> bool:
    """Do the missing part of a run whose folder this process has locked.

    Returns:
        whether anything was missing.

    Raises:
        UsageError: the run was begun with other versions.
        Interrupted: a signal came; everything is saved, and the same call continues.
    """
    if is_finished(request, folder, num_seeds, reports):
        return False
    record, seeds = _begin(request, folder, num_seeds, allow_drift, reports)
    _note_surplus(request, record, reports)
    journal = _Journal(request, folder, record, num_seeds, seeds, watch)
    # Listening before the record says that it runs: whoever reads that may send a signal.
    with StopSignals().watched() as stop:
        journal.sign(reports)
        journal.start(reports)
        try:
            if watch is not None:
                watch.begin(folder, num_seeds, record)
            failures = _train(request, folder, seeds, workers, journal.reports(reports, stop))
        except BaseException as error:
            requested = isinstance(error, (Stopped, WatchError, KeyboardInterrupt))
            with contextlib.suppress(RlkitError):  # the first error is the one to raise
                journal.end("interrupted" if requested else "failed", [])
            if isinstance(error, Stopped):
                raise _interruption(error, request, folder, stop.received) from None
            raise
        journal.end("", failures)
    if stop.received is not None:  # after the last step: what follows the run must not start
        text = f"stopped when the seeds were trained; everything is saved in {folder}"
        raise Interrupted(stop.received, text)
    return True


def _train(
    request: RunRequest, folder: Path, seeds: Sequence[int], workers: int, reports: Reports
) -> list[Failure]:
    num_workers = min(workers, len(seeds))
    if num_workers > 1:
        return work_in_processes(
            *(request.work, folder, seeds, num_workers, reports),
            kind=request.kind,
            imports=request.worker_imports,
        )
    return request.work(folder, seeds, reports) if seeds else []


def _interruption(
    error: Stopped, request: RunRequest, folder: Path, signal: int | None
) -> Interrupted:
    further = (
        "the same command continues from there"
        if request.resumable
        else "it can be opened there, but not continued, because it cannot be identified"
    )
    return Interrupted(signal or 2, f"{error}; {error.kept} in {folder}: {further}")


class _Journal:
    """Keeps the record of a run during training: its notes, its failures and its end."""

    def __init__(
        self,
        request: RunRequest,
        folder: Path,
        record: dict[str, Any],
        num_seeds: int,
        seeds: Sequence[int],
        watch: RunWatch | None,
    ) -> None:
        self._request, self._folder, self._record = request, folder, record
        self._num_seeds, self._seeds, self._watch = num_seeds, seeds, watch
        self._reports = Reports()
        self._started, self._before = time.monotonic(), _amount_done(folder, range(num_seeds))

    def sign(self, reports: Reports) -> None:
        """Note that the run is trained on this machine, so that its code may be run again."""
        problem = sign(self._record)
        if problem is not None and self._request.resumable and self._request.sources:
            reports.note(problem)

    def start(self, reports: Reports) -> None:
        """Write that the run is running, and report where its seeds are."""
        self._reports, self._record["status"] = reports, "running"
        write_record(self._folder, self._record)
        request = self._request
        reports.begin(f"{request.name} on {request.task}", self._num_seeds, request.target)
        for seed in range(self._num_seeds):
            reports.progress([seed], _amount_done(self._folder, [seed]))

    def reports(self, reports: Reports, stop: StopSignals) -> Reports:
        """Return reports that are recorded and then handed to `reports`."""

        def note(text: str) -> None:
            if text not in self._record["notes"]:
                self._record["notes"].append(text)
                reports.note(text)

        def caveat(text: str) -> None:
            if text not in self._record["caveats"]:
                self._record["caveats"].append(text)
            note(text)

        def irreproducible(text: str) -> None:
            self._record["reproducible"] = False
            caveat(text)

        return Reports(
            progress=reports.progress,
            status=reports.status,
            note=note,
            stop=lambda: stop() or reports.stop(),
            irreproducible=irreproducible,
            caveat=caveat,
            watch=self._watch,
        )

    def end(self, status: str, failures: Sequence[Failure]) -> None:
        """Write how the run ended; without a status, as its seeds stand."""
        request, folder, record = self._request, self._folder, self._record
        for seed in self._seeds:
            record["failures"].pop(str(seed), None)
        for failure in failures:
            content = {"message": failure.message, "exit_code": failure.exit_code}
            record["failures"][str(failure.seed)] = content
        if self._watch is not None:
            self._watch.end()
            self._note_stop(self._watch.stopped)
        record["status"] = status or _status(request, record, folder)
        done = _amount_done(folder, range(self._num_seeds)) - self._before
        seconds = round(time.monotonic() - self._started, 3)
        record["timing"].append({"seconds": seconds, request.kind.timing_unit: done})
        self._write_traces(failures)
        for seed in range(self._num_seeds):  # also rows that no checkpoint covers, of a failure
            with contextlib.suppress(RlkitError, OSError):
                checkpoints.cover_rows(folder, seed)
        write_record(folder, record)

    def _note_stop(self, stopped: Mapping[str, Any] | None) -> None:
        """Store where the run was ended, and keep the checkpoints of that step alone.

        Of a run that is trained to its target the last two are kept, at steps known in advance.
        """
        if stopped is None:
            return
        kind, record = self._request.kind, self._record
        if record.get(STOPPED) != stopped and stopped["at"] < record[kind.counter]:
            self._reports.note(
                f"stopped at {stopped['at']:,} of {record[kind.counter]:,} {kind.unit} per seed by "
                f"{stopped['by']}: {stopped['reason']}"
            )
        record[STOPPED] = dict(stopped)
        for seed in range(self._num_seeds):
            kept = checkpoints.list_checkpoints(self._folder, seed)
            if kept and kept[0][0] == stopped["at"]:
                checkpoints.keep_newest(self._folder, seed)

    def _write_traces(self, failures: Sequence[Failure]) -> None:
        files = self._record.setdefault("files", {})
        traces = {failure.seed: failure.trace.encode(errors="replace") for failure in failures}
        for seed in self._seeds:
            path = trace_path(self._folder, seed)
            if traces.get(seed):
                write_atomically(path, traces[seed])
                files[path.name] = hashlib.sha256(traces[seed]).hexdigest()
            elif path.exists():
                path.unlink()
                files.pop(path.name, None)


def trace_path(folder: Path, seed: int) -> Path:
    """Return the file with the traceback of a seed that failed in the user's code."""
    return folder / f"failure-{seed:03d}.txt"


def is_finished(request: RunRequest, folder: Path, num_seeds: int, reports: Reports) -> bool:
    """Return whether a run has all that is requested; then it can be opened without its lock."""
    if not (folder / RECORD).exists():
        return False
    record = read_record(folder, request.kind)
    seeds, target = range(num_seeds), request.target_in(record)
    if record["status"] != "finished" or not all(_is_done(folder, seed, target) for seed in seeds):
        return False
    require_same(request, folder, record)
    _check_files(folder, record, reports)
    _note_surplus(request, record, reports)
    if record["format"] != request.kind.format:
        reports.note(
            f"the run {folder} was made by an older rlkit, which did not record everything that "
            "its results depend on; to be sure of them, train again with another --out"
        )
    why = further = ""
    if target < request.target:
        by = record[STOPPED]["by"]
        why = f", stopped at {target:,} {request.kind.unit} per seed by {by}"
        further = f"; {request.stoppers[by]}"
    reports.note(f"the run is already finished{why}: {folder}{further}")
    return True


def warn_about_similar_runs(request: RunRequest, folder: Path, reports: Reports) -> None:
    """Note existing runs that look like a longer or shorter version of a new one but are not."""
    kind = request.kind
    if folder.exists() or kind.counter not in request.identity:
        return
    unit = kind.unit.split()[-1]
    for path in sorted(folder.parent.glob(f"{folder.name[:-10]}*/{RECORD}")):
        with contextlib.suppress(RlkitError):
            record = read_record(path.parent, kind)
            same_but_steps = {**request.identity, kind.counter: record.get(kind.counter)}
            if record.get(IDENTITY) == identity_digest(same_but_steps):
                reports.note(
                    f"a schedule of {request.name} spans the run, so {request.target:,} {unit} are "
                    f"another configuration than the {record[kind.counter]:,} of "
                    f"{path.parent.name}: this is a separate run"
                )


def _begin(
    request: RunRequest,
    folder: Path,
    num_seeds: int,
    allow_drift: bool,
    reports: Reports,
) -> tuple[dict[str, Any], list[int]]:
    """Return the run's record, new or updated to what is requested now, and the seeds to train."""
    counter, target = request.kind.counter, request.target
    if not (folder / RECORD).exists():
        unfinished = [s for s in range(num_seeds) if not _is_done(folder, s, target)]
        return _new_record(request, num_seeds), unfinished
    record = read_record(folder, request.kind)
    require_same(request, folder, record)
    if record["status"] == "running":  # and its lock is ours
        reports.note(
            f"the process that trained {folder} before ended without a word, as by a kill, a crash "
            f"or os._exit; training continues from the last checkpoints{request.kind.crash_hint}"
        )
    if request.sources:
        record["sources"] = dict(request.sources)
    record.update(request.names)
    if IDENTITY not in record:  # begun by an older rlkit
        record[IDENTITY] = identity_digest(request.identity)
        for seed in range(record["num_seeds"]):
            checkpoints.adopt(folder, seed, record[IDENTITY])
    _check_files(folder, record, reports)
    aim = request.target_in(record)
    if STOPPED in record and aim > record[STOPPED]["at"]:  # by something that this call has not
        del record[STOPPED]
    unfinished = [seed for seed in range(num_seeds) if not _is_done(folder, seed, aim)]
    if unfinished:
        require_continuable(request, folder, record, allow_drift=allow_drift)
        drift = _drift(request, record)
        if drift:
            record["reproducible"] = False
            record["notes"].append(f"continued with other versions: {drift}")
        _note_arithmetic(record, reports)
    record["reproducible"] = record["reproducible"] and request.reproducible
    caveats = record.setdefault("caveats", [])
    caveats += [text for text in request.caveats if text not in caveats]
    record["notes"] += [text for text in request.notes if text not in record["notes"]]
    record[counter] = max(record[counter], target)
    record["num_seeds"] = max(record["num_seeds"], num_seeds)
    return record, unfinished


def _new_record(request: RunRequest, num_seeds: int) -> dict[str, Any]:
    return {
        "format": request.kind.format,
        "status": "new",
        **request.identity,
        IDENTITY: identity_digest(request.identity),
        **({"sources": dict(request.sources)} if request.sources else {}),
        **request.names,
        request.kind.counter: request.target,
        "num_seeds": num_seeds,
        "versions": dict(request.versions),
        "arithmetic": arithmetic(),
        "torch_threads": 1,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "reproducible": request.reproducible,
        "failures": {},
        "caveats": list(request.caveats),
        "notes": list(request.notes),
        "timing": [],
    }


def require_same(request: RunRequest, folder: Path, record: Mapping[str, Any]) -> None:
    """Require that the record in a folder is that of a run.

    Raises:
        UsageError: it is that of a run of other settings, code or environment.
    """
    if record["format"] != request.kind.format:  # it recorded too little; its name was found
        return
    expected = loads(dumps(finite(dict(request.identity)), default=repr))
    digest = identity_digest(request.identity)
    known = expected if IDENTITY in record else expected.keys() & record.keys()  # older: fewer
    differing = [name for name in known if record.get(name) != expected[name]]
    if record.get(IDENTITY, digest) != digest or differing:
        got = record.get(IDENTITY, "none")[:10]
        raise UsageError(
            f"{folder} holds another run: expected the identity {digest[:10]}, got {got}"
            f"{' with another ' if differing else ''}{', '.join(sorted(differing))}. Rename the "
            "folder to what it was, or choose another --out"
        )


def _check_files(folder: Path, record: Mapping[str, Any], reports: Reports) -> None:
    """Require that the csv of each seed holds what was written; note other damage.

    The newest checkpoints are checked where they are read, and figures where they are drawn.

    Raises:
        RlkitError: a csv does not; the message names the line.
    """
    if IDENTITY not in record:
        return
    with warnings.catch_warnings():  # of rows that no checkpoint covers: they are written anew
        warnings.simplefilter("ignore", RlkitWarning)
        for seed in range(record["num_seeds"]):
            read_rows(folder, seed, sealed=True)
    for seed in range(record["num_seeds"]):
        for _, path in checkpoints.list_checkpoints(folder, seed)[1:]:
            try:
                checkpoints.own_checkpoint(folder, seed, path)
            except ValueError as error:
                reports.note(f"{error}; it is not needed, because there is a newer one")


def require_continuable(
    request: RunRequest, folder: Path, record: Mapping[str, Any], *, allow_drift: bool
) -> None:
    """Reject a run that would not continue as it began.

    Raises:
        UsageError: it was begun in an older format, or with other versions.
    """
    kind = request.kind
    if record["format"] != kind.format:
        raise UsageError(
            f"the run {folder} was begun by an older rlkit (format {record['format']}), "
            f"{kind.older_formats[record['format']]}, so it cannot be continued. It can still be "
            "opened, plotted and evaluated; to train again, choose another --out or move it away"
        )
    drift = _drift(request, record)
    if drift and not allow_drift:
        raise UsageError(
            f"the run {folder} was begun with other versions ({drift}), so continuing may not "
            "give the same results; install those, start again with another --out, or continue "
            "with --allow-drift, which marks the run as not reproducible"
        )


def _note_arithmetic(record: dict[str, Any], reports: Reports) -> None:
    """Mark a run that is continued with instructions that may round differently."""
    before, now = record.get("arithmetic"), arithmetic()
    if before in (None, now):  # None: begun by an older rlkit
        return
    record["reproducible"] = False
    text = f"continued with other arithmetic, so the last digits may differ: {before} -> {now}"
    record["notes"].append(text)
    reports.note(text)


def _drift(request: RunRequest, record: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {record['versions'].get(name)} -> {now}"
        for name, now in request.versions.items()
        if record["versions"].get(name) != now
    )


def _note_surplus(request: RunRequest, record: Mapping[str, Any], reports: Reports) -> None:
    kind, target = request.kind, request.target
    if target < record[kind.counter]:
        reports.note(
            f"the run already has {record[kind.counter]:,} {kind.unit} per seed; "
            f"{kind.surplus.format(target=target)}"
        )


def _status(request: RunRequest, record: Mapping[str, Any], folder: Path) -> str:
    """Return the status of the run as a whole: a call may have requested less than it has."""
    if record["failures"]:
        return "failed"
    target = target_of(record, request.kind)
    done = all(_is_done(folder, seed, target) for seed in range(record["num_seeds"]))
    return "finished" if done else "interrupted"


def _is_done(folder: Path, seed: int, target: int) -> bool:
    """Return whether a seed's newest checkpoint is sound and at the target, its row written."""
    kept = checkpoints.list_checkpoints(folder, seed)
    if not kept or kept[0][0] < target:
        return False
    try:
        state = checkpoints.own_checkpoint(folder, seed, kept[0][1])
    except ValueError:
        return False
    return not state.get(checkpoints.ROW_PENDING, False)


def _amount_done(folder: Path, seeds: Iterable[int]) -> int:
    kept = [checkpoints.list_checkpoints(folder, seed) for seed in seeds]
    return sum(one[0][0] for one in kept if one)
