"""Random actions of any supported space, within the masks that an environment offers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import AnySpace
from rlkit.environments.views.masks import MaskReader, draw_allowed, given_mask, split

Array = NDArray[Any]


class ActionSource:
    """Draws actions as agents choose them: rows of indices and numbers, see `ActionLayout`.

    Args:
        space: of the actions.
        seed: of the draws.
    """

    def __init__(self, space: AnySpace, seed: int = 0) -> None:
        self.layout = ActionLayout(space)
        self._rng = np.random.default_rng(seed)
        self._low, self._high = self.limits()
        self._read = MaskReader(self.layout)

    def limits(self) -> tuple[Array, Array]:
        """Return the limits of each column of real numbers; -1 and 1 where it has no bounds."""
        low, high = self.layout.bounds
        low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 2.0, -1.0))
        return low, np.where(np.isfinite(high), high, np.maximum(low + 2.0, 1.0))

    def draw(self, mask: Array | None = None) -> Array:
        """Return one action, among those that a mask allows, each with equal probability."""
        uniform = self._rng.random(len(self.layout.sizes))
        numbers = self._low + uniform * (self._high - self._low)
        row = np.where(self.layout.sizes > 0, np.floor(uniform * self.layout.sizes), numbers)
        if mask is not None:
            parts = zip(split(mask, self.layout), uniform, row, strict=True)
            row = np.array([draw_allowed(m, u) if m.size else number for m, u, number in parts])
        return row.reshape(self.layout.shape).astype(self.layout.dtype)

    def mask_of(self, env: gym.Env[Any, Any], info: Any) -> Array | None:
        """Return the mask [choices] that an environment offers now, or None.

        Raises:
            ValueError: it is wrong.
        """
        given, source = given_mask(env, info)
        return self._read.checked(given, source) if source else None

    def values_of(self, column: int, most: int = 12) -> Array:
        """Return values of a column to compare: all of a few choices, or five of a number."""
        size = int(self.layout.sizes[column])
        if not size:
            return np.linspace(self._low[column], self._high[column], 5)
        return np.unique(np.linspace(0, size - 1, min(size, most)).round())

    def changed(self, row: Array, column: int, value: float) -> Array:
        """Return an action with another value in one column."""
        flat = np.array(row, copy=True).reshape(-1)
        flat[column] = value
        return flat.reshape(self.layout.shape)

    def name_of(self, column: int) -> str:
        """Return what to call a column: "the action", or its part."""
        if len(self.layout.columns) == 1:
            return "the action"
        return f"the part {self.layout.columns[column].name or column} of the action"
