"""Trials: one setting each, trained as a run on disk until its end or until it loses the race."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.analysis.intervals import Interval
from rlkit.errors import RlkitError, RlkitWarning
from rlkit.runs.record import IDENTITY, RECORD, read_record, read_rows
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.prepare import Prepared
from rlkit.training.run import Run
from rlkit.training.train import train_prepared
from rlkit.training.tuning.proposals import Result
from rlkit.training.tuning.racing import TrialCurve, objective, step_of_stop
from rlkit.training.watching.callbacks import STOP, Callback
from rlkit.training.watching.progress import Progress
from rlkit.training.watching.watch import Watching

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting, and what became of it.

    Args:
        number: of the trial, from 0.
        params: value by option that is searched.
        origin: "start" for the setting that the search starts from, "final" for one of the best
            on the seeds of the final, else "proposed".
        state: "finished", "stopped" by the race, or "failed".
        steps: environment steps of each seed until then.
        interval: of the mean over seeds, of the final returns or those at the stop; its lower end
            is the objective of a finished trial. None of one that failed.
        scores: final returns by seed, of a finished trial.
        message: why it failed.
        same_as: the trial before it that had the same setting, whose results it has.
        folder: of the run; None where the agent rejected the setting.
    """

    number: int
    params: Mapping[str, Any]
    origin: str
    state: str
    steps: int = 0
    interval: Interval | None = None
    scores: tuple[float, ...] = ()
    message: str = ""
    same_as: int | None = None
    folder: Path | None = None
    curve: TrialCurve | None = field(default=None, repr=False, compare=False)

    @property
    def rank(self) -> tuple[float, float, int]:
        """What orders finished trials: bound, then that of the whole curve, then the first."""
        assert self.interval is not None
        assert self.curve is not None
        return self.interval.low, self.curve.bound_of_area, -self.number

    @property
    def result(self) -> Result:
        """The trial as the sampler sees it."""
        if self.interval is None:
            return Result(self.params)
        if self.state == FINISHED:
            return Result(self.params, value=self.interval.low)
        return Result(self.params, stopped_at=(self.steps, self.interval.estimate))


@dataclass(frozen=True, kw_only=True)
class Racing:
    """What the race of a trial depends on."""

    finished: Sequence[TrialCurve]  # the trials before it that were trained to the end
    num_seeds: int
    budget: int  # environment steps of one seed
    every: int  # environment steps between rows
    column: str  # of the csv with the returns

    def curve(self, rows: Callable[[int], Mapping[str, Any]]) -> TrialCurve:
        """Return the rows that all seeds have; `rows` gives the columns of a seed."""
        columns = [rows(seed) for seed in range(self.num_seeds)]
        number = min(len(each.get(self.column, ())) for each in columns)
        if not number:
            return TrialCurve(np.zeros(0), np.zeros((self.num_seeds, 0)))
        returns = np.stack([each[self.column][:number] for each in columns])
        return TrialCurve(columns[0]["num_env_steps"][:number], returns)

    def stop(self, curve: TrialCurve) -> int | None:
        """Return the step at which the trial is stopped; None where it is not."""
        return step_of_stop(curve, self.finished, budget=self.budget, every=self.every)

    def callback(self) -> Callback:
        """Return a function that stops the training of a trial at the row at which it loses."""

        def race(progress: Progress) -> str | None:
            steps, returns = (progress.rows[name] for name in ("num_env_steps", self.column))
            return None if self.stop(TrialCurve(steps[0], returns)) is None else STOP

        race.__qualname__ = "race of rlkit tune"  # for the record of the run
        return race


def train_trial(
    trial: Trial, prepared: Prepared, racing: Racing, workers: int, reports: Reports
) -> Trial:
    """Train a trial until its end or its stop; return it with what became of it.

    Raises:
        Interrupted: a signal came; everything is saved.
        RlkitError: the run in its folder is damaged or was begun with other versions.
    """
    folder = prepared.folder
    if not _failures(folder, racing.num_seeds):
        train_prepared(
            prepared,
            racing.num_seeds,
            workers=workers,
            watching=Watching(callbacks=(racing.callback(),)) if racing.finished else None,
            figure=False,  # it would take longer than a trial of a table
            reports=reports,
        )
    return _outcome(dataclasses.replace(trial, folder=folder), racing)


def _failures(folder: Path, num_seeds: int) -> dict[int, str]:
    """Return the reasons of the seeds that failed; a trial that has some is not trained any more.

    In the final a run may have more seeds than are looked at.
    """
    if not (folder / RECORD).exists():
        return {}
    failures = read_record(folder, AGENT_RUN)["failures"]
    return {int(s): one["message"] for s, one in failures.items() if int(s) < num_seeds}


def _stored_curve(folder: Path, record: Mapping[str, Any], racing: Racing) -> TrialCurve:
    """Return the rows of the trial that are safe on the disk."""
    with warnings.catch_warnings():  # of rows that no checkpoint covers: they are written anew
        warnings.simplefilter("ignore", RlkitWarning)
        return racing.curve(lambda seed: read_rows(folder, seed, sealed=IDENTITY in record))


def _outcome(trial: Trial, racing: Racing) -> Trial:
    assert trial.folder is not None
    record = read_record(trial.folder, AGENT_RUN)
    curve = _stored_curve(trial.folder, record, racing)
    if failures := _failures(trial.folder, racing.num_seeds):
        listed = "; ".join(f"seed {seed}: {message}" for seed, message in failures.items())
        done = int(curve.steps[-1]) if len(curve.steps) else 0
        return dataclasses.replace(trial, state=FAILED, steps=done, message=listed)
    if (stop := racing.stop(curve)) is not None:
        returns = curve.returns[:, curve.steps.tolist().index(stop)]
        return dataclasses.replace(
            trial, state=STOPPED, steps=stop, interval=objective(returns), curve=curve
        )
    if not len(curve.steps) or curve.steps[-1] < racing.budget:
        raise RlkitError(f"the run {trial.folder} of trial {trial.number} is not finished")
    scores = Run(trial.folder, num_seeds=racing.num_seeds).scores
    trial = dataclasses.replace(trial, steps=int(curve.steps[-1]))
    if not np.isfinite(scores).all():
        missing = np.flatnonzero(~np.isfinite(scores)).tolist()
        return dataclasses.replace(
            trial, state=FAILED, message=f"the seeds {missing} have no final return"
        )
    return dataclasses.replace(
        trial,
        state=FINISHED,
        interval=objective(scores),
        scores=tuple(scores.tolist()),
        curve=curve,
    )
