"""Families of scores for the tests: they draw samples `shape`, and return their mean as well."""

import numpy as np
from numpy.typing import NDArray

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
