"""Intervals over seeds: measured coverage, closed forms, scipy as an oracle."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlkit.analysis.comparisons import compare_pairs
from rlkit.analysis.intervals import iqm_interval, mean_interval, standard_error
from rlkit.analysis.learning_curves import curve_band
from tests.analysis.families import DECILES, Floats, capped, failing, lognormal, normal


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
@pytest.mark.trap("T53")
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


@pytest.mark.slow
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


@pytest.mark.trap("T52")
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_equals_scipys_trimmed_mean(scores):
    expected = stats.trim_mean(scores, 0.25)
    assert iqm_interval(scores).estimate == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.trap("T52")
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


def test_no_warning_escapes_on_awkward_samples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scores in ([0.0] * 5, [0, 0, 0, 0, 1e-300], [1e200, -1e200, 0, 0, 0], [5, 5, 5, 5, 6]):
            assert np.isfinite(mean_interval(scores).low)
            assert np.isfinite(iqm_interval(scores).low)
