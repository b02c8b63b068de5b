"""Fits of over-optimisation, against their constants and a search for the least squares."""

import numpy as np
import pytest

from rlkit.analysis.scaling_laws import fit_logarithmic_law, fit_square_law

D = np.linspace(0.0, 3.0, 25)
# Least squares in float64 of exact data: rounding is about 1e-15 times the condition, below 100.
EXACT = {"abs": 1e-10}


def test_square_fit_recovers_its_constants() -> None:
    fit = fit_square_law(D, D * (1.5 - 0.6 * D))
    assert (fit.a, fit.b) == pytest.approx((1.5, 0.6), **EXACT)
    assert fit.r_squared == pytest.approx(1.0, **EXACT)


def test_logarithmic_fit_recovers_its_constants() -> None:
    positive = D[1:]
    gold = positive * (0.8 - 0.7 * np.log(positive))
    # At d = 0 the law has the limit 0.
    fit = fit_logarithmic_law(D, np.append(0.0, gold))
    assert (fit.a, fit.b) == pytest.approx((0.8, 0.7), **EXACT)
    assert fit.r_squared == pytest.approx(1.0, **EXACT)


def test_fits_agree_with_a_search_for_the_least_squares() -> None:
    rng = np.random.default_rng(0)
    gold = D * (1.5 - 0.6 * D) + 0.1 * rng.standard_normal(len(D))
    fit = fit_square_law(D, gold)

    def residual(a: float, b: float) -> float:
        return float(((gold - D * (a - b * D)) ** 2).sum())

    least = residual(fit.a, fit.b)
    for da, db in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert residual(fit.a + da, fit.b + db) > least
    total = float(((gold - gold.mean()) ** 2).sum())
    assert fit.r_squared == pytest.approx(1 - least / total, abs=1e-12)
    assert fit.r_squared < 1


def test_r_squared_is_measured_from_the_mean_so_it_can_be_negative() -> None:
    # Of a constant 1 and distances 1, 2, 3 the law d (a - b d) leaves something, the mean nothing.
    fit = fit_square_law([1.0, 2.0, 3.0], [1.0, 1.0, 1.0 + 1e-6])
    assert fit.r_squared < 0


def test_the_wrong_formula_explains_less() -> None:
    gold = D * (1.5 - 0.6 * D)
    assert fit_logarithmic_law(D, gold).r_squared < fit_square_law(D, gold).r_squared - 0.01


def test_a_curve_that_turns_has_its_peak_where_the_derivative_vanishes() -> None:
    # d (a - b d) is greatest at a / 2b, where it is a^2 / 4b.
    gold = D * (1.5 - 0.6 * D)
    fit = fit_square_law(D, gold)
    assert fit.a / (2 * fit.b) == pytest.approx(1.25, **EXACT)
    assert fit.a**2 / (4 * fit.b) == pytest.approx(gold.max(), abs=1e-10)  # D has the point 1.25


@pytest.mark.parametrize("fit", [fit_square_law, fit_logarithmic_law])
@pytest.mark.parametrize(
    "distance",
    [[0.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, np.nan], [[0.0, 1.0, 2.0]]],
    ids=["too few", "negative", "not a number", "two axes"],
)
def test_fits_reject_invalid_distances(fit, distance) -> None:
    with pytest.raises(ValueError, match="at least three distances >= 0"):
        fit(distance, np.zeros(np.shape(distance)))
