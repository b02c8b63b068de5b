"""Metrics of runs: final performance, area under the curve, steps until a return is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.options import Unfit, converted
from rlkit.spelling import closest

if TYPE_CHECKING:
    from rlkit.training.run import Run

Array = NDArray[Any]
NAMES = ("final", "area", "steps-to")


class Values(NamedTuple):
    """One number per seed of a run, NaN for a seed that was not trained to the end."""

    scores: Array  # [S]; of steps-to, the budget where the return was never reached
    ranking: Array | None  # [S], more is better, if not the scores themselves are compared


@dataclass(frozen=True)
class Metric:
    """What is measured of each seed.

    "final" is the episode return at the end. "area" is the area under the curve of returns over
    the budget: the mean return during training. "steps-to" counts environment steps to the first
    row of the curve with a return of at least `threshold`. A seed that never reaches it within the
    budget ranks behind all that do, equal to the others like it; in means it counts as the budget.
    """

    name: str = "final"
    threshold: float | None = None

    def __str__(self) -> str:
        return self.name if self.threshold is None else f"{self.name} {_exact(self.threshold)}"

    @property
    def label(self) -> str:
        """What the numbers are, for tables and axes."""
        return {
            "final": "final return",
            "area": "mean return during training",
            "steps-to": f"steps to a return of {_exact(self.threshold)}"
            if self.threshold is not None
            else "steps to a return",
        }[self.name]

    @property
    def stem(self) -> str:
        """The name of its figure, without the suffix."""
        return {"final": "final_performance", "area": "area", "steps-to": "steps_to"}[self.name]

    @property
    def counts_steps(self) -> bool:
        """Whether fewer is better, and a seed may never get there."""
        return self.name == "steps-to"

    @property
    def needs_one_grid(self) -> bool:
        """Whether it depends on how often the curve is measured."""
        return self.name != "final"

    def values(self, run: Run) -> Values:
        """Return the numbers of a run's seeds."""
        if self.name == "final":
            return Values(run.scores, None)
        budget = run.num_env_steps
        ended = [seed not in run.unfinished for seed in run.seeds]
        measured = [
            _known(rows.get("num_env_steps"), rows.get(run.measured)) if end else None
            for rows, end in zip(run.columns, ended, strict=True)
        ]
        if self.name == "area":
            return Values(np.array([_area(rows, budget) for rows in measured]), None)
        assert self.threshold is not None
        steps = np.array([_first(rows, self.threshold) for rows in measured])
        return Values(np.minimum(steps, budget), -steps)


FINAL = Metric()


def read_metrics(given: Metric | str | Sequence[Any], num_environments: int | None) -> list[Metric]:
    """Return the metrics that a user named, one per environment.

    Args:
        given: "final", "area", "steps-to 475", or with a value for each environment
            "steps-to 475 -100"; in Python also ("steps-to", 475) and ("steps-to", [475, -100]).
        num_environments: None where one was given, and not a list.

    Raises:
        UsageError: there is none of that name, or a value is missing, surplus or no number.
    """
    number = num_environments or 1
    if isinstance(given, Metric):
        return [given] * number
    several = given if isinstance(given, list | tuple) else ()
    words = given.split() if isinstance(given, str) else list(several)
    name = words[0] if words else ""
    if not isinstance(name, str) or name not in NAMES:
        hint = closest(name, NAMES) if isinstance(name, str) else ""
        raise UsageError(
            "option metric (--metric): expected final, area or steps-to VALUE, got "
            f"{given!r}.{hint}"
        )
    if name != "steps-to":
        if len(words) > 1:
            raise UsageError(
                f"option metric (--metric): {name} takes no value, got {words[1]!r}; only steps-to "
                "VALUE does"
            )
        return [Metric(name)] * number
    values = words[1:]
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = list(values[0])
    if not values:
        raise UsageError(
            "option metric (--metric): steps-to needs the return that is to be reached, as in "
            f"--metric steps-to 475, got {given!r}"
        )
    if len(values) not in (1, number):
        raise UsageError(
            f"option metric (--metric): steps-to takes one value, or one for each of {number} "
            f"environment{'s' if number > 1 else ''} (--env) in their order, got {given!r}"
        )
    thresholds = [_number(value) for value in values]
    return [Metric(name, one) for one in thresholds] * (number // len(thresholds))


def stored_metric(summary: Mapping[str, Any], other: Metric = FINAL) -> Metric:
    """Return the metric that a summary or a part of it names, `other` if it names none."""
    if "metric" not in summary:
        return other
    name, _, value = str(summary["metric"]).partition(" ")
    return read_metrics(f"{name} {value}", None)[0] if value else Metric(name)


def joined(metrics: Sequence[Metric]) -> Metric:
    """Return the metric of all environments; without a threshold if they have various."""
    first = metrics[0]
    return first if all(one == first for one in metrics) else Metric(first.name)


def _number(given: Any) -> float:
    try:
        value: float = float(given) if isinstance(given, str) else converted(given, float)
    except (ValueError, Unfit):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(
            "option metric (--metric): steps-to needs the return that is to be reached, a finite "
            f"number, got {given!r}"
        )
    return value


def _exact(value: float) -> str:
    """Return a number as text that has all of it: it names comparisons, and is read back."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def _known(steps: Array | None, returns: Array | None) -> tuple[Array, Array] | None:
    """Return the rows that have a return."""
    if steps is None or returns is None:
        return None
    known = np.isfinite(returns)
    return (steps[known], returns[known]) if known.any() else None


def _area(rows: tuple[Array, Array] | None, budget: int) -> float:
    """Return the area under the curve over its width; the curve is level before its first row."""
    if rows is None:
        return math.nan
    end = max(budget, int(rows[0][-1]))
    steps = np.concatenate([[0], rows[0], [end]])
    returns = np.concatenate([rows[1][:1], rows[1], rows[1][-1:]])
    return float(np.sum(np.diff(steps) * (returns[1:] + returns[:-1]) / 2) / end)


def _first(rows: tuple[Array, Array] | None, threshold: float) -> float:
    """Return the steps of the first row at or above the threshold; infinity if there is none."""
    if rows is None:
        return math.nan
    above = np.flatnonzero(rows[1] >= threshold)
    return float(rows[0][above[0]]) if len(above) else math.inf
