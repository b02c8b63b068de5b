"""Actions of any supported space as arrays of numbers.

    Discrete          an index from 0
    Box               its own arrays
    other spaces      one row of numbers, a column per part: an index from 0 for a discrete part,
                      the numbers of a Box as they are; parts are in the order of `leaves`

The parts of a Tuple, Dict, MultiDiscrete or MultiBinary are chosen independently of each other.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.leaves import AnySpace, Leaf, bounds_of, build, leaves

Array = NDArray[Any]

MOST_CHOICES = 1_000_000  # of all discrete parts together; a network has an output for each


class Column(NamedTuple):
    """One number of an action.

    Args:
        name: of its part, for messages.
        size: how many there are to choose from; 0 = a real number.
        low: the lower bound of a real number.
        high: the upper bound.
    """

    name: str
    size: int
    low: float = 0.0
    high: float = 0.0


class ActionLayout:
    """How the actions of a space are laid out in arrays.

    Args:
        space: of the actions of one environment.

    Raises:
        ValueError: it is not supported.
    """

    def __init__(self, space: AnySpace) -> None:
        self.space = space
        parts = list(leaves(space))
        # Counted before anything is as long as that.
        self.num_choices = sum(_num_choices(leaf.space) for leaf in parts)
        is_one = isinstance(space, (spaces.Discrete, spaces.Box))
        if isinstance(space, spaces.Box) and 0 in space.shape:
            raise ValueError("0 numbers, expected at least 1")
        if not (is_one or (parts and self.num_choices <= MOST_CHOICES)):
            raise ValueError(
                f"{len(parts):,} parts with {self.num_choices:,} choices, expected at least 1 part "
                f"and at most {MOST_CHOICES:,} choices"
            )
        self.columns = [column for leaf in parts for column in _columns(leaf)]
        self.sizes = np.array([column.size for column in self.columns], dtype=np.int64)
        self.is_discrete = bool(len(self.sizes)) and bool((self.sizes > 0).all())
        self.dtype = np.dtype(np.int64 if self.is_discrete else np.float64)
        self.shape: tuple[int, ...] = (space.shape or ()) if is_one else (len(self.columns),)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Return (number, size) of each run of neighbouring columns of equal size."""
        runs = itertools.groupby(self.sizes.tolist())
        return [(sum(1 for _ in columns), size) for size, columns in runs]

    @property
    def offsets(self) -> Array:
        """Return where the choices of each discrete column begin among all choices, [columns]."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Return the lower and upper bounds of each column, 0 and 0 of discrete ones."""
        low, high = ([getattr(c, side) for c in self.columns] for side in ("low", "high"))
        return np.array(low), np.array(high)

    def to_env(self, action: Any) -> Any:
        """Return one action in the form in which the environment takes it.

        Numbers are clipped to the bounds of a Box and cast to its type.
        """
        if isinstance(self.space, spaces.Discrete):
            return int(action) + int(self.space.start)
        if isinstance(self.space, spaces.Box):
            return _clipped(self.space, action)
        columns = iter(action)
        return build(self.space, lambda leaf: _value(leaf, columns))

    def to_env_batch(self, actions: Array) -> Any:
        """Return actions [B, ...] as an array, or as a list where they are tuples or dicts."""
        if isinstance(self.space, spaces.Discrete):
            return actions + int(self.space.start)
        if isinstance(self.space, spaces.Box):
            return _clipped(self.space, actions)
        batch = [self.to_env(action) for action in actions]
        if isinstance(self.space, (spaces.Tuple, spaces.Dict)):
            return batch
        return np.array(batch, self.space.dtype).reshape(len(batch), *(self.space.shape or ()))


def _num_choices(space: AnySpace) -> int:
    """Return the number of choices of a leaf: outputs of a network, entries of a mask."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec))
    return 0 if isinstance(space, spaces.Box) else 2 * math.prod(space.shape or ())


def _columns(leaf: Leaf) -> list[Column]:
    """Return the columns of a leaf."""
    space = leaf.space
    if isinstance(space, spaces.Discrete):
        return [Column(leaf.name, int(space.n))]
    shape = space.shape or ()
    names = [leaf.name + "".join(f"[{i}]" for i in place) for place in np.ndindex(*shape)]
    if isinstance(space, spaces.Box):
        bounds = zip(names, *(side.tolist() for side in bounds_of(space)), strict=True)
        return [Column(each, 0, low, high) for each, low, high in bounds]
    if isinstance(space, spaces.MultiDiscrete):
        return [Column(*pair) for pair in zip(names, np.ravel(space.nvec).tolist(), strict=True)]
    return [Column(each, 2) for each in names]


def _value(space: AnySpace, columns: Any) -> Any:
    """Return the value of a leaf from the next columns."""
    if isinstance(space, spaces.Discrete):
        return int(next(columns)) + int(space.start)
    shape = space.shape or ()
    numbers = np.array([next(columns) for _ in range(math.prod(shape))]).reshape(shape)
    if isinstance(space, spaces.Box):
        return _clipped(space, numbers)
    start = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    digits = numbers.astype(np.int64)
    return (digits + np.asarray(start, np.int64)).astype(space.dtype)


def _clipped(space: spaces.Box, numbers: Any) -> Array:
    clipped = np.clip(numbers, space.low, space.high)
    return np.asarray(clipped).astype(space.dtype)  # an array without axes too, as `sample` gives
