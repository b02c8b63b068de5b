"""Intervals of the mean and of the interquartile mean over seeds, and the standard error."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlkit.analysis.resampling import (
    FEWEST_TO_RESAMPLE,
    Floats,
    bootstrap,
    power_of_two,
    resamples,
    student_quantile,
    studentised_limits,
)


@dataclass(frozen=True)
class Interval:
    """An estimate over seeds and its interval; `note` warns where it needs caution."""

    estimate: float
    low: float  # nan where no interval exists (one seed)
    high: float
    confidence: float
    note: str = ""


def mean_interval(scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return an interval of the mean over seeds, also for skewed, bounded and bimodal returns.

    A studentised bootstrap. With x_i the n scores, m their mean, s their standard error, and m*, s*
    the same two of a resample of n scores drawn with replacement,

        t* = (m* - m) / max(s*, s / 10)       interval = [m - q_hi(t*) s,  m - q_lo(t*) s]

    where q_lo, q_hi are the (1 -+ confidence) / 2 quantiles of t* over 4000 resamples (2000 and
    their mirror images, so that the interval of -x is minus the interval of x). The floor s / 10
    keeps t* finite for resamples in which all scores are equal. The limits are bounded twice: none
    lies more than one average gap, (max - min) / (n - 1), beyond the worst or best seed; and none
    is closer to m than Student's t interval, where that lies between the worst and best seed.

    With 2 to 4 seeds it is Student's t interval, as the note says. With one seed the limits are
    nan. If all scores are equal the interval has zero width, and the note says what fraction of
    further seeds may still score otherwise.

    Args:
        scores: `[S]`, one finite number per seed. Failed seeds (nan) are rejected: omit them and
            report how many there were.
        confidence: fraction of such intervals that should contain the true mean, in (0, 1).

    Source: the bootstrap-t of Efron (1982), The Jackknife, the Bootstrap and Other Resampling
    Plans, section 10.9; the floor and the limits are our own additions, measured in
    `docs/statistics.md`.
    """
    x = as_scores(scores, "computing the interval of a mean")
    check_share("confidence", confidence)
    mean, low, high = mean_intervals(np.sort(x)[:, None], confidence)
    note = _sample_note(x, confidence)
    return Interval(float(mean[0]), float(low[0]), float(high[0]), confidence, note)


def iqm_interval(scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return an interval of the interquartile mean (IQM), the mean of the middle half of seeds.

    With g = floor(n / 4) scores removed at each end and h = n - 2 g remaining,

        IQM = (x_(g+1) + ... + x_(n-g)) / h  =  scipy.stats.trim_mean(x, 0.25)

    The interval is the smallest that contains two others: the percentile bootstrap of the IQM, and
    Student's t with h - 1 degrees of freedom around the IQM with the error of a trimmed mean,
    sqrt(SSD_w / (h (h - 1))), with SSD_w the sum of squared differences of the winsorised scores
    from their mean. Either alone is too narrow: the first with few seeds, the second if returns
    form two groups. With 2 to 4 seeds it is the second alone.

    The IQM jumps when the fraction of failing seeds passes a quarter, so with two groups of seeds
    it depends on which group fills the middle. `note` warns of two groups: a gap more than twice
    as wide as either side, with at least two seeds on each.

    Args and nan as in `mean_interval`.

    Source of the trimmed mean's error: Tukey and McLaughlin (1963), Sankhya A 25, 331-352.
    """
    x = np.sort(as_scores(scores, "computing the interval of an interquartile mean"))
    check_share("confidence", confidence)
    scale = float(power_of_two(x))
    n, g = len(x), len(x) // 4
    h = n - 2 * g
    iqm = float(x[g] if x[g] == x[n - g - 1] else (x[g : n - g] / scale).mean() * scale)
    note = _sample_note(x, confidence)
    if n == 1:
        return Interval(iqm, np.nan, np.nan, confidence, note)
    winsorised = np.clip(x, x[g], x[n - g - 1]) / scale
    error = float(np.sqrt(winsorised.var() * n / (h * (h - 1)))) * scale
    half_width = student_quantile(confidence, h - 1) * error
    low, high = iqm - half_width, iqm + half_width
    if n >= FEWEST_TO_RESAMPLE:
        resampled = (x / scale)[resamples(n)[:, g : n - g]].mean(axis=1)
        tails = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2]) * scale
        low, high = min(low, float(tails[0])), max(high, float(tails[1]))
    if x[0] == x[-1]:
        low = high = iqm
    elif two_groups := _two_groups(x):
        fewer = min(two_groups, n - two_groups)
        note = (
            f"{fewer} of {n} seeds form a group far from the rest: the interquartile mean depends "
            "on which group fills the middle half; look at the seeds and prefer the mean"
        )
    return Interval(iqm, low, high, confidence, note)


def mean_intervals(x: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return mean, low and high `[K]` of the sorted columns of `x [n, K]`."""
    n = len(x)
    scale = power_of_two(x)
    x = x / scale
    mean = x.mean(axis=0)
    if n == 1:
        return mean * scale, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = np.sqrt(x.var(axis=0) / (n - 1))
    half_width = student_quantile(confidence, n - 1) * error
    low, high = mean - half_width, mean + half_width
    if n >= FEWEST_TO_RESAMPLE:
        shift, resampled_error = bootstrap(x - mean, stream=0)
        lower, upper = studentised_limits(mean, error, shift, resampled_error, confidence)
        gap = (x[-1] - x[0]) / (n - 1)
        low = np.minimum(np.maximum(lower, x[0] - gap), np.maximum(low, x[0]))
        high = np.maximum(np.minimum(upper, x[-1] + gap), np.minimum(high, x[-1]))
    constant = x[0] == x[-1]
    mean, low, high = (np.where(constant, x[0], limit) for limit in (mean, low, high))
    return mean * scale, low * scale, high * scale


def _two_groups(x: Floats) -> int:
    """Return the size of the lower group if sorted `x` forms two groups, otherwise 0."""
    gaps = np.diff(x)
    wider_side = np.maximum(x[:-1] - x[0], x[-1] - x[1:])
    apart = gaps > 2 * wider_side
    apart[[0, -1]] = False  # a single seed is an outlier, not a group
    return int(np.argmax(apart)) + 1 if apart.any() else 0


def _sample_note(x: Floats, confidence: float) -> str:
    n = len(x)
    if n == 1:
        return "one seed: no interval"
    if np.all(x == x[0]):
        unseen = 1 - (1 - confidence) ** (1 / n)
        return (
            f"all {n} seeds scored the same: zero width, yet up to {unseen:.0%} of further seeds "
            "may score otherwise"
        )
    if n < FEWEST_TO_RESAMPLE:
        return f"{n} seeds: Student's t interval, right only if returns are bell-shaped"
    return ""


def as_scores(scores: ArrayLike, doing: str) -> Floats:
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"{doing}: expected one score per seed, shape [S] with S >= 1, got shape {x.shape}; "
            "average the episodes of each seed first"
        )
    if not np.all(np.isfinite(x)):
        bad = np.flatnonzero(~np.isfinite(x)).tolist()
        raise ValueError(
            f"{doing}: expected finite scores, got nan or infinity at position {bad} of {x.size}; "
            "omit failed seeds (scores[np.isfinite(scores)]) and report how many failed"
        )
    return x


def check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is a fraction between 0 and 1, got {value}; 95 % is 0.95")


def standard_error(values: ArrayLike) -> float:
    """Return the standard error of the mean of n independent values, [n]; nan if n is 1.

    s / sqrt(n),    with s the standard deviation with divisor n - 1
    """
    numbers = finite_numbers("standard_error", values)
    if len(numbers) < 2:
        return math.nan
    return float(numbers.std(ddof=1)) / math.sqrt(len(numbers))


def finite_numbers(function: str, values: ArrayLike) -> Floats:
    """Return the arguments of a function as an array [n] with n >= 1.

    Raises:
        ValueError: the shape is another, or a number is not finite.
    """
    numbers: Floats = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{function}: expected finite numbers of shape [n] with n >= 1, got shape "
            f"{numbers.shape}, {int((~np.isfinite(numbers)).sum())} of them not finite"
        )
    return numbers
