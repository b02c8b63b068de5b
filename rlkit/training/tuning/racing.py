"""The objective of a trial, and the race: when a trial is stopped before its end.

The objective is a lower confidence bound of the mean over seeds, so that one lucky seed wins
nothing: the lower end of the 90 % interval of `mean_interval` of the final returns, which the mean
exceeds with a confidence of 95 %.

A trial is stopped at a row of its curve at step t, if

    t >= GRACE * budget, at least `FEWEST_FINISHED` trials before it were trained to the end, and
    the upper end of the same interval of its returns at t is below the median of these trials'
    means at the same row.

Everything is a function of the rows of the trial and of those before it, so it is decided in the
same way at once, after a kill, and from the folders alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlkit.analysis.intervals import Interval, mean_interval

Floats = NDArray[np.float64]
CONFIDENCE = 0.9  # of the interval, of which one end is used
FEWEST_FINISHED = 5  # trials, before any is stopped
GRACE = 0.2  # share of the budget in which no trial is stopped


@dataclass(frozen=True)
class TrialCurve:
    """The returns of a trial's seeds at the rows that all of them have.

    Args:
        steps: of one seed, [E].
        returns: [S, E], NaN where no return is known.
    """

    steps: Floats
    returns: Floats

    @property
    def bound_of_area(self) -> float:
        """The objective of the means over the rows, which breaks ties.

        A seed that collapses before it ends well lowers it, as slow learning does. It is -inf where
        a seed has no known return.
        """
        known = np.isfinite(self.returns)
        if not known.any(axis=1).all():
            return -np.inf
        return objective(np.nanmean(np.where(known, self.returns, np.nan), axis=1)).low

    def mean_at(self, number: int, every: int) -> float:
        """Return the mean over seeds of the row at the n-th multiple of `every` steps, or NaN."""
        at = np.flatnonzero(self.steps // every == number)
        return float(self.returns[:, at[0]].mean()) if len(at) else np.nan


def objective(scores: Floats) -> Interval:
    """Return the interval of the scores over seeds, whose lower end is maximised."""
    return mean_interval(scores, confidence=CONFIDENCE)


def step_of_stop(
    trial: TrialCurve, finished: Sequence[TrialCurve], *, budget: int, every: int
) -> int | None:
    """Return the first step at which a trial is stopped; None where none of its rows is.

    Args:
        trial: the rows so far.
        finished: the trials before it that were trained to the end.
        budget: environment steps of one seed; the last row is the result and stops nothing.
        every: environment steps between rows, which trials of other numbers of environments reach
            a few steps later.
    """
    if len(finished) < FEWEST_FINISHED:
        return None
    for column, step in enumerate(trial.steps.tolist()):
        returns = trial.returns[:, column]
        if not GRACE * budget <= step < budget or not np.isfinite(returns).all():
            continue
        means = np.array([other.mean_at(step // every, every) for other in finished])
        means = means[np.isfinite(means)]
        if len(means) >= FEWEST_FINISHED and objective(returns).high < np.median(means):
            return int(step)
    return None
