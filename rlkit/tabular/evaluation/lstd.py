"""Least-squares temporal differences (Bradtke and Barto 1996; Boyan 2002)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

Array = NDArray[Any]


def lstd(
    features: Any,
    rewards: ArrayLike,
    next_features: Any,
    terminated: ArrayLike,
    *,
    discount: float,
    trace_decay: float = 0.0,
    is_last: ArrayLike | None = None,
    ridge: float = 0.0,
    weights: ArrayLike | None = None,
) -> Array:
    """Return the weights of a policy's values that solve the projected Bellman equation.

        sum_t z_t (phi_t - discount phi'_t)^T theta + ridge theta = sum_t z_t r_t
        z_t = phi_t + discount trace_decay z_{t-1}, within an episode

    where phi' is 0 after a termination. With one-hot features theta is the value of each state in
    the model that has the frequencies of the samples.

    Args:
        features: phi(s_t), [M, F], an array or a sparse matrix; in the order of play if
            `trace_decay` is not 0.
        rewards: r_t, [M].
        next_features: phi(s'_t) of the true successors, [M, F].
        terminated: whether nothing follows, bool [M].
        discount: gamma, in [0, 1].
        trace_decay: lambda, in [0, 1].
        is_last: whether the episode ended, for any reason, bool [M]; default `terminated`.
        ridge: added to the diagonal, >= 0.
        weights: of the samples, [M]; the probabilities of transitions give the exact solution.

    Returns:
        theta, [F].

    Raises:
        ValueError: a shape or number is wrong, or the equations have no unique solution.
    """
    for name, number in (("discount", discount), ("trace_decay", trace_decay)):
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"lstd: {name} must be in [0, 1], got {number!r}")
    if not (ridge >= 0.0 and np.isfinite(ridge)):
        raise ValueError(f"lstd: ridge must be at least 0, got {ridge!r}")
    now, following = _matrix(features), _matrix(next_features)
    ends, reward = np.asarray(terminated, dtype=np.bool_), np.asarray(rewards, dtype=np.float64)
    if now.shape != following.shape or len(now.shape) != 2:
        raise ValueError(
            f"lstd: expected features and next_features of one shape [M, F], got {now.shape} and "
            f"{following.shape}"
        )
    last = ends if is_last is None else np.asarray(is_last, dtype=np.bool_)
    shares = np.ones(len(ends)) if weights is None else np.asarray(weights, dtype=np.float64)
    columns = {"rewards": reward, "terminated": ends, "is_last": last, "weights": shares}
    for name, array in columns.items():
        if array.shape != now.shape[:1]:
            raise ValueError(f"lstd: expected {now.shape[0]} {name}, got shape {array.shape}")
    trace = now if trace_decay == 0.0 else _traces(now, last | ends, discount * trace_decay)
    weighted = trace if weights is None else _scaled(trace, shares)
    difference = now - _scaled(following, np.where(ends, 0.0, discount))
    theta = solve_ridge(weighted.T @ difference, weighted.T @ reward, ridge)
    if not np.isfinite(theta).all():
        raise ValueError(
            "lstd: the weights are not finite; expected finite features, rewards and weights"
        )
    return theta


def solve_ridge(matrix: Any, constant: Array, ridge: float) -> Array:
    """Return the x with (matrix + ridge I) x = constant, for an array or a sparse matrix.

    Raises:
        ValueError: there is no unique x.
    """
    size = matrix.shape[0]
    try:
        if sparse.issparse(matrix):
            whole = (matrix + ridge * sparse.eye_array(size)).tocsc()
            solution = splu(whole).solve(constant)
        else:
            solution = np.linalg.solve(matrix + ridge * np.eye(size), constant)
    except (RuntimeError, np.linalg.LinAlgError) as error:
        raise ValueError(
            "least squares: the equations have no unique solution, as where a feature is 0 in all "
            "samples; add a ridge"
        ) from error
    return np.asarray(solution)


def _matrix(features: Any) -> Array | sparse.csr_array:
    if sparse.issparse(features):
        return sparse.csr_array(features)
    return np.asarray(features, dtype=np.float64)


def _scaled(rows: Array | sparse.csr_array, factors: Array) -> Array | sparse.csr_array:
    """Return a matrix whose rows are multiplied by numbers."""
    if isinstance(rows, sparse.csr_array):
        return sparse.csr_array(sparse.diags_array(factors) @ rows)
    # Selected, not multiplied: the features after a termination may be NaN.
    return np.where(factors[:, None] == 0.0, 0.0, rows * factors[:, None])


def _traces(rows: Array | sparse.csr_array, is_last: Array, decay: float) -> Array:
    """Return the traces z_t, [M, F]."""
    dense = rows.toarray() if isinstance(rows, sparse.csr_array) else rows
    traces, trace = np.empty_like(dense), np.zeros(dense.shape[1])
    for t, row in enumerate(dense):
        trace = row + decay * trace
        traces[t] = trace
        if is_last[t]:
            trace = np.zeros_like(trace)
    return traces
