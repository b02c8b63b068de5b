"""Intervals and comparisons over seeds: measured coverage, closed forms, scipy as an oracle."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from rlkit.analysis.statistics import (
    align_curves,
    compare_pairs,
    curve_band,
    holm,
    iqm_interval,
    mean_interval,
    standard_error,
)

Floats = NDArray[np.float64]
DECILES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 90]


def lognormal(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, float]:
    return rng.lognormal(0.0, 1.0, shape), float(np.exp(0.5))


def failing(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, float]:
    x = np.where(rng.random(shape) < 0.3, rng.uniform(10, 100, shape), 500.0)
    return x, 0.3 * 55 + 0.7 * 500


def capped(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, float]:
    x = np.where(rng.random(shape) < 0.6, 500.0, rng.uniform(300, 500, shape))
    return x, 0.6 * 500 + 0.4 * 400


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, float]:
    return rng.normal(3.0, 2.0, shape), 3.0


def percentile_bootstrap(x: Floats) -> tuple[Floats, Floats]:
    """The usual interval, which promises 95 % and covers far less: the mutant of these tests."""
    n = len(x)
    weights = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=1000) / n
    low, high = np.quantile(weights @ x, [0.025, 0.975], axis=0)
    return low, high


def studentised(x: Floats) -> tuple[Floats, Floats]:
    band = curve_band(x)
    return band.low, band.high


def coverage(limits, family, n: int, repetitions: int = 1000) -> float:
    x, truth = family(np.random.default_rng([31, n]), (n, repetitions))
    low, high = limits(x)
    return float(np.mean((low - 1e-9 <= truth) & (truth <= high + 1e-9)))


# Standard error of a coverage near 0.92 over 1000 samples: 0.009. Full table: docs/statistics.md.
@pytest.mark.parametrize(
    ("family", "n", "least"),
    [
        (normal, 5, 0.90),
        (normal, 10, 0.92),
        (lognormal, 5, 0.82),
        (lognormal, 10, 0.88),
        (failing, 10, 0.93),
        (capped, 10, 0.93),
        (capped, 20, 0.95),
    ],
)
def test_mean_interval_contains_the_true_mean_as_often_as_documented(family, n, least):
    assert coverage(studentised, family, n) >= least


def test_percentile_bootstrap_would_fail_the_coverage_check():
    assert coverage(percentile_bootstrap, lognormal, 5) < 0.82 - 0.05
    assert coverage(percentile_bootstrap, lognormal, 10) < 0.88 - 0.03


def test_mean_interval_is_the_band_of_a_single_point():
    x = np.random.default_rng(0).normal(size=(12, 1))
    interval, band = mean_interval(x[:, 0]), curve_band(x)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx(
        (band.low[0], band.mean[0], band.high[0]), rel=1e-12
    )


def test_mean_interval_approaches_student_t_for_many_bell_shaped_seeds():
    x = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    interval = mean_interval(x)
    half_width = stats.t.ppf(0.975, 399) * stats.sem(x)
    # 2 % of the width: the noise of a 2.5 % quantile from 4000 resamples is about 1.5 %.
    assert interval.low == pytest.approx(-half_width, rel=0.05)
    assert interval.high == pytest.approx(half_width, rel=0.05)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_two_to_four_seeds_get_scipys_student_t_interval_and_a_note(n):
    x = [3.0, 7.0, 4.0, 9.0][:n]
    low, high = stats.t.interval(0.9, n - 1, loc=np.mean(x), scale=stats.sem(x))
    interval = mean_interval(x, confidence=0.9)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-12)
    assert f"{n} seeds" in interval.note


def test_one_seed_has_an_estimate_but_no_interval():
    for interval in (mean_interval([7.0]), iqm_interval([7.0])):
        assert interval.estimate == 7.0
        assert np.isnan(interval.low)
        assert np.isnan(interval.high)
        assert interval.note == "one seed: no interval"


@pytest.mark.parametrize("value", [0.0, 500.0, -0.1, 1e300, 5e-324])
@pytest.mark.parametrize("n", [2, 5, 10])
def test_equal_scores_give_zero_width_without_a_warning(value, n):
    for interval in (mean_interval([value] * n), iqm_interval([value] * n)):
        assert interval.low == interval.estimate == interval.high == value
        assert "scored the same" in interval.note


def test_note_on_equal_scores_states_the_share_that_may_still_differ():
    # 1 - 0.05 ** (1 / 10) = 0.2589: with this share, ten equal scores still happen 5 % of the time.
    assert "26%" in mean_interval([500] * 10).note


def test_interval_survives_resamples_that_are_constant():
    interval = mean_interval([500.0] * 9 + [400.0])
    assert np.isfinite([interval.low, interval.high]).all()
    assert interval.low < 490 < interval.high


seed_scores = st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), min_size=2, max_size=15)


@given(seed_scores, st.randoms(use_true_random=False))
def test_interval_does_not_depend_on_the_order_of_seeds(scores, shuffler):
    shuffled = scores.copy()
    shuffler.shuffle(shuffled)
    assert mean_interval(scores) == mean_interval(shuffled)
    assert iqm_interval(scores) == iqm_interval(shuffled)


@given(seed_scores)
def test_interval_of_negated_scores_is_the_mirror_image(scores):
    x = np.array(scores)
    for interval in (mean_interval, iqm_interval):
        ours, mirrored = interval(x), interval(-x)
        assert ours.low <= ours.estimate <= ours.high
        # Nearly constant large scores lose digits in the deviations from the mean.
        tolerance = 1e-6 * max(1.0, float(np.abs(x).max()))
        assert (mirrored.low, mirrored.high) == pytest.approx(
            (-ours.high, -ours.low), abs=tolerance
        )


@given(seed_scores, st.integers(-300, 300))
def test_interval_scales_with_the_unit_of_the_returns_even_for_huge_and_tiny_ones(scores, power):
    interval = mean_interval(scores)
    scaled = mean_interval(np.ldexp(scores, power))
    assert scaled.low == np.ldexp(interval.low, power)
    assert scaled.high == np.ldexp(interval.high, power)


def test_global_generators_are_neither_read_nor_changed():
    def everything():
        pairs = compare_pairs({"a": DECILES, "b": list(range(9, 19))})
        return mean_interval(DECILES), iqm_interval(DECILES), pairs

    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    first = everything()
    assert np.random.random() == np.random.RandomState(1).random()  # noqa: NPY002
    assert random.random() == random.Random(1).random()
    assert everything() == first


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_equals_scipys_trimmed_mean(scores):
    expected = stats.trim_mean(scores, 0.25)
    assert iqm_interval(scores).estimate == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_iqm_of_five_seeds_is_the_mean_of_the_middle_three():
    assert iqm_interval([100, 1, 2, 6, -50]).estimate == 3.0


def test_iqm_interval_contains_scipys_trimmed_mean_interval_for_a_bell_shape():
    x = stats.norm.ppf((np.arange(12) + 0.5) / 12)
    low, high = stats.mstats.trimmed_mean_ci(x, (0.25, 0.25), alpha=0.05)
    interval = iqm_interval(x)
    assert interval.low <= low + 0.05  # scipy divides by (1 - 2 * 0.25) n, we by sqrt(h (h - 1))
    assert interval.high >= high - 0.05


def test_iqm_interval_covers_the_population_iqm_of_skewed_returns():
    truth = stats.lognorm.ppf(np.linspace(0.25, 0.75, 200_001), 1.0).mean()
    samples = np.random.default_rng(5).lognormal(0, 1, (400, 10))
    intervals = [iqm_interval(x) for x in samples]
    # Standard error 0.011 over 400 samples, measured coverage 0.96.
    assert np.mean([i.low <= truth <= i.high for i in intervals]) >= 0.93


def test_iqm_interval_warns_of_two_groups_of_seeds_but_not_of_one_outlier():
    assert "3 of 10 seeds" in iqm_interval([20, 30, 10, 480, 490, 500, 500, 495, 500, 470]).note
    assert "3 of 10 seeds" in iqm_interval([0, 1, 2, 3, 4, 5, 6, 100, 101, 102]).note
    assert iqm_interval(DECILES).note == ""
    assert iqm_interval(np.arange(10)).note == ""


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], 3.0])
def test_scores_that_are_not_one_per_seed_are_rejected(bad):
    with pytest.raises(ValueError, match="one score per seed"):
        mean_interval(bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_of_failed_seeds_are_rejected_with_their_position(bad):
    with pytest.raises(ValueError, match=r"position \[1\] of 3"):
        iqm_interval([1.0, bad, 2.0])
    with pytest.raises(ValueError, match="agent 'b'"):
        compare_pairs({"a": [1, 2], "b": [1, bad]})


@pytest.mark.parametrize("bad", [0, 1, 95, -0.1])
def test_a_confidence_outside_0_to_1_is_rejected(bad):
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        mean_interval(DECILES, confidence=bad)


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


@pytest.mark.parametrize("family", [normal, lognormal, failing])
def test_identical_agents_are_declared_different_in_at_most_six_percent(family):
    x, _ = family(np.random.default_rng(17), (10, 600))
    found = 0
    apart = 0
    for first, second in zip(x[:5].T, x[5:].T, strict=True):  # five seeds each: exact, 252 splits
        found += compare_pairs({"a": first, "b": second})[0].verdict in ("better", "worse")
        apart += abs(first.mean() - second.mean()) > stats.sem(first) + stats.sem(second)
    assert found / 600 <= 0.06
    assert apart / 600 > 0.12  # bands of one standard error that do not touch cry wolf


def test_difference_interval_covers_the_true_difference():
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(150):
        a, b = rng.exponential(1.0, 7), 2 * rng.exponential(1.0, 6)
        pair = compare_pairs({"a": a, "b": b})[0]
        hits += pair.low <= -1.0 <= pair.high
    assert hits / 150 >= 0.88  # standard error 0.02


def test_curves_on_different_x_are_joined_by_their_last_value():
    grid, aligned = align_curves([[10, 20, 30], [15, 30]], [[1, 2, 3], [7, 8]])
    assert grid.tolist() == [10, 15, 20, 30]
    np.testing.assert_array_equal(aligned, [[1, 1, 2, 3], [np.nan, 7, 7, 8]])


def test_a_seed_that_stopped_early_is_missing_later_and_does_not_shorten_the_others():
    grid, aligned = align_curves([[0, 10], [0, 10, 20, 30]], [[1, 2], [5, 6, 7, 8]])
    assert grid.tolist() == [0, 10, 20, 30]
    np.testing.assert_array_equal(aligned[0], [1, 2, np.nan, np.nan])
    band = curve_band(aligned)
    assert band.num_seeds.tolist() == [2, 2, 1, 1]
    assert band.mean.tolist() == [3.0, 4.0, 7.0, 8.0]
    assert np.isnan(band.low[2:]).all()


def test_the_last_value_holds_up_to_the_steps_a_seed_was_trained_for():
    _, aligned = align_curves([[4], [6]], [[1], [2]], grid=[5, 8, 10], reached=[8, 10])
    np.testing.assert_array_equal(aligned, [[1, 1, np.nan], [np.nan, 2, 2]])


def test_a_seed_without_records_is_missing_everywhere():
    _, aligned = align_curves([[], [1, 2]], [[], [5, 6]])
    np.testing.assert_array_equal(aligned, [[np.nan, np.nan], [5, 6]])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "at least 1"),
        ([[1, 2]], [[1]], "seed 0"),
        ([[1], [2, 1]], [[1], [2, 1]], "seed 1: num_env_steps must be finite and ascending"),
    ],
)
def test_curves_that_cannot_be_aligned_are_rejected(x, y, message):
    with pytest.raises(ValueError, match=message):
        align_curves(x, y)


def test_band_uses_at_each_x_the_seeds_that_have_a_value():
    returns = np.random.default_rng(2).normal(size=(9, 4))
    returns[3, 2:] = np.nan
    returns[:, 3] = np.nan
    band = curve_band(returns)
    assert band.num_seeds.tolist() == [9, 9, 8, 0]
    left_out = mean_interval(np.delete(returns[:, 2], 3))
    assert band.low[2] == pytest.approx(left_out.low, rel=1e-12)
    assert np.isnan([band.mean[3], band.low[3], band.high[3]]).all()


def test_band_rejects_returns_without_a_seed_axis():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        curve_band([1.0, 2.0, 3.0])


@settings(max_examples=30)
@given(st.floats(0.01, 0.99), seed_scores)
def test_wider_confidence_never_gives_a_narrower_interval(confidence, scores):
    narrow = mean_interval(scores, confidence=confidence)
    wide = mean_interval(scores, confidence=(1 + confidence) / 2)
    assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high


def test_the_standard_error_is_scipys_and_unknown_for_one_value():
    values = np.random.default_rng(0).normal(size=9)
    # The same float64 quantity computed in another order of operations.
    assert standard_error(values) == pytest.approx(stats.sem(values), rel=1e-12)
    assert np.isnan(standard_error([1.0]))


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, np.nan], [np.inf]])
def test_the_standard_error_of_no_or_not_finite_numbers_is_rejected(bad):
    with pytest.raises(ValueError, match="expected finite numbers"):
        standard_error(bad)


def test_importing_the_module_does_not_import_scipy_stats():
    import subprocess
    import sys

    code = "import sys, rlkit.analysis.statistics; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_warning_escapes_on_awkward_samples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scores in ([0.0] * 5, [0, 0, 0, 0, 1e-300], [1e200, -1e200, 0, 0, 0], [5, 5, 5, 5, 6]):
            assert np.isfinite(mean_interval(scores).low)
            assert np.isfinite(iqm_interval(scores).low)
