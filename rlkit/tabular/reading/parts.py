"""Observations made of discrete parts, as one index from 0.

A Tuple, Dict, MultiDiscrete or MultiBinary space of Discrete parts has one index for each
combination of its parts, in mixed radix: the last part counts fastest, and each part is counted
from its own start. (14, 10, 0) of Blackjack's Tuple(Discrete(32), Discrete(11), Discrete(2)) is
(14 * 11 + 10) * 2 + 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MOST_COMBINATIONS = 100_000  # of parts, up to which they are numbered


class PartsIndex:
    """The numbering of the combinations of a space's discrete parts.

    Args:
        space: is made of Discrete parts, at least one.

    Raises:
        ValueError: it has other parts, or none.
    """

    start = 0  # as of a Discrete space

    def __init__(self, space: spaces.Space[Any]) -> None:
        parts = list(_parts(space))
        if not parts:
            raise ValueError(f"{space} has no parts")
        self.space = space
        self.starts = tuple(start for start, _ in parts)
        self.sizes = tuple(size for _, size in parts)
        self.n = math.prod(self.sizes)

    def __repr__(self) -> str:
        return f"the {self.n:,} combinations of {self.space}"

    def __call__(self, observation: Any) -> int:
        """Return the index of one observation.

        Raises:
            ValueError: it is not in the space.
        """
        index = 0
        try:
            values = list(_values(self.space, observation))
        except (TypeError, KeyError, IndexError, ValueError):
            values = []
        if len(values) != len(self.sizes):
            raise ValueError(f"{observation!r:.200} is not in {self.space}")
        for value, start, size in zip(values, self.starts, self.sizes, strict=True):
            digit = value - start
            if not (0 <= digit < size and digit == int(digit)):
                raise ValueError(f"{observation!r:.200} is not in {self.space}")
            index = index * size + int(digit)
        return index


def parts_index(space: spaces.Space[Any]) -> PartsIndex | None:
    """Return the numbering of a space; None where it is Discrete, not discrete, or too large."""
    if isinstance(space, spaces.Discrete):
        return None
    try:
        index = PartsIndex(space)
    except ValueError:
        return None
    return index if index.n <= MOST_COMBINATIONS else None


def states_of(space: spaces.Space[Any]) -> spaces.Discrete | PartsIndex | None:
    """Return how the observations of a space are numbered; None where they are not."""
    return space if isinstance(space, spaces.Discrete) else parts_index(space)


def indices_of(observations: Any, index: PartsIndex) -> tuple[NDArray[np.int64], bool]:
    """Return the indices `[B]` of observations, and whether it was a single one.

    A batch is a list or an array of observations or, for a Tuple or Dict, a tuple or mapping of one
    array `[B]` per part, as Gymnasium's vector environments return it.

    Raises:
        ValueError: an observation is not in the space.
    """
    space = index.space
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        is_one = isinstance(observations, (tuple, Mapping))
        if is_one and _is_batched(space, observations):
            length = len(next(_leaves(observations)))
            batch = [_member(observations, i) for i in range(length)]
            return np.array([index(one) for one in batch], dtype=np.int64), False
        if isinstance(observations, np.ndarray):
            is_one = observations.shape == (len(index.sizes),)
    else:
        is_one = np.shape(observations) == space.shape
    batch = [observations] if is_one else list(observations)
    return np.array([index(one) for one in batch], dtype=np.int64), is_one


def _parts(space: spaces.Space[Any]) -> Iterator[tuple[int, int]]:
    """Yield start and size of each part; raise ValueError where a part is not discrete."""
    if isinstance(space, spaces.Discrete):
        yield int(space.start), int(space.n)
    elif isinstance(space, spaces.MultiDiscrete):
        sizes = np.ravel(space.nvec).tolist()
        yield from zip(np.ravel(space.start).tolist(), sizes, strict=True)
    elif isinstance(space, spaces.MultiBinary):
        yield from [(0, 2)] * math.prod(space.shape)
    elif isinstance(space, (spaces.Tuple, spaces.Dict)):
        for child in _children(space):
            yield from _parts(child)
    else:
        raise ValueError(f"{space} is not discrete")


def _children(space: Any) -> list[spaces.Space[Any]]:
    return list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)


def _values(space: spaces.Space[Any], observation: Any) -> Iterator[Any]:
    """Yield the number of each part of an observation, not yet checked against its range."""
    if isinstance(space, spaces.Dict):
        if set(observation) != set(space.spaces):
            raise ValueError("other keys")
        for key, child in space.spaces.items():
            yield from _values(child, observation[key])
    elif isinstance(space, spaces.Tuple):
        for child, part in zip(space.spaces, observation, strict=True):
            yield from _values(child, part)
    else:
        array = np.asarray(observation)
        if array.shape != (space.shape or ()) or array.dtype.kind not in "biuf":
            raise ValueError("another shape")
        yield from np.ravel(array).tolist()


def _is_batched(space: spaces.Space[Any], observation: Any) -> bool:
    """Return whether the first part of an observation has one more axis than one number."""
    while isinstance(space, (spaces.Tuple, spaces.Dict)):
        key: Any = next(iter(space.spaces)) if isinstance(space, spaces.Dict) else 0
        try:
            space, observation = space.spaces[key], observation[key]
        except (KeyError, IndexError, TypeError):
            return False
    return np.ndim(observation) == len(space.shape or ()) + 1


def _leaves(observation: Any) -> Iterator[Any]:
    if isinstance(observation, Mapping):
        for part in observation.values():
            yield from _leaves(part)
    elif isinstance(observation, tuple):
        for part in observation:
            yield from _leaves(part)
    else:
        yield observation


def _member(observation: Any, i: int) -> Any:
    """Return observation i of a batch that has one array per part."""
    if isinstance(observation, Mapping):
        return {key: _member(part, i) for key, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_member(part, i) for part in observation)
    return observation[i]
