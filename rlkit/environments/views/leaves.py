"""The parts of a space that have no parts of their own.

A Tuple or Dict space holds other spaces, at any depth. Its leaves are those that do not: Box,
Discrete, MultiDiscrete and MultiBinary spaces, in the order in which Gymnasium flattens them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

AnySpace = spaces.Space[Any]

_UNBOUNDED = 1e30  # some spaces give the largest number of their type in place of infinity

LEAVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Leaf(NamedTuple):
    """One leaf of a space.

    Args:
        keys: that lead to it, of Dicts and Tuples; () where the space is its own leaf.
        space: its own.
    """

    keys: tuple[Any, ...]
    space: AnySpace

    @property
    def name(self) -> str:
        """Return how Python would name it in a value: "['camera'][0]", or ""."""
        return "".join(f"[{key!r}]" for key in self.keys)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers; those of a Discrete are int64."""
        return np.dtype(np.int64 if isinstance(self.space, spaces.Discrete) else self.space.dtype)

    def value_in(self, value: Any) -> Any:
        """Return the part of a value of the whole space that belongs to this leaf."""
        for key in self.keys:
            value = value[key]
        return value


def leaves(space: AnySpace, keys: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    """Yield the leaves of a space.

    Raises:
        ValueError: a leaf is of another kind (Graph, Sequence, Text, OneOf, one of the user's).
    """
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        children = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space)
        for key, child in children:
            yield from leaves(child, (*keys, key))
    elif isinstance(space, LEAVES):
        yield Leaf(keys, space)
    else:
        where = f" at {Leaf(keys, space).name}" if keys else ""
        raise ValueError(f"the part {type(space).__name__}{where}")


def map_leaves(space: AnySpace, function: Callable[[AnySpace], AnySpace]) -> AnySpace:
    """Return the space with each leaf replaced by what a function makes of it."""
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([map_leaves(child, function) for child in space.spaces])
    if isinstance(space, spaces.Dict):
        # Not a dict, whose keys would be sorted, whatever the order of the original.
        return spaces.Dict([(key, map_leaves(part, function)) for key, part in space.items()])
    return function(space)


def build(space: AnySpace, value_of: Callable[[AnySpace], Any]) -> Any:
    """Return a value of a space from the values of its leaves, asked for in their order."""
    if isinstance(space, spaces.Tuple):
        return tuple(build(child, value_of) for child in space.spaces)
    if isinstance(space, spaces.Dict):
        return {key: build(child, value_of) for key, child in space.spaces.items()}
    return value_of(space)


def identity_of(space: AnySpace) -> tuple[str, str]:
    """Return a space as text, which abbreviates long arrays, with a digest of all its numbers."""
    digest = hashlib.sha256()
    for leaf in leaves(space):
        for part in ("low", "high", "nvec", "start"):
            digest.update(np.ascontiguousarray(getattr(leaf.space, part, ())).tobytes())
    return str(space), digest.hexdigest()


def bounds_of(space: spaces.Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper bounds of each number of a Box, infinite where there is none."""
    low, high = (np.ravel(side).astype(np.float64) for side in (space.low, space.high))
    return np.where(low > -_UNBOUNDED, low, -np.inf), np.where(high < _UNBOUNDED, high, np.inf)
