"""The value of a policy by stabilised bi-conjugate gradients (van der Vorst 1992).

Preconditioned on the right by a symmetric Gauss-Seidel sweep, they need a few dozen iterations
where sweeps alone need thousands.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rlkit.tabular.mdp import FloatArray
from rlkit.tabular.planning import krylov_kernels as kernels
from rlkit.tabular.planning.sweeps import Chain, in_parts


def improve(
    chain: Chain,
    values: FloatArray,
    *,
    reduction: float,
    max_iterations: int,
    pool: ThreadPoolExecutor | None = None,
) -> int:
    """Bring `values` nearer to the value of the policy, in place.

    The method has no guarantee: the caller must measure what it got, which may not even be finite.

    Args:
        reduction: of the largest residual, at which to stop.
        max_iterations: each takes four Gauss-Seidel sweeps and two products.

    Returns:
        The iterations done.
    """
    *matrix, reward = chain
    size = values.shape[0]
    residual = np.empty_like(values)
    parts = in_parts(pool, size, kernels.residual_of, *matrix, reward, values, residual)
    goal = reduction * max(parts)
    shadow = residual.copy()
    direction, image = np.zeros_like(values), np.zeros_like(values)
    conditioned, product = np.empty_like(values), np.empty_like(values)
    next_rho = float((shadow * residual).sum())
    rho = alpha = omega = 1.0
    for iteration in range(max_iterations):
        previous, rho = rho, next_rho
        if rho == 0.0 or omega == 0.0:
            return iteration
        beta = rho / previous * alpha / omega
        in_parts(
            *(pool, size, kernels.search, *matrix),
            *(residual, direction, image, beta, omega, conditioned),
        )
        sums = in_parts(pool, size, kernels.multiply, *matrix, conditioned, shadow, image)
        slope = sum(part[0] for part in sums)
        if slope == 0.0:
            return iteration
        alpha = rho / slope
        in_parts(
            *(pool, size, kernels.advance),
            *(values, residual, conditioned, image, alpha, shadow),
        )
        in_parts(pool, size, kernels.precondition, *matrix, residual, conditioned)
        sums = in_parts(pool, size, kernels.multiply, *matrix, conditioned, residual, product)
        square = sum(part[1] for part in sums)
        if square == 0.0:
            return iteration + 1
        omega = sum(part[0] for part in sums) / square
        sums = in_parts(
            *(pool, size, kernels.advance),
            *(values, residual, conditioned, product, omega, shadow),
        )
        next_rho = sum(part[0] for part in sums)
        if not max(part[1] for part in sums) > goal:
            return iteration + 1
    return max_iterations
