"""The watch of a run: gathers the rows of all seeds, decides, and hands them to sinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.options import require_typed
from rlkit.runs.checkpoints import list_checkpoints
from rlkit.runs.curves import curve_path, parse_curve
from rlkit.runs.execution import RunRequest
from rlkit.runs.integrity.sums import read_sums
from rlkit.runs.record import STOPPED
from rlkit.runs.reports import Rows
from rlkit.training.run import Run
from rlkit.training.specification import RunSpec, on_grid
from rlkit.training.watching.callbacks import HINT, Callback, Callbacks, callback_names
from rlkit.training.watching.event_files import EventFiles, export_event_files
from rlkit.training.watching.progress import NOTHING, Gathering, Progress
from rlkit.training.watching.trackers import TrackedRun

Array = NDArray[Any]


class Sink(Protocol):
    """Where the rows of a run go while it is trained."""

    @property
    def name(self) -> str:
        """What it is called in sentences."""

    @property
    def instead(self) -> str:
        """A sentence on how to come by all rows where it failed."""

    def require(self, run: Path) -> None:
        """Require that the run of a folder can be written, before it is trained.

        Raises:
            UsageError: it cannot.
        """

    def begin(self, run: Path, record: Mapping[str, Any]) -> None:
        """Open what is written to."""

    def write(self, progress: Progress) -> None:
        """Write one step."""

    def end(self) -> None:
        """Close it."""


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What a call watches a run with, apart from the rules of the run itself."""

    callbacks: Sequence[Callback] = ()
    tensorboard: str | Path | None = None  # the folder of its event files
    tensorboard_seeds: bool = False  # there, also a scalar for each seed
    track: str | None = None  # a tracker

    def __post_init__(self) -> None:
        callback_names(self.callbacks)
        require_typed("tensorboard_seeds", self.tensorboard_seeds, bool)
        if not isinstance(self.tensorboard, str | Path | None):
            raise UsageError(
                "option tensorboard (--tensorboard): expected a folder, got "
                f"{self.tensorboard!r:.80}"
            )
        if self.tensorboard_seeds and self.tensorboard is None:
            raise UsageError(
                "option tensorboard_seeds (--tensorboard-seeds) needs a folder, as in "
                "tensorboard='events' (--tensorboard events)"
            )

    def sinks(self) -> list[Sink]:
        """Return what each step is written to."""
        sinks: list[Sink] = []
        if self.tensorboard is not None:
            sinks.append(EventFiles(Path(self.tensorboard), per_seed=self.tensorboard_seeds))
        if self.track is not None:
            sinks.append(TrackedRun(self.track))
        return sinks

    def require(self, run: Path) -> None:
        """Require that everything can be written to, before the run of a folder is trained.

        Raises:
            UsageError: something cannot.
        """
        for sink in self.sinks():
            sink.require(run)

    def write(
        self, runs: Sequence[Run], note: Callable[[str], None] = lambda text: None
    ) -> list[Path]:
        """Write what can be written of runs that were trained before; return where."""
        if self.track is not None:
            note(f"no row is new, so nothing is sent to {self.track}")
        if self.tensorboard is None:
            return []
        return export_event_files(runs, Path(self.tensorboard), per_seed=self.tensorboard_seeds)

    def stopping(self, request: RunRequest) -> RunRequest:
        """Return a request that also knows the callbacks, each of which may end the run."""
        own = dict.fromkeys(callback_names(self.callbacks), HINT)
        return dataclasses.replace(request, stoppers={**request.stoppers, **own})

    def watch(self, spec: RunSpec, note: Callable[[str], None]) -> RunWatch | None:
        """Return the watch of a run; None where nothing watches."""
        sinks = self.sinks()
        if spec.stop is None and not self.callbacks and not sinks:
            return None
        return RunWatch(spec, self.callbacks, sinks, note)


class RunWatch:
    """Watches a run in the process that keeps its record.

    A step is decided once every seed that has not failed has its row, on all of these rows. So the
    decision depends on neither processes nor interruptions. Where a call resumes a run, the steps
    of before come again first: a callback that counts counts as it did.

    Args:
        spec: of the run.
        callbacks: of the user.
        sinks: that get each step; one that fails is given up, and training is not.
        note: takes a sentence for the user.
    """

    def __init__(
        self,
        spec: RunSpec,
        callbacks: Sequence[Callback] = (),
        sinks: Sequence[Sink] = (),
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._spec, self._note = spec, note
        self._callbacks, self._sinks = Callbacks(callbacks), list(sinks)
        self.decides = bool(self._callbacks) or spec.stop is not None
        self.stopped: dict[str, Any] | None = None
        self._requested: str | None = None  # the callback that said stop
        self._evaluations: list[Array] = []  # the performance of each seed at each, [S]
        self._means: list[float] = []  # of them, over the seeds that have not failed
        self._over: Array | None = None  # which seeds these are, [S]
        self._num_evaluations = 0  # after step 0
        self._undecided: dict[str, int] = {}  # evaluations at which a rule decided nothing, by why
        self._furthest = NOTHING  # the steps of the seed that came furthest before this call
        self._gathering: Gathering | None = None

    def begin(self, folder: Path, num_seeds: int, record: Mapping[str, Any]) -> None:
        """Take the rows that the seeds continue from, and hand them on."""
        measured = "eval_return" if self._spec.evaluation_episodes else "train_return"
        seeds, target = range(num_seeds), self._spec.whole_steps(self._spec.num_env_steps)
        self._gathering = Gathering(folder.name, target, seeds, measured, self._take)
        self.stopped = record.get(STOPPED)
        for sink in self._sinks:
            sink.begin(folder, record)
        for seed in seeds:
            steps, columns = rows_so_far(folder, seed)
            self._furthest = max(self._furthest, steps)
            for row, at in enumerate(columns.get("num_env_steps", ())):
                values = {name: column[row] for name, column in columns.items()}
                self._gathering.add([seed], int(at), values)
        self._gathering.known_until = self._gathering.complete_until
        self._gathering.hand_on()

    @property
    def _known(self) -> Gathering:
        assert self._gathering is not None, "begin comes first"
        return self._gathering

    def add(self, seeds: Sequence[int], steps: int, rows: Rows) -> None:
        self._known.add(seeds, steps, rows)
        self._known.hand_on()

    def fail(self, seeds: Sequence[int]) -> None:
        self._known.fail(seeds)
        self._known.hand_on()

    def verdict(self, steps: int) -> bool | None:
        if self.stopped is not None:
            return steps >= int(self.stopped["at"])
        return False if steps <= self._known.latest else None

    def end(self) -> None:
        for sink in list(self._sinks):
            self._try(sink, sink.end)
        if self.stopped is None:
            for why, number in self._undecided.items():
                total = self._num_evaluations
                self._note(f"{why} at {number} of {total} evaluation{'s' * (total != 1)}")

    def _try(self, sink: Sink, call: Callable[..., None], *args: Any) -> None:
        """Call a sink; give it up where it fails, because training matters more."""
        try:
            call(*args)
        except Exception as error:
            self._sinks.remove(sink)
            self._note(
                f"{sink.name} failed and is given up, while training continues: {error!r}; "
                f"{sink.instead}"
            )

    def _take(self, progress: Progress) -> None:
        """Hand one step to all that watch, and decide whether the run ends there."""
        for sink in list(self._sinks):
            self._try(sink, sink.write, progress)
        by = self._callbacks.stopping(progress)
        spec, step = self._spec, progress.step
        if self.stopped is not None or not on_grid(step, spec.num_envs, spec.evaluate_every):
            return
        self._requested = self._requested or by
        decision = self._by_rules(progress)
        if step == 0 or step < self._furthest:  # a seed is past it, so it was decided before
            return
        if decision is None and self._requested is not None:
            decision = self._requested, "it returned 'stop'"
        if decision is not None:
            self.stopped = {"at": step, "by": decision[0], "reason": decision[1]}

    def _by_rules(self, progress: Progress) -> tuple[str, str] | None:
        """Take an evaluation; return the rule of the run that it would end by, and why."""
        rules, there = self._spec.stop, self._known.arrived(progress.step)
        scores = progress.returns[there]
        if rules is None or not len(scores):
            return None
        self._num_evaluations += progress.step > 0
        if not np.isfinite(scores).all():
            if progress.step:
                self._undecide(
                    f"{' and '.join(rules.names)} decided nothing because not every seed had a "
                    f"finite {progress.measured}"
                )
            return None
        self._evaluations.append(progress.returns)
        if self._over is None or not np.array_equal(there, self._over):
            # The mean of before was over other seeds: without the best of them it would be lower.
            self._means = [float(one[there].mean()) for one in self._evaluations]
            self._over = there
        else:
            self._means.append(float(scores.mean()))
        if rules.until_return is not None and len(scores) < 2:
            self._undecide("until_return could not be met because one seed was left")
        return rules.reason(scores, self._means)

    def _undecide(self, why: str) -> None:
        self._undecided[why] = self._undecided.get(why, 0) + 1


def rows_so_far(folder: Path, seed: int) -> tuple[int, dict[str, Array]]:
    """Return the steps of a seed's newest checkpoint, and the columns of its csv until then."""
    kept = list_checkpoints(folder, seed)
    if not kept:
        return NOTHING, {}
    steps, path = kept[0]
    sums, data = read_sums(folder, seed), curve_path(folder, seed).read_bytes()
    extent = None if sums is None else sums.checkpoints.get(path.name)
    num_bytes = len(data) if extent is None else extent.num_bytes
    return steps, parse_curve(data[:num_bytes], curve_path(folder, seed))
