"""Tests of pairs of contenders, by all seeds at once or by several looks at ever more of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.analysis.comparisons import PairComparison, PairTest, compare_pair, midranks
from rlkit.analysis.power import (
    seeds_to_separate,
    seeds_to_separate_ranks,
    shares_of_alpha,
    smallest_over_looks,
)
from rlkit.training.comparing.metrics import Values

Array = NDArray[Any]
ALPHA = 0.05
UNDECIDED = ("too few seeds", "no evidence")


def pair_tests(values: Mapping[str, Values], looks: Sequence[int] = ()) -> list[PairTest]:
    """Return the test of every pair of contenders that have a finished seed.

    Args:
        values: by contender.
        looks: the planned numbers of seeds at which the comparison is looked at; none = once.
    """
    known = {name: one for name, one in values.items() if np.isfinite(one.scores).any()}

    def test(number: int | None) -> list[PairTest]:
        return [
            _test(a, _first(known[a], number), b, _first(known[b], number))
            for a, b in combinations(known, 2)
        ]

    return over_looks(test, looks, most_seeds(values))


def one_seed(a: str, x: Array, b: str, y: Array) -> PairComparison:
    """Return the comparison of a pair that no test is about, because one of it is a single model.

    Which of many seeds of its training the model is, nobody knows: it may be the best of them.
    """
    difference, nan = float(x.mean() - y.mean()), float("nan")
    return PairComparison(a, b, difference, nan, nan, nan, nan, "one seed")


def most_seeds(values: Mapping[str, Values]) -> int:
    """Return the seeds of the contender that has most."""
    return max((len(one.scores) for one in values.values()), default=0)


def over_looks(
    test: Callable[[int | None], list[PairTest]], looks: Sequence[int], num_seeds: int
) -> list[PairTest]:
    """Return the tests of all seeds, with the p-values of the looks up to now.

    Each look spends its share of alpha (`shares_of_alpha`): a p-value is the smallest of p / share,
    and the better one is that of the look which gave it.

    Args:
        test: returns the tests of the first seeds; None = of all.
        looks: planned; none = once.
        num_seeds: that there are.
    """
    if len(looks) < 2:
        return test(None)
    taken = [look for look in looks if look <= num_seeds] or [looks[0]]
    shares = shares_of_alpha(len(looks))[: len(taken)]
    tests = [test(look) for look in taken]
    whole = tests[-1] if taken[-1] >= num_seeds else test(None)
    return [
        dataclasses.replace(
            now,
            p_value=smallest_over_looks([one.p_value for one in before], shares),
            smallest_p_value=smallest_over_looks([one.smallest_p_value for one in before], shares),
            lead=before[
                int(np.argmin([p.p_value / s for p, s in zip(before, shares, strict=True)]))
            ].lead,
        )
        for now, before in zip(whole, zip(*tests, strict=True), strict=True)
    ]


def seeds_needed(pair: PairComparison, a: Values, b: Values, num_tests: int) -> int | None:
    """Return the seeds of each contender that would separate a difference of this size.

    The power is 80 %, at the level that Bonferroni's correction for all tests leaves. None where
    the pair is decided, there are as many already, or no number of seeds is known to suffice.
    """
    if pair.verdict not in UNDECIDED:
        return None
    alpha = ALPHA / max(1, num_tests)
    x, y = _first(a, None), _first(b, None)
    if x.ranking is None or y.ranking is None:
        needed = seeds_to_separate(x.scores, y.scores, alpha=alpha)
    else:
        ranks, _ = midranks(x.ranking, y.ranking)
        improvement = (ranks.mean() - (len(ranks) + 1) / 2) / len(y.ranking)
        needed = seeds_to_separate_ranks(float(improvement), alpha=alpha)
    return more_than(needed, min(len(x.scores), len(y.scores)))


def more_than(needed: int | None, present: int) -> int | None:
    """Return a number of seeds, or None where there are as many already."""
    return needed if needed is not None and needed > present else None


def _test(a: str, x: Values, b: str, y: Values) -> PairTest:
    ranking = None if x.ranking is None or y.ranking is None else (x.ranking, y.ranking)
    return compare_pair(a, x.scores, b, y.scores, alpha=ALPHA, ranking=ranking)


def _first(values: Values, number: int | None) -> Values:
    """Return the finished ones among the first seeds, and all finished ones if those are none."""
    scores = values.scores[:number]
    ended = np.flatnonzero(np.isfinite(scores))
    if not len(ended):
        ended = np.flatnonzero(np.isfinite(values.scores))
    ranking = None if values.ranking is None else values.ranking[ended]
    return Values(values.scores[ended], ranking)
