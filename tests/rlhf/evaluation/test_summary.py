"""Summaries of many responses, against scipy and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.rlhf.evaluation.summary import kl_estimate, summarise, win_rate

# The same float64 quantity computed in another order of operations.
ROUNDING = 1e-12


def test_the_kl_estimate_is_within_its_standard_errors_of_the_exact_one() -> None:
    p, q = np.array([0.5, 0.25, 0.125, 0.125]), np.full(4, 0.25)
    exact = float(np.sum(p * np.log(p / q)))
    assert exact == pytest.approx(0.173287, abs=5e-7)
    length = 3  # independent tokens: the KL of the sequence is the sum, not the mean
    draws = np.random.default_rng(0).choice(4, size=(4096, length), p=p)
    mean, error = kl_estimate(np.log(p / q)[draws].sum(axis=1))
    assert abs(mean - length * exact) < 4 * error  # wrong once in 16,000 seeds; this one is fixed
    assert abs(mean - exact) > 4 * error


def test_the_kl_estimate_is_the_mean_with_its_standard_error_and_is_not_clamped() -> None:
    sums = np.random.default_rng(1).normal(-1.0, 1.0, size=50)
    mean, error = kl_estimate(sums)
    assert mean == pytest.approx(sums.mean(), rel=ROUNDING)
    assert mean < 0
    assert error == pytest.approx(stats.sem(sums), rel=ROUNDING)


def test_a_tie_is_half_a_win() -> None:
    rate, error = win_rate([1, 2, 3, 4], [0, 2, 4, 4])
    assert rate == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert error == pytest.approx(stats.sem([1, 0.5, 0, 0.5]), rel=ROUNDING)
    assert win_rate([1.0, 2.0], [1.0, 2.0]) == (0.5, 0.0)
    with pytest.raises(ValueError, match="2 scores and 3 reference"):
        win_rate([1, 2], [1, 2, 3])


def test_win_rates_of_both_sides_add_up_to_one() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 3, size=(2, 100))
    assert win_rate(ours, theirs)[0] + win_rate(theirs, ours)[0] == pytest.approx(1)


def test_a_summary_has_moments_and_quantiles_between_order_statistics() -> None:
    values = [3.0, 1.0, 2.0, 5.0, 4.0]
    found = summarise(values, (0.0, 0.25, 0.5, 0.9, 1.0))
    assert found.num == 5
    assert found.mean == pytest.approx(3)
    assert found.standard_deviation == pytest.approx(np.sqrt(2.5))
    assert found.quantiles == pytest.approx({0.0: 1, 0.25: 2, 0.5: 3, 0.9: 4.6, 1.0: 5})
    assert summarise([7.0]).quantiles[0.5] == 7.0


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, math.nan], [math.inf]])
def test_values_that_are_not_numbers_are_rejected(bad: Any) -> None:
    for function in (kl_estimate, summarise):
        with pytest.raises(ValueError, match="expected finite numbers"):
            function(bad)
