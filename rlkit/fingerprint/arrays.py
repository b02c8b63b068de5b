"""Arrays and tensors: their values, whatever their layout in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from rlkit.fingerprint.inspection import attributes, entry_of, is_a, slots
from rlkit.fingerprint.instances import added
from rlkit.fingerprint.walk import Part, Walk


def array(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart an array or a NumPy scalar by value."""
    cls = type(thing)
    if not is_a(cls, np.ndarray):
        yield from _values(walk, np.asarray(thing), place)
        yield from added(walk, thing, place)
        return
    yield from _values(walk, np.ndarray.view(thing, np.ndarray), place)
    if cls is not np.ndarray and cls is not np.memmap:
        yield walk.refer(cls, f"the class of {place}")
        yield walk.mapping(attributes(thing).items(), place)  # a mask, or attributes of a subclass
        yield walk.many(slots(thing), place)


def _values(walk: Walk, array: np.ndarray[Any, Any], place: str) -> Iterator[Part]:
    yield f"{array.shape} {array.dtype!r}".encode()
    if array.dtype.names is not None:  # padding between the fields has no meaning
        for name in array.dtype.names:
            yield walk.group(name, _values(walk, array[name], place))
    elif array.dtype.hasobject or array.dtype.kind not in "biufcmMSUV":
        yield walk.many(array.ravel().tolist(), entry_of(place))
    elif array.dtype.char in "gG":  # long doubles may hold padding too
        yield repr([repr(value) for value in array.ravel()]).encode()
    elif array.size:
        plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        yield hashlib.sha256(plain.data).digest()


def tensor(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart a tensor by value."""
    import torch

    yield f"{tuple(thing.shape)} {thing.dtype} {thing.requires_grad}".encode()
    values = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    yield values.numpy().tobytes()
    yield walk.refer(type(thing), f"the class of {place}")
    yield walk.mapping(attributes(thing).items(), place)


def torch_generator(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart a generator of torch by its state."""
    yield str(thing.device).encode()
    yield from tensor(walk, thing.get_state(), place)
