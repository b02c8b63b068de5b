"""Comparisons of agents: whether the mean of one is better, or the seeds are too few."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.intervals import as_scores, check_share
from rlkit.analysis.resampling import (
    FEWEST_TO_RESAMPLE,
    SEED,
    Floats,
    bootstrap,
    power_of_two,
    student_quantile,
    studentised_limits,
)

_NUM_PERMUTATIONS = 9999


@dataclass(frozen=True)
class PairTest:
    """The test of agents `a` and `b` by themselves, before it is one of a family."""

    a: str
    b: str
    difference: float  # mean of a - mean of b
    low: float  # interval of the difference; nan with one seed
    high: float
    p_value: float
    smallest_p_value: float  # of the most extreme split of these scores
    lead: float  # > 0 where a is the better one, if one is
    tie: bool  # every score of both is the same


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


def compare_pairs(
    scores: Mapping[str, ArrayLike],
    *,
    alpha: float = 0.05,
    ranking: Mapping[str, ArrayLike] | None = None,
) -> list[PairComparison]:
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
        ranking: agent name -> `[S]`, numbers whose order alone decides the p-value and the verdict,
            more is better; infinite ones are allowed. The test is then that of the mean rank.

    Returns:
        One comparison per pair, in the order of the mapping.
    """
    check_share("alpha", alpha)
    tests = [
        compare_pair(
            *(a, scores[a], b, scores[b]),
            alpha=alpha,
            ranking=None if ranking is None else (ranking[a], ranking[b]),
        )
        for a, b in combinations(scores, 2)
    ]
    return give_verdicts(tests, alpha=alpha)


def compare_pair(
    a: str,
    scores_a: ArrayLike,
    b: str,
    scores_b: ArrayLike,
    *,
    alpha: float = 0.05,
    ranking: tuple[ArrayLike, ArrayLike] | None = None,
) -> PairTest:
    """Return the test of one pair by itself; see `compare_pairs`."""
    x = np.sort(as_scores(scores_a, f"comparing agent {a!r}"))
    y = np.sort(as_scores(scores_b, f"comparing agent {b!r}"))
    difference, low, high = _difference_interval(x, y, 1 - alpha)
    u, v = (x, y) if ranking is None else midranks(*ranking)
    return PairTest(
        *(a, b, difference, low, high),
        p_value=_permutation_p_value(u, v),
        smallest_p_value=_smallest_p_value(u, v),
        lead=difference if ranking is None else float(u.mean() - v.mean()),
        tie=bool(u[0] == u[-1] == v[0] == v[-1]),
    )


def give_verdicts(tests: Sequence[PairTest], *, alpha: float = 0.05) -> list[PairComparison]:
    """Return the comparisons of a family of tests, corrected over all of them by Holm's method."""
    raw = np.array([test.p_value for test in tests])
    corrected = holm(raw)
    result = []
    for i, test in enumerate(tests):
        best_case = raw.copy()
        best_case[i] = min(raw[i], test.smallest_p_value)
        if test.tie:
            verdict = "tie"
        elif corrected[i] <= alpha:
            verdict = "better" if test.lead > 0 else "worse"
        else:
            verdict = "too few seeds" if holm(best_case)[i] > alpha else "no evidence"
        p_values = float(raw[i]), float(corrected[i])
        result.append(
            PairComparison(test.a, test.b, test.difference, test.low, test.high, *p_values, verdict)
        )
    return result


def verdict_in_words(a: str, b: str, verdict: str) -> str:
    """Return what the verdict on a pair of agents says, as a sentence without its end."""
    return {
        "better": f"{a} is better than {b}",
        "worse": f"{a} is worse than {b}",
        "tie": f"{a} and {b} tie: every score is the same",
        "too few seeds": f"{a} and {b}: too few seeds to tell",
        "one seed": f"{a} and {b}: no verdict, because a single model that was trained elsewhere "
        "may be the best or the worst of many seeds",
    }.get(verdict, f"{a} and {b}: {verdict} of a difference")


def midranks(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Return the sorted ranks of both samples in the pooled one, equal values sharing their mean.

    Ranks count from 1. Infinite values are ordered as numbers are.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    _, place, count = np.unique(np.concatenate([x, y]), return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return np.sort(rank[: len(x)]), np.sort(rank[len(x) :])


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


def _difference_interval(a: Floats, b: Floats, confidence: float) -> tuple[float, float, float]:
    """Return mean of a - mean of b and its limits, by a studentised bootstrap over both agents."""
    scale = float(power_of_two(np.concatenate([a, b])))
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
    half_width = student_quantile(confidence, freedom) * error
    low, high = difference - half_width, difference + half_width
    if min(len(a), len(b)) >= FEWEST_TO_RESAMPLE:
        shift_a, error_a = bootstrap((a - a.mean())[:, None], stream=0)
        shift_b, error_b = bootstrap((b - b.mean())[:, None], stream=1)
        lower, upper = studentised_limits(
            np.array([difference]),
            np.array([error]),
            shift_a - shift_b,
            np.hypot(error_a, error_b),
            confidence,
        )
        gap = (a[-1] - a[0]) / (len(a) - 1) + (b[-1] - b[0]) / (len(b) - 1)
        worst, best = float(a[0] - b[-1]), float(a[-1] - b[0])
        low = min(max(float(lower[0]), worst - gap), max(low, worst))
        high = max(min(float(upper[0]), best + gap), min(high, best))
    return difference * scale, low * scale, high * scale


def _permutation_p_value(a: Floats, b: Floats) -> float:
    scale = power_of_two(np.concatenate([a, b]))
    if a[0] == a[-1] == b[0] == b[-1]:
        return 1.0

    if min(len(a), len(b)) == 1:  # scipy needs two; here the rank of the single score decides
        alone, pooled = (a if len(a) == 1 else b)[0], np.concatenate([a, b])
        return min(1.0, 2 * float(min(np.mean(pooled <= alone), np.mean(pooled >= alone))))
    return _p_value(a / scale, b / scale)


def _p_value(a: Floats, b: Floats) -> float:
    """Return what scipy.stats.permutation_test does, from splits that are drawn once.

    Drawing them takes twenty times as long as all the rest.
    """
    first, second = _splits(len(a), len(b))
    pooled = np.concatenate([a, b])
    observed = a.mean(axis=-1) - b.mean(axis=-1)
    null = pooled[first].mean(axis=-1) - pooled[second].mean(axis=-1)
    slack = abs(np.finfo(np.float64).eps * 100 * observed)  # scipy's, for equal splits
    counts = (null <= observed + slack).sum(), (null >= observed - slack).sum()
    drawn = int(len(null) < math.comb(len(pooled), len(a)))  # then the observed one counts as well
    return float(min(1.0, 2 * min(int(count) + drawn for count in counts) / (len(null) + drawn)))


@lru_cache(maxsize=16)
def _splits(n: int, m: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the splits of n + m scores that scipy.stats.permutation_test tries, as indices."""
    from scipy.stats import permutation_test  # costs 0.8 s to import

    tried: list[tuple[Floats, Floats]] = []

    def keep(u: Floats, v: Floats, axis: int = -1) -> Floats:
        tried.append((u, v))
        return np.asarray(u.mean(axis=axis) - v.mean(axis=axis))

    permutation_test(
        (np.arange(n, dtype=np.float64), np.arange(n, n + m, dtype=np.float64)),
        keep,
        n_resamples=_NUM_PERMUTATIONS,
        vectorized=True,
        random_state=np.random.default_rng(SEED),
    )
    first, second = tried[-1]  # before it came the observed one
    return first.astype(np.intp), second.astype(np.intp)


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
