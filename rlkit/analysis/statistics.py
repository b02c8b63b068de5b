"""Statistics over few seeds: intervals, comparisons, learning curves.

The unit is the seed: every array holds one number (or one learning curve) per seed, never one per
episode, since the episodes of a seed depend on the same training.

    mean_interval, iqm_interval    intervals of the mean and of the interquartile mean over seeds
    compare_pairs                  whether agent a is better than agent b, or seeds are too few
    align_curves, curve_band       learning curves on one x axis, with an interval at each x
    standard_error                 of a mean of independent values

All results are deterministic: resampling uses a fixed seed and sorted scores, so neither a global
generator nor the order of the seeds matters. `docs/statistics.md` has the measured coverage of each
interval.
"""

from rlkit.analysis.comparisons import PairComparison, compare_pairs, holm
from rlkit.analysis.intervals import (
    Interval,
    finite_numbers,
    iqm_interval,
    mean_interval,
    standard_error,
)
from rlkit.analysis.learning_curves import CurveBand, align_curves, curve_band

__all__ = [
    "CurveBand",
    "Interval",
    "PairComparison",
    "align_curves",
    "compare_pairs",
    "curve_band",
    "finite_numbers",
    "holm",
    "iqm_interval",
    "mean_interval",
    "standard_error",
]
