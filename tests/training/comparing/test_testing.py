"""Tests of pairs: ranks where returns were never reached, several looks, and numbers of seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.comparisons import give_verdicts
from rlkit.analysis.power import shares_of_alpha
from rlkit.training.comparing.metrics import Values
from rlkit.training.comparing.testing import pair_tests, seeds_needed

NAN, INF = float("nan"), float("inf")


def scores(*numbers: float) -> Values:
    return Values(np.array(numbers), None)


def steps(*numbers: float, budget: float = 100.0) -> Values:
    taken = np.array(numbers)
    return Values(np.minimum(taken, budget), -taken)


def test_returns_never_reached_count_as_the_last_rank_and_are_not_dropped() -> None:
    a, b = steps(10, 20, 30, 40, 50), steps(60, 70, INF, INF, INF)
    (test,) = pair_tests({"a": a, "b": b})
    x, y = np.array([10, 20, 30, 40, 50]), np.array([60, 70, 999, 999, 999])
    expected = stats.permutation_test(
        (x, y),
        lambda u, v, axis=-1: stats.rankdata(np.concatenate([u, v], -1), axis=-1)[..., :5].mean(-1),
        vectorized=True,
    )  # all 252 splits
    assert test.p_value == pytest.approx(expected.pvalue)
    assert test.p_value == pytest.approx(2 / 252)
    assert test.lead > 0
    assert test.difference == pytest.approx(30 - 86)
    # Without the three that never reached it, b would be two seeds: no verdict.
    (pair,) = give_verdicts([test])
    assert pair.verdict == "better"
    (dropped,) = give_verdicts(pair_tests({"a": a, "b": steps(60, 70)}))
    assert dropped.verdict == "too few seeds"


def test_agents_that_never_reach_it_tie() -> None:
    (pair,) = give_verdicts(pair_tests({"a": steps(INF, INF), "b": steps(INF, INF)}))
    assert pair.verdict == "tie"


def test_failed_seeds_are_omitted_and_contenders_without_any_other_too() -> None:
    tests = pair_tests({"a": scores(1, NAN, 3), "b": scores(2, 2, 2), "c": scores(NAN, NAN)})
    assert [(test.a, test.b) for test in tests] == [("a", "b")]
    assert tests[0].difference == 0


def test_each_look_spends_its_share_and_a_later_one_cannot_take_it_back() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(2.0, 1.0, 20), rng.normal(0.0, 1.0, 20)
    a[10:], b[10:] = b[10:], a[10:] + 0.5  # the second half says the opposite
    values = {"a": Values(a, None), "b": Values(b, None)}
    looks, shares = (10, 15, 20), shares_of_alpha(3)
    (first,) = pair_tests({name: Values(one.scores[:10], None) for name, one in values.items()})
    (test,) = pair_tests(values, looks)
    assert test.p_value == pytest.approx(first.p_value / shares[0])
    assert test.lead == first.lead > 0
    assert test.difference == pytest.approx(a.mean() - b.mean())
    (early,) = pair_tests({name: Values(one.scores[:10], None) for name, one in values.items()},
                          looks)  # fmt: skip
    assert early.p_value == test.p_value  # the decision was made by then
    (once,) = pair_tests(values, (20,))
    assert once == pair_tests(values)[0]


@pytest.mark.parametrize("kind", ["mean", "rank"])
def test_identical_agents_are_rarely_told_apart_at_any_look(kind: str) -> None:
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(100):
        drawn = rng.exponential(size=(2, 10))
        both: Any = [
            Values(np.minimum(x, 1.5), -np.where(x > 1.5, INF, x))
            if kind == "rank" else Values(x, None)
            for x in drawn
        ]  # fmt: skip
        false += pair_tests(dict(zip("ab", both, strict=True)), (4, 7, 10))[0].p_value <= 0.05
    assert false <= 10  # the 98 % quantile of Binomial(100, .05)


def test_seeds_are_advised_only_where_a_pair_is_undecided() -> None:
    a, b = scores(1, 2, 3, 4), scores(2, 3, 4, 5)
    (undecided,) = give_verdicts(pair_tests({"a": a, "b": b}))
    needed = seeds_needed(undecided, a, b, 1)
    # Guenther by hand: (1.96 + 0.8416)^2 * 2 * 5/3 / 1 + 1.96^2 / 4 = 27.1.
    assert needed == 28
    more = seeds_needed(undecided, a, b, 10)
    assert more is not None
    assert more > needed
    x, y = steps(10, 20, 30, INF), steps(15, 25, 35, INF)
    (undecided,) = give_verdicts(pair_tests({"a": x, "b": y}))
    # p = (4 + 3 + 2 + 0.5) / 16; Noether by hand: 7.849 / (6 (.59375 - .5)^2) = 148.8.
    assert seeds_needed(undecided, x, y, 1) == 149
    far, near = scores(1, 2, 3, 4, 5), scores(11, 12, 13, 14, 15)
    (decided,) = give_verdicts(pair_tests({"a": far, "b": near}))
    assert seeds_needed(decided, far, near, 1) is None
