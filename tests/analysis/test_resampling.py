"""Resamples: always the same, symmetric, and used as a slow loop over them would."""

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.resampling import (
    _MOST_OF_ONE_THREAD,
    _product,
    _weights,
    bootstrap,
    resamples,
    student_quantile,
)


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


def test_products_in_parts_have_the_bytes_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    sizes = []
    for n in (5, 10, 13, 30, 64):
        for number in (1, 2, 7, 14, 20, 60, 400):
            centred = rng.normal(size=(n, number))
            weights = _weights(n, 0).T
            whole = centred.T @ weights
            assert _product(centred.T, weights).tobytes() == whole.tobytes(), (n, number)
            sizes.append(number * n * weights.shape[1] > _MOST_OF_ONE_THREAD)
    assert any(sizes)


def test_no_part_of_a_product_of_few_columns_starts_threads() -> None:
    class Counts:
        """Weights that note how large each product with them is."""

        shape = (10, 4000)

        def __getitem__(self, key: tuple[slice, slice]) -> "Counts":
            columns = range(self.shape[1])[key[1]]
            part = Counts()
            part.shape = (10, len(columns))
            return part

        def __rmatmul__(self, rows: np.ndarray) -> np.ndarray:
            products.append(rows.size * self.shape[1])
            return np.zeros((len(rows), self.shape[1]))

        __array_ufunc__ = None  # the product is this class's

    products: list[int] = []
    for number in range(2, 60):
        products.clear()
        assert _product(np.ones((number, 10)), Counts()).shape == (number, 4000)  # type: ignore[arg-type]
        assert max(products) <= _MOST_OF_ONE_THREAD
