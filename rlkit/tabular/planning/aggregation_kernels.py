"""Compiled parts of `aggregation`; where they take `first` and `last`, for the states between.

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
def smooth(
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
        total, stay = 0.0, 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            if column[k] == s:
                stay += weight[k]
            elif first <= column[k] < s:
                total += weight[k] * result[column[k]]
        result[s] = (constant[s] + discount * total) / (1.0 - discount * stay)
    for j in range(last - first):
        at = last - np.uint32(1) - np.uint32(j)
        total, stay = 0.0, 0.0
        for k in range(start[at], start[at + np.uint32(1)]):
            if column[k] == at:
                stay += weight[k]
            elif first <= column[k] < last:
                total += weight[k] * result[column[k]]
        result[at] = (constant[at] + discount * total) / (1.0 - discount * stay)


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
def subtract(
    values: Array,
    image: Array,
    size: float,
    other_values: Array,
    other_image: Array,
    residual: Array,
    first: np.uint32,
    last: np.uint32,
) -> tuple[float, float]:
    """Subtract size * the other values and image from these.

    Returns:
        The products of the new image with `residual` and with itself.
    """
    product, square = 0.0, 0.0
    for s in range(first, last):
        values[s] -= size * other_values[s]
        image[s] -= size * other_image[s]
        product += image[s] * residual[s]
        square += image[s] * image[s]
    return product, square


@kernel
def dot(one: Array, other: Array, first: np.uint32, last: np.uint32) -> float:
    """Return the product of two vectors."""
    total = 0.0
    for s in range(first, last):
        total += one[s] * other[s]
    return total


@kernel
def advance(
    values: Array,
    residual: Array,
    direction: Array,
    image: Array,
    size: float,
    first: np.uint32,
    last: np.uint32,
) -> float:
    """Add size * direction to v and subtract size * image from r; return the largest |r|."""
    largest = 0.0
    for s in range(first, last):
        values[s] += size * direction[s]
        residual[s] -= size * image[s]
        largest = max(largest, abs(residual[s]))
    return largest


@kernel
def match(start: Array, column: Array, weight: Array, group: Array) -> int:
    """Write a group to each state: pairs of neighbours with the largest weights, greedily.

    A state whose neighbours are all taken joins the one with the largest weight. The states without
    neighbours are group 0 together.

    Returns:
        The number of groups.
    """
    none = np.uint32(0xFFFFFFFF)
    num_states, num_groups = np.uint32(start.shape[0] - 1), np.uint32(0)
    for s in range(num_states):
        group[s] = none
        alone = True
        for k in range(start[s], start[s + np.uint32(1)]):
            alone = alone and (column[k] == s or weight[k] == 0.0)
        if alone:
            group[s], num_groups = np.uint32(0), np.uint32(1)
    for s in range(num_states):
        if group[s] != none:
            continue
        free, taken, of_free, of_taken = none, none, 0.0, 0.0
        for k in range(start[s], start[s + np.uint32(1)]):
            other = column[k]
            if other == s:
                continue
            if group[other] == none and weight[k] > of_free:
                free, of_free = other, weight[k]
            if group[other] != none and weight[k] > of_taken:
                taken, of_taken = other, weight[k]
        if free != none:
            group[s] = group[free] = num_groups
            num_groups += np.uint32(1)
        else:
            group[s] = group[taken]
    return int(num_groups)


@kernel
def coarse_chain(
    start: Array,
    column: Array,
    weight: Array,
    group: Array,
    member: Array,
    first_member: Array,
    coarse_start: Array,
    coarse_column: Array,
    coarse_weight: Array,
    place: Array,
) -> None:
    """Write the chain of groups: the mean over their members of the probabilities.

    Args:
        group: of each state.
        member: the states, group after group.
        first_member: of each group, in `member`, and their number at the end.
        coarse_start, coarse_column, coarse_weight: the chain; no more entries than the other's.
        place: to work in, [groups].
    """
    place[:] = np.uint32(0xFFFFFFFF)
    end = np.uint32(0)
    for g in range(np.uint32(first_member.shape[0] - 1)):
        coarse_start[g] = begin = end
        low, high = first_member[g], first_member[g + np.uint32(1)]
        for m in range(low, high):
            s = member[m]
            for k in range(start[s], start[s + np.uint32(1)]):
                target = group[column[k]]
                at = place[target]
                if at == np.uint32(0xFFFFFFFF) or at < begin:
                    at = end
                    place[target] = at
                    coarse_column[at], coarse_weight[at] = target, 0.0
                    end += np.uint32(1)
                coarse_weight[at] += weight[k]
        for k in range(begin, end):
            coarse_weight[k] /= np.float64(high - low)
    coarse_start[first_member.shape[0] - 1] = end


@kernel
def restrict(residual: Array, member: Array, first_member: Array, result: Array) -> None:
    """Write the mean of each group."""
    for g in range(np.uint32(first_member.shape[0] - 1)):
        total = 0.0
        low, high = first_member[g], first_member[g + np.uint32(1)]
        for m in range(low, high):
            total += residual[member[m]]
        result[g] = total / np.float64(high - low)


@kernel
def prolong(values: Array, group: Array, coarse: Array, first: np.uint32, last: np.uint32) -> None:
    """Add to each state the value of its group."""
    for s in range(first, last):
        values[s] += coarse[group[s]]


@kernel
def add(values: Array, other: Array, first: np.uint32, last: np.uint32) -> None:
    """Add the other values to these."""
    for s in range(first, last):
        values[s] += other[s]
