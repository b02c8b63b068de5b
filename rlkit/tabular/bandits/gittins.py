"""The Gittins index of a Bernoulli arm (Gittins 1979; Gittins, Glazebrook and Weber 2011)."""

from __future__ import annotations

import math

import numpy as np

from rlkit.maths.compiled import kernel

MOST_PULLS = 20_000  # of one arm that are looked ahead: some seconds


def gittins_index(alpha: float, beta: float, discount: float, *, tolerance: float = 1e-7) -> float:
    """Return the Gittins index of a Bernoulli arm with the posterior Beta(alpha, beta).

    It is the reward lambda of an arm that always pays lambda at which both arms are equally good to
    pull first, under this discount. Among any number of independent arms it is optimal to pull one
    with the largest index, over an infinite discounted horizon.

        w(a, b) = max(lambda, (1 - discount) p + discount (p w(a + 1, b) + (1 - p) w(a, b + 1))),
        p = a / (a + b)

    where w is 1 - discount times the value. Bisection finds the lambda at which both sides of the
    maximum are equal at (alpha, beta): the calibration of the book's section 8.4. After so many
    pulls that later ones cannot move lambda by half of the tolerance, the mean counts as known.

    Args:
        alpha: of the posterior, > 0.
        beta: of the posterior, > 0.
        discount: in [0, 1).
        tolerance: the largest error, > 0.

    Raises:
        ValueError: an argument is out of range, or more than `MOST_PULLS` would be looked ahead.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("tolerance", tolerance)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"gittins_index: expected a finite {name} above 0, got {value!r}")
    if not 0 <= discount < 1:
        raise ValueError(f"gittins_index: expected a discount in [0, 1), got {discount!r}")
    mean = alpha / (alpha + beta)
    if discount == 0:
        return mean
    # w is in [0, 1], and the two sides part by at least 1 - discount per unit of lambda.
    pulls = math.ceil(math.log(tolerance / 2 * (1 - discount)) / math.log(discount))
    if pulls > MOST_PULLS:
        raise ValueError(
            f"gittins_index: a tolerance of {tolerance:g} at discount {discount:g} takes "
            f"{pulls:,} pulls of looking ahead, and at most {MOST_PULLS:,} are supported; raise "
            "the tolerance or lower the discount"
        )
    low, high = mean, 1.0
    while high - low > tolerance / 2:
        middle = (low + high) / 2
        if _advantage(alpha, beta, discount, middle, max(1, pulls)) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@kernel
def _advantage(alpha: float, beta: float, discount: float, known: float, pulls: int) -> float:
    """Return w of pulling the unknown arm first, minus the reward of the known one."""
    w = np.empty(pulls + 1)  # by the number of successes
    for s in range(pulls + 1):
        w[s] = max(known, (alpha + s) / (alpha + beta + pulls))
    for n in range(pulls - 1, -1, -1):
        for s in range(n + 1):
            p = (alpha + s) / (alpha + beta + n)
            first = (1 - discount) * p + discount * (p * w[s + 1] + (1 - p) * w[s])
            w[s] = first if n == 0 else max(known, first)
    difference: float = w[0] - known
    return difference
