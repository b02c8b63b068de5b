"""How many seeds would separate a difference of the size that was observed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from rlkit.analysis.intervals import as_scores, check_share

MOST_SEEDS = 100_000  # more than anybody trains


def seeds_to_separate(
    a: ArrayLike, b: ArrayLike, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return the seeds of each agent with which a difference of means of this size is found.

        n = (z_(1 - alpha / 2) + z_power)^2 (s_a^2 + s_b^2) / d^2 + z_(1 - alpha / 2)^2 / 4

    with d the difference of means and s the standard deviations of the two samples. The last term
    is Guenther's correction for Student's t. Fewer than `fewest_seeds` are never enough.

    The d of few seeds is uncertain itself: the number says what a difference of this size takes,
    not that there is one.

    Args:
        a: scores of one agent, `[S]`.
        b: of the other.
        alpha: of the test, after correction for the number of tests, in (0, 1).
        power: probability of finding the difference, in (0, 1).

    Returns:
        the number, or None if it is infinite or above 100,000.

    Source: Guenther (1981), The American Statistician 35, 243-244.
    """
    x, y = (as_scores(scores, "computing the seeds to separate two agents") for scores in (a, b))
    difference = float(x.mean() - y.mean())
    spread = sum(float(one.var(ddof=1)) if len(one) > 1 else 0.0 for one in (x, y))
    if difference == 0 or (spread == 0 and len(x) + len(y) < 4):
        return None
    quantile, both = _quantiles(alpha, power)
    return _whole(both**2 * spread / difference**2 + quantile**2 / 4, alpha)


def seeds_to_separate_ranks(
    improvement: float, *, num_strata: int = 1, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return the seeds of each agent with which the test of mean ranks finds the difference.

        n = (z_(1 - alpha / 2) + z_power)^2 / (6 M (p - 1/2)^2)

    Args:
        improvement: p, the probability that a seed of one agent is better than one of the other,
            in [0, 1]; the mean over strata.
        num_strata: M, the environments with n seeds of each agent, >= 1.
        alpha: of the test, after correction for the number of tests, in (0, 1).
        power: probability of finding the difference, in (0, 1).

    Returns:
        the number, or None if it is infinite or above 100,000.

    Source: Noether (1987), Journal of the American Statistical Association 82, 645-647.
    """
    if improvement == 0.5:
        return None
    _, both = _quantiles(alpha, power)
    return _whole(both**2 / (6 * num_strata * (improvement - 0.5) ** 2), alpha, num_strata)


def fewest_seeds(alpha: float, num_strata: int = 1) -> int:
    """Return the smallest n with which n against n seeds can reach a p-value of `alpha`.

    The most extreme of all splits has the p-value 2 / C(2 n, n)^M.
    """
    n = 1
    while 2 / math.comb(2 * n, n) ** num_strata > alpha:
        n += 1
    return n


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    check_share("alpha", alpha)
    check_share("power", power)
    normal = NormalDist()
    quantile = normal.inv_cdf(1 - alpha / 2)
    return quantile, quantile + normal.inv_cdf(power)


def _whole(seeds: float, alpha: float, num_strata: int = 1) -> int | None:
    if seeds > MOST_SEEDS:
        return None
    return max(math.ceil(seeds), fewest_seeds(alpha, num_strata))


def looks_at(first: int, most: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which a comparison is looked at, up to `most`.

    They grow by the same factor, at most 1.75: 10, 17, 29, 50.
    """
    if most <= first:
        return (first,)
    steps = math.ceil(math.log(most / first) / math.log(1.75))
    looks = [round(first * (most / first) ** (k / steps)) for k in range(steps + 1)]
    return tuple(sorted(set(looks)))


def shares_of_alpha(num_looks: int) -> tuple[float, ...]:
    """Return the share of alpha that each look may spend, growing with the seeds: 1, 2, 3, ... .

    The sum is 1, so that the probability of a false verdict at any look is at most alpha, whatever
    the looks have in common.
    """
    total = num_looks * (num_looks + 1) / 2
    return tuple((k + 1) / total for k in range(num_looks))


def smallest_over_looks(p_values: Sequence[float], shares: Sequence[float]) -> float:
    """Return the p-value of several looks: the smallest of p / share, at most 1.

    If each p-value exceeds any x with probability at least 1 - x where there is no difference, so
    does this one, for the shares add up to at most 1.
    """
    ratios = [p / share for p, share in zip(p_values, shares, strict=True)]
    return float(np.min([1.0, *ratios]))
