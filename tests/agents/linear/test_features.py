"""Linear features, against their formulas."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.linear.features import BoxFeatures, OneHot, make_features
from rlkit.errors import UsageError

SQUARE = spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 10.0]), dtype=np.float64)
LINE = spaces.Box(-np.inf, np.inf, (3,), np.float64)


def test_fourier_features_are_cosines_of_all_integer_directions() -> None:
    features = make_features(SQUARE, "fourier", 2)
    assert features.size == 9
    obs = np.array([[0.0, 2.5], [3.0, 10.0], [99.0, -99.0]])
    scaled = [(0.25, 0.25), (1.0, 1.0), (1.0, 0.0)]  # beyond the limits: at them
    expected = [
        [math.cos(math.pi * (a * x + b * y)) for a, b in itertools.product(range(3), repeat=2)]
        for x, y in scaled
    ]
    np.testing.assert_allclose(features.matrix(obs), expected, atol=1e-14)


def test_polynomial_features_are_all_products_of_so_many_numbers() -> None:
    features = make_features(LINE, "polynomial", 3)
    assert features.size == math.comb(6, 3)
    obs = np.random.default_rng(0).normal(size=(5, 3))
    exponents = [e for e in itertools.product(range(4), repeat=3) if sum(e) <= 3]
    expected = np.array(
        [[math.prod(x**k for x, k in zip(o, e, strict=True)) for e in exponents] for o in obs]
    )
    matrix: Any = features.matrix(obs)
    np.testing.assert_allclose(np.sort(matrix, axis=1), np.sort(expected, axis=1), rtol=1e-12)


def test_bounded_numbers_of_polynomials_are_scaled_to_one() -> None:
    features = make_features(SQUARE, "polynomial", 1)
    matrix: Any = features.matrix(np.array([[-1.0, 0.0], [1.0, 5.0], [3.0, 10.0]]))
    np.testing.assert_allclose(np.sort(matrix), [[-1, -1, 1], [0, 0, 1], [1, 1, 1]], atol=1e-14)


def test_one_hot_features_make_a_table_of_the_weights() -> None:
    features = OneHot(4)
    states = np.array([[0, 3, 3], [1, 1, 2]])
    weights = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_array_equal(features.matrix(states[0]).toarray(), np.eye(4)[states[0]])
    for s in range(2):
        np.testing.assert_array_equal(features.values(states, weights)[s], weights[s][states[s]])


@pytest.mark.parametrize("kind", ["fourier", "polynomial"])
def test_values_are_weighted_sums_and_do_not_depend_on_the_batch(kind: Any) -> None:
    features = make_features(SQUARE, kind, 3)
    rng = np.random.default_rng(0)
    obs, weights = rng.uniform(0, 3, (5, 7, 2)), rng.normal(size=(5, features.size, 2))
    values = features.values(obs, weights)
    matrix: Any = features.matrix(obs[2])
    np.testing.assert_allclose(values[2], matrix @ weights[2], rtol=1e-12)
    alone = features.values(obs[2:3, 4:5], weights[2:3])
    np.testing.assert_array_equal(values[2:3, 4:5], alone)


def test_observations_of_any_shape_are_flattened() -> None:
    image = spaces.Box(0, 255, (2, 2), np.uint8)
    features = make_features(image, "polynomial", 1)
    matrix: Any = features.matrix(np.full((3, 2, 2), 255, np.uint8))
    np.testing.assert_allclose(matrix, np.ones((3, 5)))


def test_the_kind_is_chosen_by_the_space() -> None:
    assert isinstance(make_features(spaces.Discrete(3)), OneHot)
    assert make_features(SQUARE).size == 4**2
    assert make_features(LINE).size == math.comb(5, 2)
    assert make_features(LINE, low=(-1.0,), high=(1.0,)).size == 4**3
    wide = spaces.Box(-1, 1, (10,))
    assert make_features(wide).size == math.comb(12, 2)  # 4^10 would be too many


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (
            LINE,
            {"kind": "fourier"},
            r"fourier needs limits, and dimensions 0, 1, 2 .*--feature-low",
        ),
        (LINE, {"kind": "one-hot"}, "one-hot needs discrete observations.*--bins"),
        (spaces.Discrete(3), {"kind": "fourier"}, "whose features are one-hot, got 'fourier'"),
        (LINE, {"low": (0.0, 1.0)}, r"--feature-low.*expected one number or 3, .*got 2"),
        (SQUARE, {"low": (3.0,)}, "limits of dimension 0 must rise, got 3 to 3"),
        (spaces.Box(-1, 1, (8,)), {"kind": "fourier"}, "65,536 features of 8 dimensions"),
    ],
)
def test_what_does_not_fit_is_rejected(space: Any, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_features(space, **options)


def test_limits_that_are_given_replace_those_of_the_space() -> None:
    features = BoxFeatures(SQUARE, "fourier", 1, (0.0, 0.0), (1.0, 1.0))
    wave = features.vectors(np.array([0.5, 0.0]))
    np.testing.assert_allclose(wave, [1, 1, 0, 0], atol=1e-14)
