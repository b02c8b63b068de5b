"""The value of a policy by an iterative method, against a dense solve."""

import numpy as np
import pytest
from scipy.sparse.linalg import bicgstab

from rlkit.tabular.planning.krylov import improve
from tests.tabular.planning.chains import greedy_chain

SIZE = 60


@pytest.mark.parametrize("discount", [0.9, 0.999])
def test_the_value_of_a_policy_is_that_of_a_dense_solve(discount: float) -> None:
    chain, transition, reward = greedy_chain(0, SIZE, discount)
    values = np.random.default_rng(1).normal(size=SIZE)
    num = improve(chain, values, reduction=1e-12, max_iterations=200)
    expected = np.linalg.solve(np.eye(SIZE) - discount * transition, reward)
    # The residual, at most 1e-12 of the first, adds up over the steps of an episode: under 100.
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-8)
    assert num < SIZE / 2  # sweeps alone need hundreds at 0.999


@pytest.mark.parametrize("reduction", [1e-2, 1e-6])
def test_it_stops_once_the_residual_is_reduced_as_requested(reduction: float) -> None:
    chain, transition, reward = greedy_chain(3, SIZE, 0.99)

    def residual(values: np.ndarray) -> float:
        return float(np.abs(reward + 0.99 * transition @ values - values).max())

    values = np.zeros(SIZE)
    first = residual(values)
    num = improve(chain, values, reduction=reduction, max_iterations=200)
    # The method updates its residual instead of computing it anew: they drift apart by rounding.
    assert residual(values) <= reduction * first * (1 + 1e-6)
    fewer = np.zeros(SIZE)
    assert improve(chain, fewer, reduction=reduction, max_iterations=num - 1) == num - 1
    assert residual(fewer) > reduction * first


def test_the_value_itself_is_left_as_it_is() -> None:
    chain, _, _ = greedy_chain(0, SIZE, 0.0)
    values = chain.reward.copy()
    assert improve(chain, values, reduction=1e-6, max_iterations=9) == 0
    assert values.tolist() == chain.reward.tolist()


@pytest.mark.parametrize("num", [1, 2, 5])
def test_iterates_are_those_of_scipy_with_the_same_preconditioner(num: int) -> None:
    chain, transition, reward = greedy_chain(3, SIZE, 0.99)
    unit, matrix = np.eye(SIZE), 0.99 * transition
    upper = np.triu(matrix, 1)
    forwards = np.linalg.inv(unit - np.tril(matrix, -1))
    sweep = np.linalg.inv(unit - upper) @ (unit + (matrix - upper) @ forwards)
    expected, _ = bicgstab(unit - matrix, reward, maxiter=num, rtol=0, atol=0, M=sweep)
    values = np.zeros(SIZE)
    assert improve(chain, values, reduction=0.0, max_iterations=num) == num
    # Values are of size 10; rounding grows from iteration to iteration.
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
