"""From observations as agents of rlkit see them to those that Stable-Baselines3 gives a model.

Agents see discrete parts as one index and other structures as one vector. A model of
Stable-Baselines3 gets the observations of the environment itself, a Dict as one array per key, and
images with their channels first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.leaves import bounds_of
from rlkit.tabular.reading.parts import PartsIndex, parts_index

Array = NDArray[Any]
Space = spaces.Space[Any]


def unsupported_part(space: Space) -> str | None:
    """Return why models of Stable-Baselines3 do not see such observations; None if they may."""
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    for key, part in parts.items():
        where = f" at {key!r}" if key else ""
        if not isinstance(
            part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
        ):
            return f"the part {type(part).__name__}{where}"
        if isinstance(part, spaces.Discrete | spaces.MultiDiscrete) and np.any(part.start):
            return f"numbers{where} that do not start at 0"
    return None


def same_observations(own: Space, wanted: Space) -> bool:
    """Return whether a model with the space `own` sees the observations of the space `wanted`.

    Images may have their channels first there, and the largest float of a bound stands for
    infinity.
    """
    if isinstance(own, spaces.Dict) and isinstance(wanted, spaces.Dict):
        return own.keys() == wanted.keys() and all(
            same_observations(own[key], wanted[key]) for key in own
        )
    return same_space(own, wanted) or _is_transposed(own, wanted)


def same_space(own: Space, wanted: Space) -> bool:
    """Return whether spaces are equal; the largest float of a bound stands for infinity."""
    if isinstance(own, spaces.Box) and isinstance(wanted, spaces.Box):
        if own.shape != wanted.shape or own.dtype != wanted.dtype:
            return False
        bounds = zip(bounds_of(own), bounds_of(wanted), strict=True)
        return all(np.allclose(side, other, rtol=1e-6) for side, other in bounds)
    return bool(own == wanted)


def _is_transposed(own: Space, wanted: Space) -> bool:
    """Return whether `own` is an image with its channels first, and `wanted` one with them last."""
    if not (isinstance(own, spaces.Box) and isinstance(wanted, spaces.Box)):
        return False
    if wanted.dtype != np.uint8 or len(wanted.shape) != 3 or len(own.shape) != 3:
        return False
    low, high = (np.moveaxis(bound, -1, 0) for bound in (wanted.low, wanted.high))
    return same_space(own, spaces.Box(low, high, dtype=np.uint8))


def decoder(space: Space) -> Callable[[Array], Any]:
    """Return the function from observations [M, ...] as agents see them to the environment's own.

    Those of a Dict become one array [M, ...] per key.

    Args:
        space: of the environment, without `unsupported_part`.
    """
    if isinstance(space, spaces.Box | spaces.Discrete):
        return lambda obs: obs
    index = parts_index(space)
    own = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}

    def decode(obs: Array) -> Any:
        columns = _from_vectors(own, obs) if index is None else _from_indices(own, index, obs)
        values = dict(columns)
        return values if isinstance(space, spaces.Dict) else values[""]

    return decode


def channels_first(own: Space, wanted: Space) -> Callable[[Any], Any]:
    """Return the function that transposes those images of `wanted` that are so in `own`."""
    if isinstance(own, spaces.Dict) and isinstance(wanted, spaces.Dict):
        each = {key: channels_first(own[key], wanted[key]) for key in own}
        return lambda obs: {key: each[key](value) for key, value in obs.items()}
    if not same_space(own, wanted):
        return lambda obs: np.moveaxis(obs, -1, 1)
    return lambda obs: obs


def _from_indices(
    parts: Mapping[str, Space], index: PartsIndex, obs: Array
) -> Iterator[tuple[str, Array]]:
    digits, first = np.stack(np.unravel_index(obs, index.sizes), axis=-1), 0
    for key, space in parts.items():
        shape = space.shape or ()
        number = int(np.prod(shape, dtype=np.int64))
        dtype = np.int64 if isinstance(space, spaces.Discrete) else space.dtype
        yield key, digits[:, first : first + number].reshape(-1, *shape).astype(dtype)
        first += number


def _from_vectors(parts: Mapping[str, Space], obs: Array) -> Iterator[tuple[str, Array]]:
    first = 0
    for key, space in parts.items():
        size = spaces.flatdim(space)
        yield key, _unflattened(space, obs[:, first : first + size])
        first += size


def _unflattened(space: Space, numbers: Array) -> Array:
    if isinstance(space, spaces.Discrete):
        chosen: Array = numbers.argmax(axis=1).astype(np.int64)
        return chosen
    if isinstance(space, spaces.MultiDiscrete):
        ends = np.cumsum(np.ravel(space.nvec))[:-1]
        digits = [part.argmax(axis=1) for part in np.split(numbers, ends, axis=1)]
        numbers = np.stack(digits, axis=1)
    parts: Array = numbers.reshape(-1, *(space.shape or ())).astype(space.dtype)
    return parts
