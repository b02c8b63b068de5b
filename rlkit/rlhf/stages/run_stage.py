"""`run_stage`: from the specification of a stage of RLHF to a finished run in its folder.

The seeds of a stage (supervised fine-tuning, a reward model, PPO, ...) are trained one after
another or in worker processes. The csv and the last checkpoint of a seed depend only on the
specification and the seed: not on other seeds, kills, interruptions or workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.determinism import prepared_torch
from rlkit.errors import RlkitError, SeedError, UsageError
from rlkit.files import available_bytes
from rlkit.options import require_count, require_typed
from rlkit.processes.sending import require_main_guard
from rlkit.rlhf.models.device import placing
from rlkit.rlhf.models.memory import Forecast, duration
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.rlhf.stages.stage_rows import StageRows
from rlkit.rlhf.stages.stage_run import STATE_PREFIX, StageRun
from rlkit.runs import checkpoints, curves, store
from rlkit.runs.execution import RunRequest, execute, is_finished, warn_about_similar_runs
from rlkit.runs.identity import content_name, differing_parts, versions
from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.latest import name_run, named_folder, require_free_name
from rlkit.runs.record import ALIAS, RECORD, read_record
from rlkit.runs.reports import Failure, Reports, Stopped
from rlkit.runs.restore import entries, restore, take_up
from rlkit.seeding import SeedStreams

Array = NDArray[Any]
_LARGE = 5e8  # bytes from which on a forecast is reported
DEVICE = "device"  # in run.json, where it is or was not the processor


class Stage(Protocol):
    """One seed of a stage, in memory.

    An optional attribute `last_value_metrics` names the metrics whose last value is in a row of
    the curve, rather than the mean over the updates since the previous row. An optional list
    `notes` holds messages to the user; it is emptied after each update.
    """

    num_updates: int  # of the whole training
    metrics: tuple[str, ...]  # the names that `update` may return

    def update(self) -> Mapping[str, float]:
        """Do one update, determined by the state.

        Returns:
            the metrics that were measured in this update.

        Raises:
            SeedError: this seed cannot continue, for example because its parameters diverged.
        """

    def state_dict(self) -> dict[str, Array]:
        """Return everything that changes, as plain numeric arrays."""

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned, to the last bit."""


Builder = Callable[[SeedStreams], Stage]


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """A stage and everything that its results depend on.

    The number of seeds is no part of it, and neither is `num_updates` unless a schedule spans the
    run: more of either continue in the same folder.
    """

    stage: str  # "sft", "reward", "ppo", ...
    label: str  # of the task, for the folder's name
    content: Mapping[str, Any]  # plain data that `build` depends on; digests of files and inputs
    sources: Mapping[str, Any] = field(default_factory=dict)  # where inputs are; no part of it
    experiment_seed: int
    num_updates: int  # of each seed
    spans_run: bool  # whether the results depend on num_updates from the start
    # An attribute `trial`, if there is one, builds a stage that only shows whether it can be built.
    build: Builder  # picklable if it is to run in worker processes
    record_every: int  # updates between rows of the curve
    save_every: int  # updates between checkpoints; the results do not depend on it
    device: str = "cpu"  # of the models; no part of the identity, but it is recorded

    def __post_init__(self) -> None:
        for name in ("experiment_seed", "num_updates", "record_every", "save_every"):
            least = 0 if name == "experiment_seed" else 1
            count = require_count(name, getattr(self, name), at_least=least)
            object.__setattr__(self, name, count)
        try:
            content = json.loads(json.dumps(dict(self.content), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the content of the stage {self.stage!r} is not plain data: {error}; give finite "
                "numbers, strings, lists and mappings, so that it can be stored and compared"
            ) from error
        object.__setattr__(self, "content", content)

    def identity(self) -> dict[str, Any]:
        """Return everything that the results depend on, as plain data."""
        identity: dict[str, Any] = {
            "kind": "stage",
            "stage": self.stage,
            "label": self.label,
            "content": self.content,
            "experiment_seed": self.experiment_seed,
            "record_every": self.record_every,
        }
        if self.spans_run:
            identity["num_updates"] = self.num_updates
        return identity

    def folder_name(self) -> str:
        """Return the stage, the label and ten digits of the sha256 of the identity."""
        return content_name(f"{self.stage}-{self.label}", self.identity())


def run_stage(
    spec: StageSpec,
    num_seeds: int,
    out: str | Path,
    *,
    workers: int = 1,
    reports: Reports | None = None,
    allow_drift: bool = False,
    name: str | None = None,
) -> StageRun:
    """Train the seeds of a stage, or continue where training was interrupted.

    Args:
        spec: the stage.
        num_seeds: number of seeds; more than before adds seeds to the same run.
        out: the folder in which the run gets a folder of its own.
        workers: processes that share the seeds; the results are the same for any number.
        reports: where to report progress.
        allow_drift: continue although versions differ from those the run began with; the run is
            then marked as not reproducible.
        name: by which the run is found as well as by its folder.

    Returns:
        the run; `run.failures` lists seeds that could not be finished.

    Raises:
        UsageError: an argument or the stage is not valid.
        Interrupted: a signal came; everything is saved, and the same call continues.
    """
    num_seeds = require_count("seeds", num_seeds, at_least=1, at_most=MOST_SEEDS)
    workers = require_count("workers", workers, at_least=1)
    allow_drift = require_typed("allow_drift", allow_drift, bool)
    require_main_guard(workers)
    folder = Path(os.path.abspath(out)) / spec.folder_name()
    reports = reports or Reports()
    names, notes = _devices(spec, folder)
    if name is not None:
        names[ALIAS] = _free_name(name, folder, spec)
    request = RunRequest(
        kind=STAGE_RUN,
        name=spec.stage,
        task=spec.label,
        identity=spec.identity(),
        sources=spec.sources,
        names=names,
        notes=notes,
        reproducible=not notes,
        target=spec.num_updates,
        versions=versions(),
        work=partial(run_seeds, spec),
    )
    with prepared_torch():
        if not (folder / RECORD).exists():
            _require_fit(spec, num_seeds)
        warn_about_similar_runs(request, folder, reports)
        store.prepare_folder(folder)
        if not is_finished(request, folder, num_seeds, reports):
            with store.locked(folder):
                execute(
                    request,
                    folder,
                    num_seeds,
                    workers=workers,
                    allow_drift=allow_drift,
                    reports=reports,
                )
        elif name is not None:
            name_run(folder, STAGE_RUN, name)
        return StageRun(folder, num_seeds=num_seeds)


def _free_name(name: str, folder: Path, spec: StageSpec) -> str:
    """Return a name that is free; where another run has it, say what differs from that run."""
    try:
        return require_free_name(name, folder)
    except UsageError as error:
        differing: list[str] = []
        with contextlib.suppress(RlkitError):
            record = read_record(named_folder(name, "stage", out=folder.parent), STAGE_RUN)
            differing = differing_parts(record, spec.identity())
        known = [part for part in differing if part.split(".")[0] in spec.identity()]
        if not known:
            raise
        parts = (p + " (its code)" if p.endswith("score.digest") else p for p in known)
        raise UsageError(f"{error}. It differs from this one in {', '.join(parts)}") from None


def _devices(spec: StageSpec, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the device for the record, unless it is the processor as ever, and what to say."""
    before = "cpu"
    if (folder / RECORD).exists():
        before = str(read_record(folder, STAGE_RUN).get(DEVICE, before))
    if before == spec.device == "cpu":
        return {}, []
    note = (
        f"trained on {spec.device}, where sums may be rounded differently each time"
        if before == spec.device or not (folder / RECORD).exists()
        else f"begun on {before} and continued on {spec.device}, which round differently"
    )
    return {DEVICE: spec.device}, [f"{note}: the run is not reproducible to the byte"]


def run_seeds(
    spec: StageSpec, folder: Path, seeds: Sequence[int], reports: Reports
) -> list[Failure]:
    """Train seeds one after another.

    Returns:
        the seeds that failed.

    Raises:
        Stopped: `reports.stop` returned true; the state is saved.
        UsageError: the stage cannot be built, or does not keep its contract.
        RlkitError: a seed has checkpoints, but none that is sound.
    """
    failures = []
    for seed in seeds:
        try:
            _run_seed(spec, folder, seed, reports)
        except SeedError as error:
            failures.append(Failure(seed, error.message, error.exit_code))
    return failures


def _run_seed(spec: StageSpec, folder: Path, seed: int, reports: Reports) -> None:
    done, state = take_up(folder, seed, "updates", reports)
    if done >= spec.num_updates:
        return
    reports.status("loading")
    stage = _build(spec, seed)
    announcement = _Announcement(stage, spec.num_updates - done, reports)
    rows = StageRows(stage.metrics, getattr(stage, "last_value_metrics", ()))
    path = curves.curve_path(folder, seed)
    if state:
        for prefix, part in ((STATE_PREFIX, stage), ("rows/", rows)):
            what = f"the {prefix[:-1]} of seed {seed} from its checkpoint in {folder}"
            restore(part, entries(state, prefix), what, exact=True)
    num_bytes = int(state["curve_bytes"]) if state else 0
    expected = checkpoints.begin_from(folder, seed, num_bytes)
    curve = curves.CurveFile(path, rows.columns, num_bytes, expected)
    # A run that is extended continues its csv after the last row on the grid, so that the row
    # at an end off the grid leaves no trace in it.
    on_the_grid = curve.sums.extent
    for number in range(done + 1, spec.num_updates + 1):
        metrics = _update(stage, spec, reports)
        announcement.updated()
        rows.observe(metrics)
        if status := _status(metrics):
            reports.status(status)
        notes: list[str] = getattr(stage, "notes", [])
        while notes:
            reports.note(f"seed {seed}, update {number}: {notes.pop(0)}")
        on_grid, at_end = number % spec.record_every == 0, number == spec.num_updates
        if on_grid or at_end:
            curve.append(rows.row(number))
            curve.flush()
        if on_grid:
            rows.start()
            on_the_grid = curve.sums.extent
        is_stopping = not at_end and reports.stop()
        if at_end or is_stopping or number % spec.save_every == 0:
            curve.sync()
            own = _state(stage, rows, on_the_grid.num_bytes)
            checkpoints.save_checkpoint(
                *(folder, seed, number, own), lines=curve.sums, continues=on_the_grid
            )
        reports.progress([seed], number)
        if is_stopping:
            raise Stopped(f"stopped at {number:,} updates of seed {seed}")


class _Announcement:
    """Reports what the training of a seed will need: before it begins, and after two updates.

    Args:
        stage: of which only a large one, with an attribute `forecast`, is announced.
        num_updates: that remain.
        reports: where to report.
    """

    def __init__(self, stage: Stage, num_updates: int, reports: Reports) -> None:
        self._num_updates, self._reports = num_updates, reports
        forecast: Forecast | None = getattr(stage, "forecast", None)
        self._is_large = forecast is not None and forecast.num_bytes > _LARGE
        if forecast is not None and self._is_large:
            reports.note(forecast.text(num_updates, available_bytes()))
        self._num_done, self._since = 0, time.monotonic()

    def updated(self) -> None:
        """Report the time that is left after the second update; the first loads libraries."""
        self._num_done += 1
        remaining = self._num_updates - self._num_done
        if self._is_large and self._num_done == 2 and remaining > 0:
            seconds = time.monotonic() - self._since
            self._reports.note(
                f"the second update took {duration(seconds)}: about "
                f"{duration(seconds * remaining)} for the other {remaining:,}"
            )
        self._since = time.monotonic()


def _status(metrics: Mapping[str, float]) -> str:
    """Return the metrics that progress shows, as text."""
    labels = {"score": "score", "kl": "KL", "held_out_loss": "held-out loss"}
    return ", ".join(f"{labels[x]} {metrics[x]:.3g}" for x in labels if x in metrics)


def _update(stage: Stage, spec: StageSpec, reports: Reports) -> Mapping[str, float]:
    before = torch.get_rng_state()
    metrics = stage.update()
    if not torch.equal(before, torch.get_rng_state()):
        reports.irreproducible(
            f"the stage {spec.stage!r} draws from torch's global generator, whose state is not "
            "saved: the run continues, but is not reproducible"
        )
    return metrics


def _build(spec: StageSpec, seed: int, build: Builder | None = None) -> Stage:
    with placing(spec.device):
        stage = (build or spec.build)(SeedStreams(spec.experiment_seed, seed))
    if stage.num_updates != spec.num_updates:
        raise UsageError(
            f"the stage {spec.stage!r} was built for {stage.num_updates} updates, but its "
            f"specification says {spec.num_updates}"
        )
    return stage


def _require_fit(spec: StageSpec, num_seeds: int) -> None:
    """Fail early if a stage cannot be built or an input run lacks a seed."""
    try:
        stage = _build(spec, num_seeds - 1, build=getattr(spec.build, "trial", spec.build))
    except SeedError:
        return  # the other seeds can be trained
    StageRows(stage.metrics, getattr(stage, "last_value_metrics", ()))


def _state(stage: Stage, rows: StageRows, curve_bytes: int) -> dict[str, Array]:
    state: dict[str, Array] = {"curve_bytes": np.array(curve_bytes)}
    for prefix, part in ((STATE_PREFIX, stage), ("rows/", rows)):
        for name, value in part.state_dict().items():
            if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "biufc":
                raise UsageError(
                    f"the state of the stage has {name!r} = {value!r:.80}: expected an array of "
                    "numbers, because nothing else is stored"
                )
            state[prefix + name] = np.asarray(value)
    return state
