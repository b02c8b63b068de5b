"""Resamples: always the same, symmetric, and used as a slow loop over them would."""

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.resampling import bootstrap, resamples, student_quantile


def test_resamples_are_the_same_every_time_and_mirror_each_other():
    index = resamples(7)
    resamples.cache_clear()
    np.testing.assert_array_equal(resamples(7), index)
    assert (np.diff(index, axis=1) >= 0).all()
    first, second = np.split(index, 2)
    np.testing.assert_array_equal(second, 6 - first[:, ::-1])
    assert not np.array_equal(resamples(7, stream=1), index)


def test_the_bootstrap_is_the_mean_and_standard_error_of_each_resample():
    x = np.random.default_rng(0).normal(size=(6, 2))
    x -= x.mean(axis=0)
    means, errors = bootstrap(x, stream=0)
    for k in range(2):
        resampled = x[resamples(6), k]
        np.testing.assert_allclose(means[k], resampled.mean(axis=1), rtol=0, atol=1e-14)
        expected = resampled.std(axis=1, ddof=1) / np.sqrt(6)
        # the square root doubles the digits that cancel where all scores of a resample are equal
        assert errors[k] == pytest.approx(expected, abs=1e-7)


def test_the_quantiles_of_student_are_those_of_scipy() -> None:
    for confidence, freedom in [(0.95, f) for f in [*range(1, 40), 2.5]] + [(0.9, 4)]:
        expected = stats.t.ppf((1 + confidence) / 2, freedom)
        assert student_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-9)
