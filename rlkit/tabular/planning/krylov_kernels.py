"""Compiled parts of one iteration of `krylov`, each for the states `first` to `last - 1`.

The chain of a policy: `weight[k]` is the probability of continuing in `column[k]`, for k from
`start[s]` to `start[s + 1] - 1`. Indices are unsigned, see `kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Array = NDArray[Any]


@kernel
def residual_of(
    start: Array,
    column: Array,
    weight: Array,
    discount: float,
    reward: Array,
    values: Array,
    residual: Array,
    first: np.uint32,
    last: np.uint32,
) -> float:
    """Write r + discount * P v - v to `residual`, and return the largest of its absolute values."""
    largest = 0.0
    for s in range(first, last):
        total = 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            total += weight[k] * values[column[k]]
        residual[s] = reward[s] + discount * total - values[s]
        largest = max(largest, abs(residual[s]))
    return largest


@kernel
def precondition(
    start: Array,
    column: Array,
    weight: Array,
    discount: float,
    constant: Array,
    result: Array,
    first: np.uint32,
    last: np.uint32,
) -> None:
    """Write an approximation of the x with x = constant + discount * P x to `result`.

    One Gauss-Seidel sweep from the first state to the last, and one back, from x = 0; states
    outside these count as 0.
    """
    for s in range(first, last):
        total = 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            if first <= column[k] < s:
                total += weight[k] * result[column[k]]
        result[s] = constant[s] + discount * total
    for j in range(last - first):
        at = last - np.uint32(1) - np.uint32(j)
        total = 0.0
        for k in range(start[at], start[at + np.uint32(1)]):
            if first <= column[k] < last:
                total += weight[k] * result[column[k]]
        result[at] = constant[at] + discount * total


@kernel
def search(
    start: Array,
    column: Array,
    weight: Array,
    discount: float,
    residual: Array,
    direction: Array,
    image: Array,
    beta: float,
    omega: float,
    preconditioned: Array,
    first: np.uint32,
    last: np.uint32,
) -> None:
    """Replace p by r + beta * (p - omega * image), and precondition it."""
    for s in range(first, last):
        direction[s] = residual[s] + beta * (direction[s] - omega * image[s])
    precondition(start, column, weight, discount, direction, preconditioned, first, last)


@kernel
def multiply(
    start: Array,
    column: Array,
    weight: Array,
    discount: float,
    values: Array,
    other: Array,
    result: Array,
    first: np.uint32,
    last: np.uint32,
) -> tuple[float, float]:
    """Write v - discount * P v to `result`; return its products with `other` and with itself."""
    product, square = 0.0, 0.0
    for s in range(first, last):
        total = 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            total += weight[k] * values[column[k]]
        result[s] = values[s] - discount * total
        product += result[s] * other[s]
        square += result[s] * result[s]
    return product, square


@kernel
def advance(
    values: Array,
    residual: Array,
    direction: Array,
    image: Array,
    size: float,
    shadow: Array,
    first: np.uint32,
    last: np.uint32,
) -> tuple[float, float]:
    """Add size * direction to v and subtract size * image from r.

    Returns:
        The product of `shadow` with r, and the largest |r|.
    """
    product, largest = 0.0, 0.0
    for s in range(first, last):
        values[s] += size * direction[s]
        residual[s] -= size * image[s]
        product += shadow[s] * residual[s]
        largest = max(largest, abs(residual[s]))
    return product, largest
