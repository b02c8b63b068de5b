"""Fits of the gold reward against the distance of a policy from its reference.

With d = sqrt(KL(policy || reference)), Gao, Schulman and Hilton (2023), arXiv 2210.10760, find

    gold(d) = d (a - b d)         best of n,
    gold(d) = d (a - b log d)     reinforcement learning,

in standard deviations of the gold reward under the reference, whose mean there is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class ScalingFit(NamedTuple):
    """A least-squares fit of a law with two constants."""

    a: float
    b: float
    r_squared: float  # 1 - residual over total sum of squares, at most 1


def fit_square_law(distance: ArrayLike, gold: ArrayLike) -> ScalingFit:
    """Return the least-squares a and b of gold = d (a - b d)."""
    d = _distances(distance)
    return _fit(np.column_stack([d, -(d**2)]), gold)


def fit_logarithmic_law(distance: ArrayLike, gold: ArrayLike) -> ScalingFit:
    """Return the least-squares a and b of gold = d (a - b log d), which is 0 at d = 0."""
    d = _distances(distance)
    return _fit(np.column_stack([d, -d * np.log(np.where(d > 0, d, 1.0))]), gold)


def _distances(distance: ArrayLike) -> NDArray[np.float64]:
    d = np.asarray(distance, dtype=np.float64)
    if d.ndim != 1 or len(d) < 3 or not (np.isfinite(d).all() and (d >= 0).all()):
        raise ValueError(
            "fitting a law of over-optimisation: expected at least three distances >= 0, got "
            f"{d.tolist() if d.size < 10 else d.shape}"
        )
    return d


def _fit(columns: NDArray[np.float64], gold: ArrayLike) -> ScalingFit:
    y = np.asarray(gold, dtype=np.float64)
    (a, b), *_ = np.linalg.lstsq(columns, y, rcond=None)
    residual = ((y - columns @ np.array([a, b])) ** 2).sum()
    return ScalingFit(float(a), float(b), float(1.0 - residual / ((y - y.mean()) ** 2).sum()))
