"""How agents see the observations of a space.

Discrete                                          an index from 0
Box                                               its own arrays
discrete parts, up to 100,000 combinations        an index from 0, one for each combination
other Tuples, Dicts, MultiDiscretes, MultiBinarys one vector, as Gymnasium flattens them:
                                                  parts one after another, those of a Dict in
                                                  the order of its keys; the numbers of a Box
                                                  and of a MultiBinary as they are, those of a
                                                  Discrete and a MultiDiscrete one-hot
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.leaves import AnySpace, Leaf, leaves
from rlkit.tabular.reading.parts import PartsIndex, indices_of, parts_index

Array = NDArray[Any]

MOST_ENTRIES = 1_000_000  # of a flattened observation; a network's first layer has a row for each


class FlatBox(spaces.Box):
    """The Box of flattened observations.

    Args:
        box: the flattened space.
        is_number: True where an entry comes from a Box, False where it belongs to a discrete part;
            bool, its shape.
    """

    def __init__(self, box: spaces.Box, is_number: NDArray[np.bool_]) -> None:
        super().__init__(box.low, box.high, dtype=box.dtype.type)
        self.is_number = is_number


def seen_by_agents(space: AnySpace) -> AnySpace:
    """Return the space of an environment's observations as agents see it: Discrete or Box.

    Raises:
        ValueError: it is not supported.
    """
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ValueError("0 numbers, expected at least 1")
    if isinstance(space, (spaces.Discrete, spaces.Box)):
        return space
    parts = list(leaves(space))
    if not 0 < spaces.flatdim(space) <= MOST_ENTRIES:  # before anything is as long as that
        raise ValueError(
            f"{spaces.flatdim(space):,} numbers when flattened, expected 1 to {MOST_ENTRIES:,}"
        )
    index = parts_index(space)
    if index is not None:
        return spaces.Discrete(index.n)
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    is_number = [
        np.full(spaces.flatdim(part.space), isinstance(part.space, spaces.Box)) for part in parts
    ]
    return FlatBox(flat, np.concatenate(is_number))


class ObservationEncoder:
    """Turns the observations of an environment into what agents see.

    Args:
        space: of the environment.

    Raises:
        ValueError: it is not supported.
    """

    def __init__(self, space: AnySpace) -> None:
        self._own = space
        self.space = seen_by_agents(space)
        self.shape = self.space.shape or ()
        discrete = isinstance(self.space, spaces.Discrete)
        self.dtype = np.dtype(np.int64 if discrete else self.space.dtype)
        self._index: PartsIndex | None = parts_index(space)
        # The first observation of a Discrete, and their number; 0 of another space.
        self.indices = self._start, self._num = (
            (int(space.start), int(space.n)) if isinstance(space, spaces.Discrete) else (0, 0)
        )
        self._is_box = isinstance(space, spaces.Box)
        self._leaves = list(leaves(space)) if isinstance(self.space, FlatBox) else []

    def __call__(self, obs: Any) -> Array:
        """Return one observation.

        Raises:
            ValueError: it is not in the space; the text continues "the observation", and begins
                with a space or the name of a part.
        """
        if type(obs) is int and 0 <= obs - self._start < self._num:  # what most tables return
            return np.asarray(obs - self._start)
        if (
            self._is_box
            and type(obs) is np.ndarray
            and obs.dtype == self.dtype
            and obs.shape == self.shape
        ):
            return obs.copy()
        if self._index is not None:
            try:
                return np.asarray(self._index(obs))
            except ValueError as error:
                raise ValueError(f" {error}") from error
        if self._leaves:
            return self._flat(list(_values(self._own, obs)))
        if isinstance(self._own, spaces.Discrete):
            return np.asarray(_index(self._own, obs))
        return _numbers(self._own, obs)

    def rows(self, observations: Any) -> tuple[Array, bool]:
        """Return observations `[B, ...]` and whether it was a single one; not of a Box or Discrete.

        A batch is a list or an array of observations or, for a Tuple or Dict, a tuple or mapping of
        one array `[B, ...]` per part, as vector environments return it.

        Raises:
            ValueError: an observation is not in the space.
        """
        if self._index is not None:
            return indices_of(observations, self._index)
        if isinstance(self._own, (spaces.Tuple, spaces.Dict)):
            if not isinstance(observations, (tuple, Mapping)):
                return self._stack(observations), False
            values = list(_values(self._own, observations))
            if not _are_batched(self._leaves, values):
                return self._flat(values)[None], True
            batch = [self._flat([value[i] for value in values]) for i in range(len(values[0]))]
            return np.stack(batch) if batch else np.empty((0, *self.shape), self.dtype), False
        if np.shape(observations) == self._own.shape:
            return self(observations)[None], True
        return self._stack(observations), False

    def _stack(self, observations: Any) -> Array:
        return np.stack([self(one) for one in observations])

    def _flat(self, values: list[Any]) -> Array:
        """Return the values of all leaves as one vector."""
        vector, start = np.zeros(self.shape, self.dtype), 0
        for leaf, value in zip(self._leaves, values, strict=True):
            if isinstance(leaf.space, spaces.Box):
                numbers = _numbers(leaf.space, value, leaf.name)
                if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                    place = np.argwhere(~np.isfinite(numbers))[0].tolist()
                    entry = f", entry {place}" if place else ""
                    wrong = numbers[tuple(place)]
                    raise ValueError(f"{leaf.name} is {wrong}{entry}; it must be finite")
                vector[start : start + numbers.size] = numbers.ravel()
                start += numbers.size
            elif isinstance(leaf.space, spaces.MultiBinary):
                bits = [digit for digit, _ in _digits(leaf, value)]
                vector[start : start + len(bits)] = bits
                start += len(bits)
            else:
                for digit, size in _digits(leaf, value):
                    vector[start + digit] = 1
                    start += size
        return vector


def _values(space: AnySpace, value: Any, name: str = "") -> Iterator[Any]:
    """Yield the value of each leaf, not yet checked against its space."""
    children: list[tuple[Any, AnySpace]]
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            keys = list(value) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(f"{name} has {keys}, expected a dict with the keys {list(space)}")
        children = list(space.spaces.items())
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != len(space.spaces):
            raise ValueError(
                f"{name} is {_counted(value)}, expected a tuple of {len(space.spaces)} parts"
            )
        children = list(enumerate(space.spaces))
    else:
        yield value
        return
    for key, child in children:
        yield from _values(child, value[key], f"{name}[{key!r}]")


def _counted(value: Any) -> str:
    length = f" of {len(value)} parts" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{length}"


def _are_batched(parts: list[Leaf], values: list[Any]) -> bool:
    """Return whether every value has one more axis than its space."""
    return all(
        np.ndim(value) == len(part.space.shape or ()) + 1
        for part, value in zip(parts, values, strict=True)
    )


def _as_array(space: AnySpace, value: Any, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not an array: {error}") from error
    shape = space.shape or ()
    if array.shape != shape or array.dtype.kind not in "biuf":
        dtype = np.dtype(np.int64) if isinstance(space, spaces.Discrete) else space.dtype
        raise ValueError(
            f"{name} has shape {array.shape} and type {array.dtype}, expected shape {shape} and "
            f"{dtype} as in {space}"
        )
    return array


def _index(space: spaces.Discrete, value: Any, name: str = "") -> int:
    number = value if type(value) is int else _as_array(space, value, name).item()
    index = number - int(space.start)
    if not (0 <= index < space.n and index == int(index)):
        raise ValueError(f"{name} {value} is not in {space}")
    return int(index)


def _numbers(space: AnySpace, value: Any, name: str = "") -> Array:
    array, dtype = _as_array(space, value, name), np.dtype(space.dtype)
    if array.dtype == dtype:
        return array.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        converted: Array = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, array):
        raise ValueError(
            f"{name} has a value that {dtype} cannot hold, with entries from {array.min()} to "
            f"{array.max()}, expected entries as in {space}"
        )
    return converted


def _digits(leaf: Leaf, value: Any) -> Iterator[tuple[int, int]]:
    """Yield each number of a discrete leaf, counted from 0, and how many there are to choose from.

    Raises:
        ValueError: a number is not in the space.
    """
    space = leaf.space
    if isinstance(space, spaces.Discrete):
        yield _index(space, value, leaf.name), int(space.n)
        return
    array = _as_array(space, value, leaf.name)
    if isinstance(space, spaces.MultiDiscrete):
        starts, sizes = np.ravel(space.start).tolist(), np.ravel(space.nvec).tolist()
    else:
        starts, sizes = [0] * array.size, [2] * array.size
    for number, start, size in zip(array.ravel().tolist(), starts, sizes, strict=True):
        digit = number - start
        if not (0 <= digit < size and digit == int(digit)):
            raise ValueError(f"{leaf.name} {np.array2string(array)} is not in {space}")
        yield int(digit), size
