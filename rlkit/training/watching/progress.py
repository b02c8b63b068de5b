"""What is known of a run at one evaluation, and how it is gathered from the rows of the seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.runs.reports import Rows
from rlkit.spelling import closest

if TYPE_CHECKING:
    from rlkit.analysis.intervals import Interval

Array = NDArray[Any]
NOTHING = -1  # the step of a seed that has no row


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of a run once each of its seeds has the row of one step.

    Arrays cannot be written to, and have one entry per seed, in the order of `seeds`: NaN where a
    seed failed before, or has no value there.

    Args:
        run: the name of the run's folder.
        step: environment steps of each seed.
        target: environment steps of each seed at the end, if nothing stops the run before.
        seeds: their indices in the experiment.
        measured: the metric of performance: eval_return, or train_return without evaluation.
        metrics: the columns of the csv at this step, float64 [S] each.
        replayed: whether an earlier call has reported this step: after a resume, the rows so far
            come again first.
    """

    run: str
    step: int
    target: int
    seeds: tuple[int, ...]
    measured: str
    metrics: Mapping[str, Array]
    replayed: bool = False
    _earlier: Sequence[Mapping[str, Array]] = field(default=(), repr=False)
    _number: int = field(default=0, repr=False)  # of the earlier ones; more are added later

    @functools.cached_property
    def rows(self) -> Mapping[str, Array]:
        """The columns of the csv up to this step, float64 [S, E] each; the last is this step's."""
        rows = [*self._earlier[: self._number], self.metrics]
        return MappingProxyType(
            {name: constant(np.stack([row[name] for row in rows], axis=1)) for name in self.metrics}
        )

    @property
    def returns(self) -> Array:
        """The performance of each seed at this step, [S]."""
        return self.metrics[self.measured]

    def interval(self, metric: str | None = None) -> Interval:
        """Return the mean of a metric over seeds with its 95 % interval, as the curve has it.

        Args:
            metric: a name in `metrics`; by default that of performance.
        """
        from rlkit.analysis.intervals import Interval, mean_interval

        name = self.measured if metric is None else metric
        if name not in self.metrics:
            raise UsageError(
                f"progress has no metric {name!r}.{closest(name, list(self.metrics))} It has "
                f"{', '.join(self.metrics)}"
            )
        known = self.metrics[name][np.isfinite(self.metrics[name])]
        if not len(known):
            return Interval(math.nan, math.nan, math.nan, 0.95, "no seed has a value")
        return mean_interval(known)


def constant(array: Array) -> Array:
    """Return a copy of numbers that nobody can make writable again, because bytes hold them."""
    kept = np.ascontiguousarray(array, dtype=np.float64)
    return np.frombuffer(kept.tobytes(), dtype=np.float64).reshape(kept.shape)


class Gathering:
    """Hands on the rows of all seeds, step by step in order, each once every seed has arrived.

    Args:
        run: the name of the run's folder.
        target: environment steps of each seed.
        seeds: all that take part.
        measured: the metric of performance.
        hand_on: called with each step.
    """

    def __init__(
        self,
        run: str,
        target: int,
        seeds: Sequence[int],
        measured: str,
        hand_on: Callable[[Progress], None],
    ) -> None:
        self._run, self._target, self._measured, self._hand_on = run, target, measured, hand_on
        self._seeds = tuple(seeds)
        self._reached = dict.fromkeys(self._seeds, NOTHING)
        self._failed: set[int] = set()
        self._waiting: dict[int, dict[str, Array]] = {}  # the columns of each step, [S]
        self._handed_on: list[Mapping[str, Array]] = []
        self.latest = NOTHING  # the last step that was handed on
        self.known_until = NOTHING  # up to here an earlier call has handed the steps on

    def add(self, seeds: Sequence[int], steps: int, rows: Rows) -> None:
        """Take a row of some seeds; those of each seed come in order."""
        for seed in seeds:
            self._reached[seed] = max(self._reached[seed], steps)
        if steps <= self.latest:  # once more, after the failure of another seed
            return
        columns = self._waiting.setdefault(steps, {})
        places = [self._seeds.index(seed) for seed in seeds]
        for name, values in rows.items():
            columns.setdefault(name, np.full(len(self._seeds), np.nan))[places] = values

    def fail(self, seeds: Sequence[int]) -> None:
        """Wait no longer for some seeds."""
        self._failed.update(seeds)

    @property
    def complete_until(self) -> int:
        """The step up to which every seed that has not failed has its rows."""
        reached = [steps for seed, steps in self._reached.items() if seed not in self._failed]
        return min(reached, default=max(self._reached.values(), default=NOTHING))

    def arrived(self, steps: int) -> Array:
        """Return which seeds came so far, bool [S]; the others failed before."""
        return np.array([self._reached[seed] >= steps for seed in self._seeds], dtype=np.bool_)

    def hand_on(self) -> None:
        """Hand on every step that is complete, in order."""
        for steps in sorted(self._waiting):
            if steps > self.complete_until:
                return
            columns = self._waiting.pop(steps)
            metrics = MappingProxyType({name: constant(one) for name, one in columns.items()})
            number = len(self._handed_on)
            self.latest = steps
            progress = Progress(
                run=self._run,
                step=steps,
                target=self._target,
                seeds=self._seeds,
                measured=self._measured,
                metrics=metrics,
                replayed=steps <= self.known_until,
                _earlier=self._handed_on,
                _number=number,
            )
            self._handed_on.append(metrics)
            self._hand_on(progress)
