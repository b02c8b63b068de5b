"""Each compiled part against the equation of its docstring with dense matrices."""

from typing import Any

import numpy as np
import pytest

from rlkit.maths.compiled import unsigned
from rlkit.tabular.planning import aggregation_kernels as kernels
from tests.tabular.planning.chains import greedy_chain

SIZE, GAMMA = 20, 0.9
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}  # sums of 20 terms of size 1
BOUNDS = [(0, SIZE), (4, 13)]
GROUP = np.array([0, 1, 1, 2, 3] * 4, dtype=np.uint32)
MEMBER = np.argsort(GROUP, kind="stable").astype(np.uint32)
FIRST_MEMBER = np.array([0, 4, 12, 16, 20], dtype=np.uint32)
MEAN = (np.arange(4)[:, None] == GROUP) / np.array([[4], [8], [4], [4]])  # [groups, states]


def vectors(num: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(num, SIZE)))


def part_of(bounds: tuple[int, int]) -> tuple[slice, np.uint32, np.uint32]:
    return slice(*bounds), np.uint32(bounds[0]), np.uint32(bounds[1])


@pytest.mark.parametrize("bounds", BOUNDS)
def test_residual_and_product_of_some_states(bounds: tuple[int, int]) -> None:
    (*matrix, reward), transition, _ = greedy_chain(1, SIZE, GAMMA)
    values, other, *_ = vectors(2)
    at, first, last = part_of(bounds)
    result = np.full(SIZE, np.nan)
    largest = kernels.residual_of(*matrix, reward, values, result, first, last)
    expected = (reward + GAMMA * transition @ values - values)[at]
    np.testing.assert_allclose(result[at], expected, **CLOSE)
    assert largest == pytest.approx(np.abs(expected).max())
    assert np.isfinite(result).sum() == last - first

    result = np.full(SIZE, np.nan)
    sums = kernels.multiply(*matrix, values, other, result, first, last)
    expected = (values - GAMMA * transition @ values)[at]
    np.testing.assert_allclose(result[at], expected, **CLOSE)
    np.testing.assert_allclose(sums, [expected @ other[at], expected @ expected], **CLOSE)
    assert np.isfinite(result).sum() == last - first


@pytest.mark.parametrize("bounds", BOUNDS)
def test_smoothing_is_a_sweep_forwards_and_one_back(bounds: tuple[int, int]) -> None:
    (*matrix, _), transition, _ = greedy_chain(1, SIZE, GAMMA)
    assert np.ptp(np.diag(transition)) > 0.0  # some states can stay
    constant = vectors(1)[0]
    at, first, last = part_of(bounds)
    result = np.full(SIZE, np.nan)
    kernels.smooth(*matrix, constant, result, first, last)
    block = np.eye(at.stop - at.start) - GAMMA * transition[at, at]
    lower, upper = np.tril(block), np.triu(block)
    forwards = np.linalg.solve(lower, constant[at])
    expected = np.linalg.solve(upper, constant[at] - np.tril(block, -1) @ forwards)
    np.testing.assert_allclose(result[at], expected, **CLOSE)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_direction_is_subtracted_from_another(bounds: tuple[int, int]) -> None:
    values, image, other_values, other_image, residual = vectors(5)
    at, first, last = part_of(bounds)
    new_values, new_image = values.copy(), image.copy()
    new_values[at] -= 0.3 * other_values[at]
    new_image[at] -= 0.3 * other_image[at]
    others = (other_values, other_image, residual)
    sums = kernels.subtract(values, image, 0.3, *others, first, last)
    np.testing.assert_allclose(values, new_values, **CLOSE)
    np.testing.assert_allclose(image, new_image, **CLOSE)
    expected = [new_image[at] @ residual[at], new_image[at] @ new_image[at]]
    np.testing.assert_allclose(sums, expected, **CLOSE)
    assert kernels.dot(values, residual, first, last) == pytest.approx(values[at] @ residual[at])


@pytest.mark.parametrize("bounds", BOUNDS)
def test_an_advance_changes_its_states_alone(bounds: tuple[int, int]) -> None:
    values, residual, direction, image = vectors(4)
    at, first, last = part_of(bounds)
    moved, left = values.copy(), residual.copy()
    moved[at] += 0.4 * direction[at]
    left[at] -= 0.4 * image[at]
    largest = kernels.advance(values, residual, direction, image, 0.4, first, last)
    np.testing.assert_allclose(values, moved, **CLOSE)
    np.testing.assert_allclose(residual, left, **CLOSE)
    assert largest == pytest.approx(np.abs(left[at]).max())


def test_the_chain_of_groups_has_the_means_of_their_members() -> None:
    (start, column, weight, *_), transition, _ = greedy_chain(1, SIZE, GAMMA)
    begins, columns = np.empty(5, dtype=np.uint32), np.empty(len(column), dtype=np.uint32)
    weights, place = np.empty(len(column)), np.empty(4, dtype=np.uint32)
    groups = (GROUP, MEMBER, FIRST_MEMBER)
    kernels.coarse_chain(start, column, weight, *groups, begins, columns, weights, place)
    result = np.zeros((4, 4))
    for g in range(4):
        at = slice(begins[g], begins[g + 1])
        assert len(set(columns[at].tolist())) == begins[g + 1] - begins[g]
        result[g, columns[at]] = weights[at]
    np.testing.assert_allclose(result, MEAN @ transition @ (MEAN.T > 0), **CLOSE)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_means_go_down_and_corrections_come_back(bounds: tuple[int, int]) -> None:
    residual, values = vectors(2)
    means = np.empty(4)
    kernels.restrict(residual, MEMBER, FIRST_MEMBER, means)
    np.testing.assert_allclose(means, MEAN @ residual, **CLOSE)
    at, first, last = part_of(bounds)
    expected = values.copy()
    expected[at] += means[GROUP[at]]
    kernels.prolong(values, GROUP, means, first, last)
    np.testing.assert_allclose(values, expected, **CLOSE)
    expected[at] += residual[at]
    kernels.add(values, residual, first, last)
    np.testing.assert_allclose(values, expected, **CLOSE)


def test_states_are_matched_with_their_strongest_free_neighbour() -> None:
    weights = np.zeros((7, 7))
    for one, other, weight in [(0, 2, 0.2), (0, 3, 0.5), (3, 2, 0.9), (2, 4, 0.1), (4, 6, 0.0)]:
        weights[one, other] = weights[other, one] = weight
    weights[5, 5] = 1.0  # 1, 5 and 6 have no neighbours
    full = np.ones_like(weights, dtype=bool)
    start = np.arange(0, 50, 7, dtype=np.uint32)
    column = unsigned(np.tile(np.arange(7, dtype=np.int32), 7))
    group = np.empty(7, dtype=np.uint32)
    assert kernels.match(start, column, weights[full], group) == 3
    # 0 takes 3, its strongest; 2 then takes 4, though 3 were stronger.
    assert group.tolist() == [1, 0, 2, 1, 2, 0, 0]
    weights[2, 4] = weights[4, 2] = 0.0
    assert kernels.match(start, column, weights[full], group) == 2
    assert group.tolist() == [1, 0, 1, 1, 0, 0, 0]  # 2 joins 3, which is taken
