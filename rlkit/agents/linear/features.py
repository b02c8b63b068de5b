"""Linear features: functions of an observation whose weighted sum approximates a value.

    one-hot      one per state of a discrete space, so that the weights are a table
    polynomial   all products of at most `order` numbers, each scaled to [-1, 1] where it is bounded
    fourier      cos(pi c . x) for c in {0, ..., order}^d and x scaled to [0, 1] (Konidaris,
                 Osentoski and Thomas 2011)

A feature that is constant is always among them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import sparse

from rlkit.environments.views.leaves import bounds_of
from rlkit.errors import UsageError

Array = NDArray[Any]
Kind = Literal["auto", "one-hot", "polynomial", "fourier"]

MOST_FEATURES = 2_000  # of a Box; their products with each other are a dense matrix


class Features(Protocol):
    """A mapping from observations to vectors."""

    size: int

    def matrix(self, obs: Array) -> Array | sparse.csr_array:
        """Return one row for each of M observations, [M, size]."""

    def values(self, obs: Array, weights: Array) -> Array:
        """Return the weighted sums [S, M, A] of observations [S, M, ...].

        Args:
            weights: [S, size, A].
        """


class OneHot:
    """One feature per state.

    Args:
        num_states: of a Discrete space; observations are indices from 0.
    """

    def __init__(self, num_states: int) -> None:
        self.size = num_states

    def matrix(self, obs: Array) -> sparse.csr_array:
        rows = np.arange(len(obs) + 1)
        return sparse.csr_array((np.ones(len(obs)), obs, rows), shape=(len(obs), self.size))

    def values(self, obs: Array, weights: Array) -> Array:
        sums: Array = weights[np.arange(len(obs))[:, None], obs]
        return sums


class BoxFeatures:
    """Features of the numbers of a Box.

    Args:
        space: of the observations.
        kind: "polynomial" or "fourier".
        order: the largest number of factors, or the largest coefficient; >= 1.
        low: limits for scaling, one number or one per dimension; empty for those of the space.
        high: the upper ones.

    Raises:
        UsageError: a dimension of fourier features has no limits, or there would be too many.
    """

    def __init__(
        self,
        space: spaces.Box,
        kind: str,
        order: int,
        low: Sequence[float] = (),
        high: Sequence[float] = (),
    ) -> None:
        self._axes, dimensions = len(space.shape), math.prod(space.shape)
        self._low = _limits("low", space, low, dimensions)
        self._high = _limits("high", space, high, dimensions)
        self._bounded = np.isfinite(self._low) & np.isfinite(self._high)
        if (self._low[self._bounded] >= self._high[self._bounded]).any():
            d = int(np.flatnonzero(self._bounded & ~(self._low < self._high))[0])
            raise UsageError(
                f"option feature_low (--feature-low): the limits of dimension {d} must rise, got "
                f"{self._low[d]:g} to {self._high[d]:g}"
            )
        self._fourier = kind == "fourier"
        if self._fourier and not self._bounded.all():
            listed = ", ".join(map(str, np.flatnonzero(~self._bounded).tolist()))
            raise UsageError(
                f"option features (--features): fourier needs limits, and dimensions {listed} of "
                f"the observations {space} have none; give --feature-low and --feature-high, or "
                "use polynomial"
            )
        self.size = (
            (order + 1) ** dimensions if self._fourier else math.comb(dimensions + order, order)
        )
        if self.size > MOST_FEATURES:
            raise UsageError(
                f"option order (--order): {self.size:,} features of {dimensions} dimensions are "
                f"more than {MOST_FEATURES:,}; use a lower order, or an agent with a network such "
                "as ppo"
            )
        if self._fourier:
            coefficients = itertools.product(range(order + 1), repeat=dimensions)
            self._coefficients = np.array(list(coefficients), dtype=np.float64)
        # Each product is a row of indices, of which `dimensions` stands for the factor 1.
        products = itertools.combinations_with_replacement(range(dimensions + 1), order)
        self._factors = np.array(list(products), dtype=np.int64)

    def vectors(self, obs: Array) -> Array:
        """Return the features [..., size] of observations [..., *shape]."""
        x = obs.reshape(*obs.shape[: obs.ndim - self._axes], -1).astype(np.float64)
        low, high = (np.where(self._bounded, side, 0.0) for side in (self._low, self._high))
        share = (x - low) / np.where(self._bounded, high - low, 1.0)
        if self._fourier:
            # Not a matrix product: its bytes would depend on the number of observations.
            angle = np.einsum("...d,fd->...f", np.clip(share, 0.0, 1.0), self._coefficients)
            waves: Array = np.cos(np.pi * angle)
            return waves
        scaled = np.where(self._bounded, 2.0 * share - 1.0, x)
        factors = np.concatenate([scaled, np.ones((*scaled.shape[:-1], 1))], axis=-1)
        products: Array = factors[..., self._factors].prod(axis=-1)
        return products

    def matrix(self, obs: Array) -> Array:
        return self.vectors(obs)

    def values(self, obs: Array, weights: Array) -> Array:
        sums: Array = np.einsum("smf,sfa->sma", self.vectors(obs), weights)
        return sums


def make_features(
    space: spaces.Space[Any],
    kind: Kind = "auto",
    order: int | None = None,
    low: Sequence[float] = (),
    high: Sequence[float] = (),
) -> Features:
    """Return the features of the observations of a space.

    Args:
        space: Discrete or Box.
        kind: "auto": one-hot for Discrete; for a Box fourier where it is bounded, else polynomial.
        order: of polynomial (default 2) and fourier features (default 3).
        low: limits of a Box where they differ from those of the space.
        high: the upper ones.

    Raises:
        UsageError: the kind does not fit the space.
    """
    if isinstance(space, spaces.Discrete):
        if kind not in ("auto", "one-hot"):
            raise UsageError(
                f"option features (--features): the observations are {space}, whose features are "
                f"one-hot, got {kind!r}"
            )
        return OneHot(int(space.n))
    assert isinstance(space, spaces.Box)
    if kind == "one-hot":
        raise UsageError(
            f"option features (--features): one-hot needs discrete observations, got {space}; use "
            "polynomial or fourier, or divide the observations with --bins"
        )
    if kind == "auto":
        is_bounded = (low and high) or np.isfinite(bounds_of(space)).all()
        small = 4 ** math.prod(space.shape) <= MOST_FEATURES
        kind = "fourier" if is_bounded and small else "polynomial"
    return BoxFeatures(space, kind, order or (3 if kind == "fourier" else 2), low, high)


def _limits(side: str, space: spaces.Box, given: Sequence[float], dimensions: int) -> Array:
    """Return the limits of each dimension; infinity where there is none."""
    if not given:
        return bounds_of(space)[side == "high"]
    if len(given) not in (1, dimensions):
        raise UsageError(
            f"option feature_{side} (--feature-{side}): expected one number or {dimensions}, one "
            f"for each dimension of the observations, got {len(given)}"
        )
    return np.broadcast_to(np.array(given, dtype=np.float64), dimensions)
