"""Actions as an agent sees them where they are not those of the environment.

numbered    each combination of discrete parts is one action of a Discrete space, in mixed radix
            with the last part counting fastest: for agents with tables
rescaled    the numbers of a Box that have two bounds are in [-1, 1]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import AnySpace, bounds_of, leaves, map_leaves
from rlkit.environments.views.masks import split
from rlkit.errors import UsageError

Array = NDArray[Any]

MOST_NUMBERED = 10_000  # combinations; a table has a column for each


class ActionView:
    """Turns an agent's actions into rows of the environment's own `ActionLayout`.

    Args:
        space: of the environment's actions.
        numbered: number the combinations of discrete parts, if there are at most 10,000.
        rescaled: scale numbers with two bounds to [-1, 1].
        name: of the environment, for messages.

    Raises:
        UsageError: there is nothing to rescale.
    """

    def __init__(
        self, space: AnySpace, *, numbered: bool = False, rescaled: bool = False, name: str = ""
    ) -> None:
        self._layout = layout = ActionLayout(space)
        self.space = space
        self._rescaled = rescaled
        self._radices = _radices(layout) if numbered else None
        if self._radices is not None:
            self.space = spaces.Discrete(math.prod(layout.sizes.tolist()))
        low, high = layout.bounds
        bounded = (layout.sizes == 0) & np.isfinite(high - low) & (high > low)
        if rescaled:
            if not bounded.any():
                raise UsageError(
                    f"option rescale_actions (--rescale-actions): the actions of {name} are "
                    f"{space}, without a number that has two bounds; omit it"
                )
            self.space = map_leaves(space, _rescaled)
        self._low, self._half = np.where(bounded, low, 0.0), np.where(bounded, high - low, 2.0) / 2
        self._shift = np.where(bounded, 1.0, 0.0)
        self._whole = np.concatenate([_is_whole(leaf.space) for leaf in leaves(space)])

    @property
    def changes(self) -> bool:
        """Whether the agent's actions are not the environment's."""
        return self._rescaled or self._radices is not None

    @property
    def is_numbered(self) -> bool:
        """Whether the agent's action is the number of a combination."""
        return self._radices is not None

    @property
    def scaling(self) -> tuple[Array, Array, Array, Array] | None:
        """Bounded columns, their lower bounds, half their ranges, whole columns; None unscaled."""
        if not self._rescaled:
            return None
        return self._shift == 1.0, self._low, self._half, self._whole

    def to_layout(self, actions: Array) -> Array:
        """Return an agent's actions [S, N, ...] as those of the environment's layout."""
        if self._radices is not None:
            digits: Array = actions[..., None] // self._radices % self._layout.sizes
            return digits
        if not self._rescaled:
            return actions
        flat = actions.reshape(*actions.shape[:2], -1).astype(np.float64)
        # Clipped here as well: beyond [-1, 1] rounding must not lead back inside.
        flat = np.where(self._shift == 1.0, np.clip(flat, -1.0, 1.0), flat)
        own = self._low + (flat + self._shift) * self._half
        own = np.where(self._whole, np.rint(own), own)
        return own.reshape(actions.shape)

    def from_layout(self, actions: Array) -> Array:
        """Return actions [D, ...] of the environment's layout as those of an agent.

        It undoes `to_layout`; numbers with bounds are clipped to them, as the environment does.
        """
        if self._radices is not None:
            numbers: Array = (actions * self._radices).sum(axis=-1)
            return numbers
        flat = actions.reshape(len(actions), -1).astype(np.float64)
        low, high = self._layout.bounds
        real = self._layout.sizes == 0
        flat = np.where(real, np.clip(flat, low, high), flat)
        if self._rescaled:
            flat = (flat - self._low) / self._half - self._shift
        return flat.reshape(actions.shape)

    def masks(self, masks: Array) -> Array:
        """Return masks [S, N, choices] of the environment's layout as those of the agent's space.

        A combination is allowed where all its parts are.
        """
        if self._radices is None:
            return masks
        combined = np.ones((*masks.shape[:2], 1), dtype=np.bool_)
        for part in split(masks, self._layout):
            combined = combined[..., :, None] & part[..., None, :]
            combined = combined.reshape(*masks.shape[:2], -1)
        return combined


def _radices(layout: ActionLayout) -> Array | None:
    """Return the weight of each part in the number of a combination; None if not numbered."""
    is_one = isinstance(layout.space, (spaces.Discrete, spaces.Box))
    if is_one or not layout.is_discrete or math.prod(layout.sizes.tolist()) > MOST_NUMBERED:
        return None
    return np.append(np.cumprod(layout.sizes[:0:-1])[::-1], 1).astype(np.int64)


def _rescaled(space: AnySpace) -> AnySpace:
    if not isinstance(space, spaces.Box):
        return space
    low, high = bounds_of(space)
    bounded = np.isfinite(high - low) & (high > low)
    dtype = np.float64 if space.dtype == np.float64 else np.float32
    low, high = np.where(bounded, -1.0, low), np.where(bounded, 1.0, high)
    return spaces.Box(
        low.reshape(space.shape).astype(dtype), high.reshape(space.shape).astype(dtype), dtype=dtype
    )


def _is_whole(space: AnySpace) -> NDArray[np.bool_]:
    """Return which columns of a leaf are whole numbers of a Box."""
    is_whole = isinstance(space, spaces.Box) and np.dtype(space.dtype).kind in "iu"
    return np.full(math.prod(space.shape or ()), is_whole)
