"""Each compiled part against the equation of its docstring with dense matrices."""

from typing import Any

import numpy as np
import pytest

from rlkit.tabular.planning import krylov_kernels as kernels
from tests.tabular.planning.chains import greedy_chain

SIZE, GAMMA = 20, 0.9
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}  # sums of 20 terms of size 1
BOUNDS = [(0, SIZE), (4, 13)]


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
def test_the_preconditioner_is_a_sweep_forwards_and_one_back(bounds: tuple[int, int]) -> None:
    (*matrix, _), transition, _ = greedy_chain(1, SIZE, GAMMA)
    constant = vectors(1)[0]
    at, first, last = part_of(bounds)
    result = np.full(SIZE, np.nan)
    kernels.precondition(*matrix, constant, result, first, last)
    block, unit = GAMMA * transition[at, at], np.eye(at.stop - at.start)
    lower, upper = np.tril(block, -1), np.triu(block, 1)
    forwards = np.linalg.solve(unit - lower, constant[at])
    expected = np.linalg.solve(unit - upper, constant[at] + (block - upper) @ forwards)
    np.testing.assert_allclose(result[at], expected, **CLOSE)


def test_a_search_direction_is_conjugated_and_then_preconditioned() -> None:
    (*matrix, _), _, _ = greedy_chain(1, SIZE, GAMMA)
    residual, direction, image = vectors(3)
    expected = residual + 0.3 * (direction - 0.7 * image)
    result, conditioned = np.empty(SIZE), np.empty(SIZE)
    bounds = np.uint32(0), np.uint32(SIZE)
    kernels.search(*matrix, residual, direction, image, 0.3, 0.7, result, *bounds)
    np.testing.assert_allclose(direction, expected, **CLOSE)
    kernels.precondition(*matrix, expected, conditioned, *bounds)
    np.testing.assert_allclose(result, conditioned, **CLOSE)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_an_advance_changes_its_states_alone(bounds: tuple[int, int]) -> None:
    values, residual, direction, image, shadow = vectors(5)
    at, first, last = part_of(bounds)
    moved, left = values.copy(), residual.copy()
    moved[at] += 0.4 * direction[at]
    left[at] -= 0.4 * image[at]
    sums = kernels.advance(values, residual, direction, image, 0.4, shadow, first, last)
    np.testing.assert_allclose(values, moved, **CLOSE)
    np.testing.assert_allclose(residual, left, **CLOSE)
    np.testing.assert_allclose(sums, [shadow[at] @ left[at], np.abs(left[at]).max()], **CLOSE)
