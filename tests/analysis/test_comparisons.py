"""Comparisons of agents: Holm by hand, full enumeration, and the rate of false verdicts."""

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.comparisons import compare_pairs, holm
from rlkit.analysis.resampling import SEED
from tests.analysis.families import DECILES, failing, lognormal, normal


def test_holm_equals_hand_computed_values():
    # Sorted .01 .02 .04 .05 times 4 3 2 1 = .04 .06 .08 .05; running maximum .04 .06 .08 .08.
    assert holm([0.04, 0.01, 0.05, 0.02]) == pytest.approx([0.08, 0.04, 0.08, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def test_p_value_of_three_against_three_is_a_tenth_and_never_significant():
    # 20 splits, the most extreme one and its mirror image: 2 / 20.
    (pair,) = compare_pairs({"a": [1, 2, 3], "b": [11, 12, 13]})
    assert pair.p_value == pair.raw_p_value == pytest.approx(0.1)
    assert pair.verdict == "too few seeds"
    assert pair.difference == -10


def test_four_against_four_can_be_significant_alone_but_not_among_three_pairs():
    # 2 / 70 = 0.029; times 3 by Holm, 0.086.
    low, high = [1, 2, 3, 4], [11, 12, 13, 14]
    assert compare_pairs({"a": high, "b": low})[0].verdict == "better"
    assert compare_pairs({"a": low, "b": high})[0].verdict == "worse"
    three = compare_pairs({"a": low, "b": high, "c": [21, 22, 23, 24]})
    assert [pair.verdict for pair in three] == ["too few seeds"] * 3


@pytest.mark.parametrize("sizes", [(3, 4), (7, 7), (8, 8), (10, 10), (12, 5), (2, 150)])
def test_p_values_are_those_of_scipy_to_the_last_bit(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sizes)
    for step in (None, 0.1, 1.0, 1e9):
        a, b = (rng.normal(size=size) for size in sizes)
        if step is not None:
            a, b = np.round(a) * step, np.round(b) * step
        scale = 2.0 ** (np.frexp(np.abs([*a, *b]).max())[1] - 1)
        expected = stats.permutation_test(
            (np.sort(a) / scale, np.sort(b) / scale),
            lambda u, v, axis=-1: u.mean(axis=axis) - v.mean(axis=axis),
            n_resamples=9999,
            vectorized=True,
            random_state=np.random.default_rng(SEED),
        )
        assert compare_pairs({"a": a, "b": b})[0].raw_p_value == expected.pvalue


def test_p_value_equals_full_enumeration():
    a, b = np.array([3.0, 8.0, 1.0, 9.0, 7.0]), np.array([2.0, 2.5, 0.0, 6.0])
    pooled = np.concatenate([a, b])
    observed = a.mean() - b.mean()
    masks = [m for m in range(2**9) if m.bit_count() == 5]
    taken = np.array([[m >> i & 1 for i in range(9)] for m in masks], dtype=bool)
    differences = np.array([pooled[t].mean() - pooled[~t].mean() for t in taken])
    expected = 2 * min(
        np.mean(differences >= observed - 1e-12), np.mean(differences <= observed + 1e-12)
    )
    assert compare_pairs({"a": a, "b": b})[0].raw_p_value == pytest.approx(expected)


def test_equal_scores_of_both_agents_are_a_tie():
    (pair,) = compare_pairs({"a": [500.0] * 10, "b": [500.0] * 7})
    assert (pair.verdict, pair.difference, pair.p_value) == ("tie", 0.0, 1.0)
    assert (pair.low, pair.high) == (0.0, 0.0)


def test_constant_but_different_agents_are_distinguished():
    (pair,) = compare_pairs({"a": [500.0] * 10, "b": [9.0] * 10})
    assert (pair.verdict, pair.low, pair.high) == ("better", 491.0, 491.0)


def test_scores_that_no_split_could_make_significant_are_too_few():
    (pair,) = compare_pairs({"a": [500.0] * 10, "b": [500.0] * 9 + [499.0]})
    assert pair.verdict == "too few seeds"


def test_agents_that_could_have_differed_but_did_not_give_no_evidence():
    (pair,) = compare_pairs({"a": np.arange(10), "b": np.arange(10) + 0.5})
    assert pair.verdict == "no evidence"
    assert pair.low < pair.difference < pair.high


def test_one_seed_each_is_too_few_without_an_interval():
    (pair,) = compare_pairs({"a": [1.0], "b": [2.0]})
    assert (pair.verdict, pair.p_value) == ("too few seeds", 1.0)
    assert np.isnan(pair.low)
    # A lone score beyond nine others: 2 of 10 places are as far out.
    (pair,) = compare_pairs({"a": [99.0], "b": np.arange(9)})
    assert (pair.verdict, pair.p_value) == ("too few seeds", pytest.approx(0.2))


def test_pairs_come_in_the_order_of_the_mapping():
    pairs = compare_pairs({"c": DECILES, "a": DECILES, "b": DECILES})
    assert [(p.a, p.b) for p in pairs] == [("c", "a"), ("c", "b"), ("a", "b")]
    assert compare_pairs({"alone": DECILES}) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "family",
    [normal, *(pytest.param(each, marks=pytest.mark.torture) for each in (lognormal, failing))],
)
def test_identical_agents_are_declared_different_in_at_most_six_percent(family):
    x, _ = family(np.random.default_rng(17), (10, 600))
    num_declared = 0
    apart = 0
    for first, second in zip(x[:5].T, x[5:].T, strict=True):  # five seeds each: exact, 252 splits
        num_declared += compare_pairs({"a": first, "b": second})[0].verdict in ("better", "worse")
        apart += abs(first.mean() - second.mean()) > stats.sem(first) + stats.sem(second)
    assert num_declared / 600 <= 0.06
    assert apart / 600 > 0.12  # bands of one standard error that do not touch cry wolf


@pytest.mark.slow
def test_difference_interval_covers_the_true_difference():
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(150):
        a, b = rng.exponential(1.0, 7), 2 * rng.exponential(1.0, 6)
        pair = compare_pairs({"a": a, "b": b})[0]
        hits += pair.low <= -1.0 <= pair.high
    assert hits / 150 >= 0.88  # standard error 0.02
