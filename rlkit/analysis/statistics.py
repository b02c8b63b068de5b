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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NUM_RESAMPLES = 4000
_NUM_PERMUTATIONS = 9999
_SEED = 20_240_229
_FEWEST_TO_RESAMPLE = 5  # with 4 seeds there are only 35 distinct resamples
_SMALLEST_ERROR_RATIO = 0.1  # of a resample's standard error to the sample's


@dataclass(frozen=True)
class Interval:
    """An estimate over seeds and its interval; `note` warns where it needs caution."""

    estimate: float
    low: float  # nan where no interval exists (one seed)
    high: float
    confidence: float
    note: str = ""


@dataclass(frozen=True)
class PairComparison:
    """The comparison of agents `a` and `b` (see `compare_pairs` for the verdicts)."""

    a: str
    b: str
    difference: float  # mean of a - mean of b
    low: float  # interval of the difference of this pair alone; nan with one seed
    high: float
    raw_p_value: float  # of this pair alone
    p_value: float  # Holm-corrected over all pairs
    verdict: str  # "better" | "worse" (a than b), "no evidence", "too few seeds", "tie"


@dataclass(frozen=True)
class CurveBand:
    """Mean and interval at every x; `num_seeds` counts the seeds that reached that x."""

    mean: Floats  # [E]
    low: Floats  # [E], nan where fewer than two seeds
    high: Floats  # [E]
    num_seeds: NDArray[np.int64]  # [E]
    confidence: float


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
    x = _as_scores(scores, "computing the interval of a mean")
    _check_share("confidence", confidence)
    mean, low, high = _mean_intervals(np.sort(x)[:, None], confidence)
    note = _sample_note(x, confidence)
    return Interval(float(mean[0]), float(low[0]), float(high[0]), confidence, note)


def iqm_interval(scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return an interval of the interquartile mean (IQM), the mean of the middle half of seeds.

    With g = floor(n / 4) scores removed at each end and h = n - 2 g remaining,

        IQM = (x_(g+1) + ... + x_(n-g)) / h  =  scipy.stats.trim_mean(x, 0.25)

    The interval is the smallest that contains two others: the percentile bootstrap of the IQM, and
    Student's t with h - 1 degrees of freedom around the IQM with the error of a trimmed mean,
    sqrt(SSD_w / (h (h - 1))), where SSD_w is the sum of squared deviations of winsorised scores.
    Either alone is too narrow: the first with few seeds, the second if returns form two groups.
    With 2 to 4 seeds it is the second alone.

    The IQM jumps when the fraction of failing seeds passes a quarter, so with two groups of seeds
    it depends on which group fills the middle. `note` warns of two groups: a gap more than twice
    as wide as either side, with at least two seeds on each.

    Args and nan as in `mean_interval`.

    Source of the trimmed mean's error: Tukey and McLaughlin (1963), Sankhya A 25, 331-352.
    """
    x = np.sort(_as_scores(scores, "computing the interval of an interquartile mean"))
    _check_share("confidence", confidence)
    scale = float(_scale(x))
    n, g = len(x), len(x) // 4
    h = n - 2 * g
    iqm = float(x[g] if x[g] == x[n - g - 1] else (x[g : n - g] / scale).mean() * scale)
    note = _sample_note(x, confidence)
    if n == 1:
        return Interval(iqm, np.nan, np.nan, confidence, note)
    winsorised = np.clip(x, x[g], x[n - g - 1]) / scale
    error = float(np.sqrt(winsorised.var() * n / (h * (h - 1)))) * scale
    half_width = _student_quantile(confidence, h - 1) * error
    low, high = iqm - half_width, iqm + half_width
    if n >= _FEWEST_TO_RESAMPLE:
        resampled = (x / scale)[_resamples(n)[:, g : n - g]].mean(axis=1)
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


def compare_pairs(scores: Mapping[str, ArrayLike], *, alpha: float = 0.05) -> list[PairComparison]:
    """Compare the mean of every pair of agents by a permutation test, corrected for many pairs.

    If a and b were the same agent, any split of the pooled seeds into groups of these sizes would
    be as likely as the one observed; the p-value is twice the fraction of splits whose difference
    of means is at least as extreme on the same side. All splits are tried if there are at most
    9999, otherwise 9999 random ones, always the same. Holm's step-down correction keeps the
    probability of *any* false "better" or "worse" below `alpha`.

    The verdict is the first that holds:
        "tie"            every score of both agents is the same number
        "better"         p_value <= alpha and a's mean is higher
        "worse"          p_value <= alpha and a's mean is lower
        "too few seeds"  not even the most extreme split of these scores, given the other pairs,
                         could have reached alpha
        "no evidence"    it could have, and did not; this is not evidence of equality

    `low` and `high` are the limits of the difference of one pair alone with confidence 1 - alpha,
    as in `mean_interval`, with both agents resampled and Welch's t instead of Student's (which is
    used alone with fewer than 5 seeds). They are not corrected for many pairs; the verdict follows
    the p-value.

    Args:
        scores: agent name -> `[S]`, one finite number per seed; sizes may differ.
        alpha: probability of a false verdict in the whole family, in (0, 1).

    Returns:
        One comparison per pair, in the order of the mapping.
    """
    _check_share("alpha", alpha)
    x = {name: np.sort(_as_scores(s, f"comparing agent {name!r}")) for name, s in scores.items()}
    pairs = list(combinations(x, 2))
    raw = np.array([_permutation_p_value(x[a], x[b]) for a, b in pairs])
    corrected = holm(raw)
    result = []
    for i, (a, b) in enumerate(pairs):
        difference, low, high = _difference_interval(x[a], x[b], 1 - alpha)
        best_case = raw.copy()
        best_case[i] = min(raw[i], _smallest_p_value(x[a], x[b]))
        if x[a][0] == x[a][-1] == x[b][0] == x[b][-1]:
            verdict = "tie"
        elif corrected[i] <= alpha:
            verdict = "better" if difference > 0 else "worse"
        else:
            verdict = "too few seeds" if holm(best_case)[i] > alpha else "no evidence"
        p_values = float(raw[i]), float(corrected[i])
        result.append(PairComparison(a, b, difference, low, high, *p_values, verdict))
    return result


def holm(p_values: ArrayLike) -> Floats:
    """Return m p-values with Holm's step-down correction.

    With p_(1) <= ... <= p_(m), the corrected p_(k) is max over j <= k of min(1, (m - j + 1) p_(j)).

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected


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


def align_curves(
    num_env_steps: Sequence[ArrayLike],
    returns: Sequence[ArrayLike],
    *,
    grid: ArrayLike | None = None,
    reached: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Put learning curves with different x on one x axis, without interpolation or truncation.

    The value at x is the last one recorded at or before x (a step function). It is nan before a
    seed's first record and after the x that the seed has reached, so a seed that stopped early is
    missing there, and the others are not truncated to it.

    Args:
        num_env_steps: per seed `[E_s]`, environment steps at which it was recorded, ascending.
        returns: per seed `[E_s]`.
        grid: `[E]`, the common x; by default every recorded x.
        reached: `[S]`, the environment steps each seed was trained for; by default its last record.

    Returns:
        The grid `[E]` and the aligned returns `[S, E]`.
    """
    doing = "aligning learning curves"
    xs = [np.asarray(x, dtype=np.float64) for x in num_env_steps]
    ys = [np.asarray(y, dtype=np.float64) for y in returns]
    if not xs or len(xs) != len(ys):
        raise ValueError(
            f"{doing}: expected the same number of seeds (at least 1) in num_env_steps and "
            f"returns, got {len(xs)} and {len(ys)}; pass one array of each per seed"
        )
    for seed, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                f"{doing}, seed {seed}: expected num_env_steps and returns of one shape [E], got "
                f"{x.shape} and {y.shape}; record both at the same moments"
            )
        if not np.all(np.isfinite(x)) or np.any(np.diff(x) < 0):
            raise ValueError(
                f"{doing}, seed {seed}: num_env_steps must be finite and ascending, got {x}; sort "
                "the records by environment step"
            )
    common = np.unique(np.concatenate(xs)) if grid is None else np.asarray(grid, dtype=np.float64)
    last = [x[-1] if x.size else -np.inf for x in xs]
    ends = np.asarray(last if reached is None else reached, dtype=np.float64)
    aligned = np.full((len(xs), len(common)), np.nan)
    for seed, (x, y) in enumerate(zip(xs, ys, strict=True)):
        index = np.searchsorted(x, common, side="right") - 1
        known = (index >= 0) & (common <= ends[seed])
        aligned[seed, known] = y[index[known]]
    return common, aligned


def curve_band(returns: ArrayLike, *, confidence: float = 0.95) -> CurveBand:
    """Return the mean over seeds and its interval at every x: `mean_interval` for all x at once.

    Args:
        returns: `[S, E]`; nan where a seed has no value (it failed or stopped earlier). Each x
            uses the seeds that have one, and `num_seeds` counts them.
        confidence: pointwise, not of the band as a whole, in (0, 1).
    """
    x = np.asarray(returns, dtype=np.float64)
    _check_share("confidence", confidence)
    if x.ndim != 2 or np.any(np.isinf(x)):
        raise ValueError(
            f"computing the band of a learning curve: expected returns [S, E], finite or nan, got "
            f"shape {x.shape} with {int(np.isinf(x).sum())} infinite values; pass one row per seed"
        )
    num_seeds = np.isfinite(x).sum(axis=0)
    ordered = np.sort(x, axis=0)  # puts nan last
    mean, low, high = np.full((3, x.shape[1]), np.nan)
    for n in np.unique(num_seeds[num_seeds > 0]):
        at = num_seeds == n
        mean[at], low[at], high[at] = _mean_intervals(ordered[:n, at], confidence)
    return CurveBand(mean, low, high, num_seeds, confidence)


def _mean_intervals(x: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Return mean, low and high `[K]` of the sorted columns of `x [n, K]`."""
    n = len(x)
    scale = _scale(x)
    x = x / scale
    mean = x.mean(axis=0)
    if n == 1:
        return mean * scale, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = np.sqrt(x.var(axis=0) / (n - 1))
    half_width = _student_quantile(confidence, n - 1) * error
    low, high = mean - half_width, mean + half_width
    if n >= _FEWEST_TO_RESAMPLE:
        deviation, resampled_error = _bootstrap(x - mean, stream=0)
        lower, upper = _studentised_limits(mean, error, deviation, resampled_error, confidence)
        gap = (x[-1] - x[0]) / (n - 1)
        low = np.minimum(np.maximum(lower, x[0] - gap), np.maximum(low, x[0]))
        high = np.maximum(np.minimum(upper, x[-1] + gap), np.minimum(high, x[-1]))
    constant = x[0] == x[-1]
    mean, low, high = (np.where(constant, x[0], limit) for limit in (mean, low, high))
    return mean * scale, low * scale, high * scale


def _difference_interval(a: Floats, b: Floats, confidence: float) -> tuple[float, float, float]:
    """Return mean of a - mean of b and its limits, by a studentised bootstrap over both agents."""
    scale = float(_scale(np.concatenate([a, b])))
    a, b = a / scale, b / scale
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) == 1:
        return difference * scale, np.nan, np.nan
    square_a, square_b = a.var() / (len(a) - 1), b.var() / (len(b) - 1)
    error = float(np.sqrt(square_a + square_b))
    if error == 0 or (a[0] == a[-1] and b[0] == b[-1]):
        difference = float(a[0] - b[0]) * scale
        return difference, difference, difference
    freedom = (square_a + square_b) ** 2 / (square_a**2 / (len(a) - 1) + square_b**2 / (len(b) - 1))
    half_width = _student_quantile(confidence, freedom) * error
    low, high = difference - half_width, difference + half_width
    if min(len(a), len(b)) >= _FEWEST_TO_RESAMPLE:
        deviation_a, error_a = _bootstrap((a - a.mean())[:, None], stream=0)
        deviation_b, error_b = _bootstrap((b - b.mean())[:, None], stream=1)
        lower, upper = _studentised_limits(
            np.array([difference]),
            np.array([error]),
            deviation_a - deviation_b,
            np.hypot(error_a, error_b),
            confidence,
        )
        gap = (a[-1] - a[0]) / (len(a) - 1) + (b[-1] - b[0]) / (len(b) - 1)
        worst, best = float(a[0] - b[-1]), float(a[-1] - b[0])
        low = min(max(float(lower[0]), worst - gap), max(low, worst))
        high = max(min(float(upper[0]), best + gap), min(high, best))
    return difference * scale, low * scale, high * scale


def _bootstrap(centred: Floats, *, stream: int) -> tuple[Floats, Floats]:
    """Return means and standard errors `[K, B]` of resamples of the columns of `centred [n, K]`."""
    n = len(centred)
    weights = _resample_weights(n, stream).T
    means = centred.T @ weights
    variances = np.maximum((centred * centred).T @ weights - means * means, 0.0)
    return means, np.sqrt(variances / (n - 1))


def _studentised_limits(
    estimate: Floats, error: Floats, deviation: Floats, resampled_error: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """Return limits `[K]` from the deviations and standard errors of the resamples `[K, B]`."""
    safe = np.where(error > 0, error, 1.0)[:, None]
    t = deviation / np.maximum(resampled_error, _SMALLEST_ERROR_RATIO * safe)
    q_low, q_high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    # With a low confidence and few distinct scores both quantiles can have the same sign.
    return estimate - np.maximum(q_high, 0) * error, estimate - np.minimum(q_low, 0) * error


@lru_cache(maxsize=64)
def _resamples(n: int, stream: int = 0) -> NDArray[np.int64]:
    """Return indices `[B, n]` into n sorted scores, rows ascending, second half mirrored.

    They are the same in every call with the same n, so results do not depend on earlier calls.
    """
    drawn = np.random.default_rng([_SEED, n, stream]).integers(0, n, (_NUM_RESAMPLES // 2, n))
    drawn.sort(axis=1)
    return np.concatenate([drawn, n - 1 - drawn[:, ::-1]])


@lru_cache(maxsize=64)
def _resample_weights(n: int, stream: int) -> Floats:
    """Return how often each of n scores occurs in each resample, divided by n, `[B, n]`."""
    index = _resamples(n, stream) + n * np.arange(_NUM_RESAMPLES)[:, None]
    counts = np.bincount(index.ravel(), minlength=_NUM_RESAMPLES * n)
    return counts.reshape(_NUM_RESAMPLES, n) / n


def _permutation_p_value(a: Floats, b: Floats) -> float:
    scale = _scale(np.concatenate([a, b]))
    if a[0] == a[-1] == b[0] == b[-1]:
        return 1.0

    if min(len(a), len(b)) == 1:  # scipy needs two; here the rank of the single score decides
        alone, pooled = (a if len(a) == 1 else b)[0], np.concatenate([a, b])
        return min(1.0, 2 * float(min(np.mean(pooled <= alone), np.mean(pooled >= alone))))
    from scipy.stats import permutation_test  # costs 0.8 s to import

    def difference_of_means(u: Floats, v: Floats, axis: int = -1) -> Floats:
        return np.asarray(u.mean(axis=axis) - v.mean(axis=axis))

    result = permutation_test(
        (a / scale, b / scale),
        difference_of_means,
        n_resamples=_NUM_PERMUTATIONS,
        vectorized=True,
        random_state=np.random.default_rng(_SEED),
    )
    return float(result.pvalue)


def _smallest_p_value(a: Floats, b: Floats) -> float:
    """Return the p-value of the most extreme split of the pooled scores."""
    pooled = np.sort(np.concatenate([a, b]))
    num_splits = math.comb(len(pooled), len(a))
    smallest = 1.0
    for ordered in (pooled, pooled[::-1]):
        edge = ordered[len(a) - 1]  # ties with the last score taken make equally extreme splits
        ways = math.comb(int((pooled == edge).sum()), int((ordered[: len(a)] == edge).sum()))
        smallest = min(smallest, 2 * ways / num_splits)
    resolution = 0.0 if num_splits <= _NUM_PERMUTATIONS else 2 / (_NUM_PERMUTATIONS + 1)
    return max(smallest, resolution)


def _scale(x: Floats) -> Floats:
    """Return the power of two just below each column's largest |x|.

    Dividing by it is exact, and afterwards squares neither overflow nor underflow.
    """
    exponent = np.frexp(np.abs(x).max(axis=0))[1] - 1
    return np.asarray(np.ldexp(1.0, np.maximum(exponent, -1022)))


def _student_quantile(confidence: float, freedom: float) -> float:
    from scipy.special import stdtrit  # lighter than scipy.stats

    return float(stdtrit(freedom, (1 + confidence) / 2))


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
    if n < _FEWEST_TO_RESAMPLE:
        return f"{n} seeds: Student's t interval, right only if returns are bell-shaped"
    return ""


def _as_scores(scores: ArrayLike, doing: str) -> Floats:
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


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is a fraction between 0 and 1, got {value}; 95 % is 0.95")
