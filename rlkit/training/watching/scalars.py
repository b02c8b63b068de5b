"""The numbers that trackers show of one step: mean and interval of each metric over seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from rlkit.training.run import Run
from rlkit.training.watching.progress import Gathering, Progress

MEAN, LOWER, UPPER = "mean", "lower", "upper"
_COUNTER = "num_env_steps"  # is the step itself


def scalars(progress: Progress, *, per_seed: bool = False) -> dict[str, float]:
    """Return the scalars of a step by their names, those that are numbers.

    Each metric has its mean over the seeds with a value there, the ends of the 95 % interval of
    that mean, as the curve of the run has them, and on request the value of each seed.
    """
    from rlkit.analysis.learning_curves import curve_band

    names = [name for name in progress.metrics if name != _COUNTER]
    values = np.stack([progress.metrics[name] for name in names], axis=1)
    band = curve_band(np.where(np.isinf(values), np.nan, values))
    infinite = np.isinf(values).any(axis=0)
    named: dict[str, float] = {}
    for m, name in enumerate(names):
        if infinite[m]:  # has a mean, which says so, but no interval
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                named[f"{name}/{MEAN}"] = float(np.nanmean(values[:, m]))
        else:
            of_all = zip((MEAN, LOWER, UPPER), (band.mean, band.low, band.high), strict=True)
            named |= {f"{name}/{what}": float(column[m]) for what, column in of_all}
        if per_seed:
            for s, seed in enumerate(progress.seeds):
                named[f"{name}/seed-{seed:03d}"] = float(values[s, m])
    return {name: value for name, value in named.items() if not math.isnan(value)}


def steps_of(run: Run) -> Iterator[Progress]:
    """Return each step of a run that all of its seeds have reached which have not failed."""
    steps: list[Progress] = []
    gathering = Gathering(run.folder.name, run.num_env_steps, run.seeds, run.measured, steps.append)
    gathering.fail([seed for seed in run.failures if seed in run.seeds])
    for seed, columns in zip(run.seeds, run.columns, strict=True):
        for row, at in enumerate(columns.get(_COUNTER, ())):
            values = {name: column[row] for name, column in columns.items()}
            gathering.add([seed], int(at), values)
    gathering.hand_on()
    yield from steps


def metric_names(named: Sequence[str]) -> list[str]:
    """Return the metrics that have a mean among some scalars."""
    return [name.removesuffix(f"/{MEAN}") for name in named if name.endswith(f"/{MEAN}")]
