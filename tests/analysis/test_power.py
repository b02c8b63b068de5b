"""Numbers of seeds: power by noncentral t and by simulation, fewest by enumeration, and looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.power import (
    fewest_seeds,
    looks_at,
    seeds_to_separate,
    seeds_to_separate_ranks,
    shares_of_alpha,
    smallest_over_looks,
)


def exact_power(n: int, effect: float, alpha: float) -> float:
    """Return the power of Student's two-sided t test of n against n, by the noncentral t."""
    shift, freedom = effect * math.sqrt(n / 2), 2 * n - 2
    limit = stats.t.ppf(1 - alpha / 2, freedom)
    power = stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(-limit, freedom, shift)
    return float(power)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.05 / 9])
@pytest.mark.parametrize("effect", [0.4, 0.8, 1.2])
def test_the_number_of_seeds_has_the_power_of_students_t(effect: float, alpha: float) -> None:
    a = np.array([-1.0, 0.0, 1.0])  # standard deviation 1
    number = seeds_to_separate(a + effect, a, alpha=alpha)
    assert number is not None
    assert exact_power(number + 1, effect, alpha) >= 0.8
    assert exact_power(number - 2, effect, alpha) < 0.8


def test_the_number_of_seeds_by_ranks_has_the_power_of_mann_whitney() -> None:
    effect = 0.9
    improvement = float(stats.norm.cdf(effect / math.sqrt(2)))
    number = seeds_to_separate_ranks(improvement)
    assert number is not None
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, number, 400))
    found = stats.mannwhitneyu(a + effect, b, axis=0).pvalue <= 0.05
    assert 0.74 <= found.mean() <= 0.88  # standard error .02; Noether's formula is approximate
    more = seeds_to_separate_ranks(improvement, num_strata=4)
    assert more is not None
    assert more <= number / 3


def test_differences_that_no_number_separates_have_none() -> None:
    assert seeds_to_separate([1.0, 2.0], [2.0, 1.0]) is None
    assert seeds_to_separate([0.0, 1000.0], [0.001, 1000.0]) is None
    assert seeds_to_separate([1.0], [2.0]) is None
    assert seeds_to_separate_ranks(0.5) is None
    assert seeds_to_separate([5.0, 5.0], [6.0, 6.0]) == 4  # 2 / C(8, 4) = .029
    for bad in ({"alpha": 0.0}, {"power": 1.0}):
        with pytest.raises(ValueError, match="is a fraction between 0 and 1"):
            seeds_to_separate([1.0, 2.0], [3.0, 4.0], **bad)


def test_fewest_seeds_are_those_whose_most_extreme_split_reaches_alpha() -> None:
    assert fewest_seeds(0.05) == 4  # 2 / 20 for three, 2 / 70 for four
    assert fewest_seeds(0.05 / 3) == 5  # 2 / 252
    assert fewest_seeds(0.05, num_strata=2) == 3  # 2 / 400; two: 2 / 36
    assert fewest_seeds(1.0) == 1


def test_looks_grow_by_one_factor_up_to_the_most_and_spend_alpha_once() -> None:
    assert looks_at(10, 50) == (10, 17, 29, 50)
    assert looks_at(10, 10) == looks_at(10, 5) == (10,)
    assert looks_at(2, 3) == (2, 3)
    assert looks_at(1, 4) == (1, 2, 3, 4)
    for number in (1, 2, 5):
        shares = shares_of_alpha(number)
        assert sum(shares) == pytest.approx(1, abs=1e-12)
        assert list(shares) == sorted(shares)


def test_the_p_value_of_several_looks_is_valid_even_if_they_have_nothing_in_common() -> None:
    assert smallest_over_looks([0.3], [1.0]) == 0.3
    assert smallest_over_looks([0.04, 0.02], [0.25, 0.75]) == pytest.approx(0.02 / 0.75)
    assert smallest_over_looks([0.9, 0.9], [0.25, 0.75]) == 1.0
    shares = shares_of_alpha(4)
    drawn = np.random.default_rng(4).random((4000, 4))
    false = np.mean([smallest_over_looks(p, shares) <= 0.05 for p in drawn])
    assert false <= 0.06  # standard error .0035
