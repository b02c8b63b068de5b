"""Several agents on several environments: normalised scores, their aggregates, and verdicts.

A score is normalised to 0 at random play and 1 at the best that is known. The aggregates are those
of Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice,
arXiv 2108.13264: the interquartile mean over all seeds and environments, the probability of
improvement and the performance profile. Intervals resample the seeds of each environment by
themselves. An agent's scores are a list of one array `[S]` per environment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlkit.analysis.comparisons import PairTest, midranks
from rlkit.analysis.intervals import Interval, as_scores, check_share
from rlkit.analysis.resampling import SEED, Floats, resamples, student_quantile

_NUM_PERMUTATIONS = 9999
_NORMAL_95 = 1.959963984540054


def normalised(scores: ArrayLike, random: float, best: float) -> Floats:
    """Return scores on a scale with 0 at random play and 1 at the best.

        (score - random) / (best - random)

    Raises:
        ValueError: the best is not better than random play.
    """
    if not best > random:
        raise ValueError(
            f"normalising scores: expected the best above random play, got {best} and {random}"
        )
    x = np.asarray(scores, dtype=np.float64)
    return np.asarray((x - random) / (best - random))


def interquartile_mean(scores: Sequence[ArrayLike]) -> float:
    """Return the mean of the middle half of the scores of all seeds and environments together.

    A quarter, rounded down, is removed at each end: scipy.stats.trim_mean(x, 0.25).
    """
    return float(_middle_mean(np.concatenate(_checked(scores))[None])[0])


def improvement_probability(a: Sequence[ArrayLike], b: Sequence[ArrayLike]) -> float:
    """Return the probability that a seed of a is better than one of b, the mean over environments.

    P(x > y) + P(x = y) / 2
    """
    pairs = list(zip(_checked(a), _checked(b), strict=True))
    return float(np.mean([_improvement(*midranks(x, y)) for x, y in pairs]))


def performance_profile(scores: Sequence[ArrayLike], thresholds: ArrayLike) -> Floats:
    """Return the fraction of the scores of all seeds and environments above each threshold."""
    pooled = np.sort(np.concatenate(_checked(scores)))
    above = len(pooled) - np.searchsorted(pooled, np.asarray(thresholds), side="right")
    return np.asarray(above / len(pooled))


def iqm_over_environments(scores: Sequence[ArrayLike], *, confidence: float = 0.95) -> Interval:
    """Return the interquartile mean over seeds and environments with its interval.

    The percentile bootstrap of which each resample draws the seeds of each environment with
    replacement, stretched around the estimate by

        sqrt(n / (n - 1)) t_(n - 1) / z

    with n the fewest seeds of an environment, t and z the quantiles of Student's and the normal
    distribution: resamples of n seeds vary less than seeds do. `docs/statistics.md` has the
    measured coverage. With one seed the limits are nan.
    """
    x = [np.sort(one) for one in _checked(scores)]

    def resampled(draws: Sequence[Floats]) -> Floats:
        return _middle_mean(np.concatenate(draws, axis=1))

    return _interval(x, interquartile_mean(x), resampled, confidence)


def improvement_interval(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, confidence: float = 0.95
) -> Interval:
    """Return the probability of improvement with its interval, as in `iqm_over_environments`."""
    x, y = ([np.sort(one) for one in _checked(side)] for side in (a, b))

    def resampled(draws: Sequence[Floats]) -> Floats:
        each = [
            ((u[:, :, None] > v[:, None, :]) + 0.5 * (u[:, :, None] == v[:, None, :])).mean((1, 2))
            for u, v in zip(draws[: len(x)], draws[len(x) :], strict=True)
        ]
        return np.asarray(np.mean(each, axis=0))

    estimate = improvement_probability(x, y)
    interval = _interval([*x, *y], estimate, resampled, confidence)
    low, high = (float(np.clip(limit, 0, 1)) for limit in (interval.low, interval.high))
    return Interval(estimate, low, high, confidence, interval.note)


class ProfileBand(NamedTuple):
    """A performance profile with its pointwise interval."""

    thresholds: Floats  # [K]
    fraction: Floats  # [K]
    low: Floats  # [K]
    high: Floats  # [K]


def profile_band(
    scores: Sequence[ArrayLike], thresholds: ArrayLike, *, confidence: float = 0.95
) -> ProfileBand:
    """Return the performance profile at each threshold and its pointwise percentile interval."""
    check_share("confidence", confidence)
    x = [np.sort(one) for one in _checked(scores)]
    grid = np.asarray(thresholds, dtype=np.float64)
    draws = np.sort(np.concatenate(_draws(x), axis=1), axis=1)
    above = np.stack([(draws > threshold).mean(axis=1) for threshold in grid])
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(above, tails, axis=1)
    return ProfileBand(grid, performance_profile(x, grid), low, high)


def compare_over_environments(scores: Mapping[str, Sequence[ArrayLike]]) -> list[PairTest]:
    """Return the test of every pair of agents over all environments.

    The statistic is the probability of improvement, the mean over environments. If a and b were
    the same agent in each environment, any split of the pooled seeds of each would be as likely as
    the one observed: the p-value is twice the share of 9999 random splits, always the same ones,
    and the observed one, that are at least as extreme on the same side. The scores of different
    environments are never compared, so no normalisation changes the p-value.

    `difference` is that of the interquartile means; it has no limits here.
    """
    checked = {name: _checked(one) for name, one in scores.items()}
    return [_compare(a, checked[a], b, checked[b]) for a, b in combinations(checked, 2)]


def _compare(a: str, x: Sequence[Floats], b: str, y: Sequence[Floats]) -> PairTest:
    ranks = [midranks(u, v) for u, v in zip(x, y, strict=True)]
    observed = sum(_improvement(u, v) for u, v in ranks)
    splits, extreme = np.zeros(_NUM_PERMUTATIONS), [1.0, 1.0]
    for stratum, (u, v) in enumerate(ranks):
        pooled = np.concatenate([u, v])
        n, m = len(u), len(v)
        order = _permutations(n + m, stratum)[:, :n]
        splits += (pooled[order].sum(axis=1) / n - (n + 1) / 2) / m
        ordered, num_splits = np.sort(pooled), math.comb(n + m, n)
        for side, values in enumerate((ordered, ordered[::-1])):
            extreme[side] *= _ways(values, n) / num_splits
    slack = 1e-12 * len(ranks)
    more, fewer = (
        (1 + int((side * (splits - observed) >= -slack).sum())) / (_NUM_PERMUTATIONS + 1)
        for side in (1, -1)
    )
    tie = all(u[0] == u[-1] == v[0] == v[-1] for u, v in ranks)
    return PairTest(
        *(a, b, interquartile_mean(x) - interquartile_mean(y), math.nan, math.nan),
        p_value=1.0 if tie else min(1.0, 2 * min(more, fewer)),
        smallest_p_value=max(min(1.0, 2 * min(extreme)), 2 / (_NUM_PERMUTATIONS + 1)),
        lead=observed - len(ranks) / 2,
        tie=tie,
    )


def _ways(ordered: Floats, taken: int) -> int:
    """Return how many choices of `taken` of the ordered values have the most extreme sum."""
    edge = ordered[taken - 1]
    return math.comb(int((ordered == edge).sum()), int((ordered[:taken] == edge).sum()))


@lru_cache(maxsize=32)
def _permutations(size: int, stratum: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    generator = np.random.default_rng([SEED, size, stratum, 1])
    return np.argsort(generator.random((_NUM_PERMUTATIONS, size)), axis=1)


def _improvement(ranks_a: Floats, ranks_b: Floats) -> float:
    """Return P(x > y) + P(x = y) / 2 from the midranks of both samples in the pooled one."""
    n, m = len(ranks_a), len(ranks_b)
    return float((ranks_a.mean() - (n + 1) / 2) / m)


def _middle_mean(x: Floats) -> Floats:
    """Return the interquartile mean of each row."""
    n = x.shape[1]
    g = n // 4
    return np.asarray(np.sort(x, axis=1)[:, g : n - g].mean(axis=1))


def _draws(sorted_scores: Sequence[Floats]) -> list[Floats]:
    """Return resamples `[B, S]` of each environment's seeds."""
    return [x[resamples(len(x), stream)] for stream, x in enumerate(sorted_scores)]


def _interval(
    sorted_scores: Sequence[Floats],
    estimate: float,
    resampled: Callable[[Sequence[Floats]], Floats],
    confidence: float,
) -> Interval:
    check_share("confidence", confidence)
    n = min(map(len, sorted_scores))
    if n == 1:
        return Interval(estimate, math.nan, math.nan, confidence, "one seed: no interval")
    values = resampled(_draws(sorted_scores))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    normal = _NORMAL_95 if confidence == 0.95 else student_quantile(confidence, 1e9)
    stretch = math.sqrt(n / (n - 1)) * student_quantile(confidence, n - 1) / normal
    return Interval(
        estimate,
        estimate + min(0.0, float(low) - estimate) * stretch,
        estimate + max(0.0, float(high) - estimate) * stretch,
        confidence,
    )


def _checked(scores: Sequence[ArrayLike]) -> list[Floats]:
    if not len(scores):
        raise ValueError("aggregating scores: expected at least one environment, got none")
    return [as_scores(one, "aggregating scores over environments") for one in scores]
