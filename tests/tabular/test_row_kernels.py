"""The sparse matrix of a model against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from rlkit.tabular.row_kernels import continuing_rows


@pytest.mark.parametrize("longest", [1, 3, 20, 200])
@pytest.mark.parametrize("share_ending", [0.0, 0.4, 1.0])
def test_rows_are_those_of_scipy_to_the_byte(longest: int, share_ending: float) -> None:
    rng = np.random.default_rng(longest)
    num_rows, num_states = 40, 90
    lengths = rng.integers(1, longest + 1, size=num_rows)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    next_state = rng.integers(num_states, size=start[-1]).astype(np.int32)
    probability = rng.random(start[-1]) * (rng.random(start[-1]) < 0.8)
    terminated = rng.random(start[-1]) < share_ending

    rows = continuing_rows(probability, next_state, terminated, start)

    stored = (probability > 0) & ~terminated
    row_of = np.repeat(np.arange(num_rows), lengths)[stored]
    expected = np.zeros((num_rows, num_states))
    np.add.at(expected, (row_of, next_state[stored]), probability[stored])
    matrix = sparse.csr_array(rows[::-1], shape=(num_rows, num_states))
    assert matrix.has_canonical_format
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert matrix.nnz == np.count_nonzero(expected)
    vector = rng.normal(size=num_states)
    np.testing.assert_array_equal(rows.product(vector), matrix @ vector)
    assert {a.dtype.str for a in rows} == {"<i4", "<f8"}
