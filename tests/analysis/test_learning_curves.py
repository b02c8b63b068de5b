"""Learning curves on one x axis, and the band of their mean."""

import numpy as np
import pytest

from rlkit.analysis.intervals import mean_interval
from rlkit.analysis.learning_curves import align_curves, curve_band


def test_mean_interval_is_the_band_of_a_single_point():
    x = np.random.default_rng(0).normal(size=(12, 1))
    interval, band = mean_interval(x[:, 0]), curve_band(x)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx(
        (band.low[0], band.mean[0], band.high[0]), rel=1e-12
    )


@pytest.mark.trap("T54")
def test_curves_on_different_x_are_joined_by_their_last_value():
    grid, aligned = align_curves([[10, 20, 30], [15, 30]], [[1, 2, 3], [7, 8]])
    assert grid.tolist() == [10, 15, 20, 30]
    np.testing.assert_array_equal(aligned, [[1, 1, 2, 3], [np.nan, 7, 7, 8]])


@pytest.mark.trap("T54")
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
    without_it = mean_interval(np.delete(returns[:, 2], 3))
    assert band.low[2] == pytest.approx(without_it.low, rel=1e-12)
    assert np.isnan([band.mean[3], band.low[3], band.high[3]]).all()


def test_band_rejects_returns_without_a_seed_axis():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        curve_band([1.0, 2.0, 3.0])
