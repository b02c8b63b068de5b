"""Large chains: by iteration where its error is proven to be small, by elimination elsewhere."""

import numpy as np
import pytest
from scipy import sparse

from rlkit.tabular.linear import LARGE, RELATIVE_ERROR, by_iteration, solve_chain


def leading_anywhere(n: int, ending: float, seed: int = 0) -> sparse.csr_array:
    """A chain that goes to one of three random states, and ends with about this chance."""
    rng = np.random.default_rng(seed)
    weight = (1 - ending * rng.random(n))[:, None] * rng.dirichlet(np.ones(3), n)
    rows, columns = np.repeat(np.arange(n), 3), rng.integers(n, size=3 * n)
    return sparse.csr_array((weight.ravel(), (rows, columns)), shape=(n, n))


@pytest.mark.parametrize("ending", [0.1, 1e-3, 1e-5])
def test_iteration_agrees_with_a_dense_solve(ending: float) -> None:
    matrix = leading_anywhere(400, ending)
    constant = np.random.default_rng(1).normal(size=400)
    solution = by_iteration(matrix, constant)
    assert solution is not None
    dense = np.linalg.solve(np.eye(400) - matrix.toarray(), constant)
    assert np.abs(solution - dense).max() <= 2 * RELATIVE_ERROR * np.abs(dense).max()


def test_iteration_gives_up_where_it_can_prove_nothing() -> None:
    n = 3000  # a walk between two walls, one of which ends it: about n^2 steps
    step, wall = np.full(n - 1, 0.5), 0.5 * np.eye(1, n)[0]
    walk = sparse.csr_array(sparse.diags_array([step, wall, step], offsets=[-1, 0, 1]))
    constant = np.ones(n)
    assert by_iteration(walk, constant) is None
    # From x steps to the end, and n of them: x (2 n + 1 - x) steps.
    x = np.arange(n, 0, -1)
    np.testing.assert_allclose(solve_chain(walk, constant), x * (2 * n + 1 - x), rtol=1e-9)
    loop = sparse.csr_array(sparse.eye_array(5))
    assert by_iteration(loop, np.ones(5)) is None


def test_large_chains_that_lead_anywhere_are_not_eliminated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Elimination would fill 6,000 x 6,000 entries."""
    monkeypatch.setattr("scipy.sparse.linalg.splu", None)
    matrix, n = leading_anywhere(3 * LARGE, 0.1), 3 * LARGE
    constant = np.random.default_rng(1).normal(size=n)
    solution = solve_chain(matrix, constant)
    swept = np.zeros(n)
    for _ in range(2000):  # the chance to last longer is below 0.95^2000
        swept = constant + matrix @ swept
    np.testing.assert_allclose(solution, swept, atol=1e-8)
