"""Solve x = c + P x for a sparse matrix P >= 0 whose rows sum to at most one.

Elimination is exact, and cheap on chains that move between neighbours, however long they take to
end. On chains that jump anywhere it fills the matrix: 6,000 states take half a minute. There the
stabilised bi-conjugate gradients (van der Vorst 1992) need a few dozen products, and the error of
the result can be bounded:

    s > 0 with (I - P) s >= 1 - d   implies   |(I - P)^-1 r| <= max|r| max(s) / (1 - d)
"""

from __future__ import annotations

import numpy as np
import scipy

from rlkit.tabular.mdp import FloatArray

LARGE = 2_000  # rows; with at least as many, iteration is tried first
MOST_PRODUCTS = 200
RELATIVE_ERROR = 1e-9  # of the largest entry


def solve_chain(matrix: scipy.sparse.csr_array, constant: FloatArray) -> FloatArray:
    """Return the x with x = constant + matrix x.

    Raises:
        RuntimeError: I - matrix is singular in float64.
    """
    if matrix.shape[0] >= LARGE:
        solution = by_iteration(matrix, constant)
        if solution is not None:
            return solution
    identity = scipy.sparse.eye_array(matrix.shape[0], format="csc")
    from scipy.sparse.linalg import splu  # takes longer to import than most tables to learn

    return np.asarray(splu((identity - matrix).tocsc()).solve(constant))


def by_iteration(matrix: scipy.sparse.csr_array, constant: FloatArray) -> FloatArray | None:
    """Return the same by iteration, or None where the error cannot be proven to be small."""
    ones = np.ones(matrix.shape[0])
    steps = _conjugate_gradients(matrix, ones)
    defect = float(np.abs(ones - (steps - matrix @ steps)).max())
    if not (defect < 0.5 and steps.min() > 0):
        return None
    solution, residual = np.zeros_like(constant), constant
    for _ in range(3):  # each pass solves for the residual that rounding left
        solution = solution + _conjugate_gradients(matrix, residual)
        residual = constant - (solution - matrix @ solution)
    error = float(np.abs(residual).max()) * float(steps.max()) / (1 - defect)
    return solution if error <= RELATIVE_ERROR * float(np.abs(solution).max()) else None


def _conjugate_gradients(matrix: scipy.sparse.csr_array, constant: FloatArray) -> FloatArray:
    """Approximate the x with (I - matrix) x = constant by Bi-CGSTAB from x = 0.

    Sums are NumPy's own, not BLAS's, so that bytes do not depend on the number of threads.
    """
    x, residual = np.zeros_like(constant), constant.copy()
    shadow, direction = residual.copy(), residual.copy()
    rho = float((shadow * residual).sum())
    goal = 1e-15 * float(np.abs(constant).max())
    for _ in range(MOST_PRODUCTS // 2):
        if rho == 0.0 or float(np.abs(residual).max()) <= goal:
            break
        image = direction - matrix @ direction
        slope = float((shadow * image).sum())
        if slope == 0.0:
            break
        alpha = rho / slope
        half = residual - alpha * image
        half_image = half - matrix @ half
        size = float((half_image * half_image).sum())
        omega = float((half_image * half).sum()) / size if size > 0.0 else 0.0
        x = x + alpha * direction + omega * half
        residual = half - omega * half_image
        previous, rho = rho, float((shadow * residual).sum())
        if omega == 0.0 or not np.isfinite(rho):
            break
        beta = rho / previous * alpha / omega
        direction = residual + beta * (direction - omega * image)
    return np.asarray(x)
