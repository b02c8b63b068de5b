"""Instances of classes: their state, or the arguments that would rebuild a library's object."""

from __future__ import annotations

import collections
import copyreg
import functools
import io
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rlkit.fingerprint import library
from rlkit.fingerprint.inspection import (
    attributes,
    bases,
    entry_of,
    has_hidden_state,
    is_a,
    members,
    module_name,
    slots,
    type_name,
)
from rlkit.fingerprint.walk import Part, Walk
from rlkit.options import stands_at_later_default
from rlkit.user_code import Origin, origin_of_module


def instance(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart an instance: its state, or the arguments that would rebuild it."""
    cls = type(thing)
    yield walk.refer(cls, f"the class of {place}")
    if any(thing is one for one in _GLOBAL_GENERATORS):
        yield b"global"  # however many numbers were drawn from it
        return
    if _is_handle(cls):
        raise TypeError
    library_class = library.is_library_class(cls)
    if library_class and attributes(thing).get("__wrapped__") is not None:
        own = attributes(thing).items()  # functools.lru_cache keeps the function there
        yield walk.mapping(((k, v) for k, v in own if k not in library.OF_CLASSES), place)
        return
    content = next((take for kind, take in _CONTENT.items() if is_a(cls, kind)), None)
    if content is not None:
        yield walk.refer(content(thing), f"the content of {place}")
    where = type_name(cls).rpartition(".")[2]
    if not library_class or content is not None:
        yield walk.mapping(_without_caches(cls, attributes(thing)).items(), where)
    if _library_reduce(cls) is not None or (library_class and content is None):
        yield walk.many(slots(thing, _user_bases(cls)), where)
        yield from _reduced(walk, thing, cls, place)
    elif content is None and has_hidden_state(cls):
        raise TypeError
    else:
        yield walk.many(slots(thing), where)


def _user_bases(cls: type) -> list[type]:
    return [base for base in bases(cls) if not library.is_library_class(base)]


# The generators behind random.random() and np.random.rand().
_GLOBAL_GENERATORS = (vars(random)["_inst"], np.random.mtrand._rand)


def _is_handle(cls: type) -> bool:
    """Return whether instances are open files or the like, whose content they do not hold."""
    libraries = [base for base in bases(cls) if library.is_library_class(base)]
    return not is_a(cls, io.BytesIO, io.StringIO) and any("fileno" in members(b) for b in libraries)


def _library_reduce(cls: type) -> Callable[..., Any] | None:
    """Return the reduce function that a library's base class defines for pickling, if any."""
    for base in bases(cls)[:-1]:
        own = members(base)
        if any(base is kind for kind in _CONTENT) or not library.is_library_class(base):
            continue  # `_CONTENT` says more: the values of a set have no order
        if "__reduce_ex__" in own:
            return functools.partial(_call_with_protocol, own["__reduce_ex__"])
        if "__reduce__" in own:
            reduce: Callable[..., Any] = own["__reduce__"]
            return reduce
    return None


def _call_with_protocol(reduce_ex: Callable[..., Any], thing: Any) -> Any:
    return reduce_ex(thing, 4)


def _reduced(walk: Walk, thing: Any, cls: type, place: str) -> Iterator[Part]:
    walk.rebuilt()
    builder = copyreg.dispatch_table.get(cls) or _library_reduce(cls)
    reduced: Any = object.__reduce_ex__(thing, 4) if builder is None else builder(thing)
    if type(reduced) is str:
        yield reduced.encode("utf-8", "surrogatepass")
        module = getattr(thing, "__module__", None) or module_name(cls)
        if origin_of_module(module) is Origin.USER:
            yield walk.file(getattr(sys.modules.get(module), "__file__", None))
        return
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6 or not callable(reduced[0]):
        raise TypeError
    parts: list[Any] = [*reduced, None, None, None]
    function, arguments, state, entries, items = parts[:5]
    held = place if place.startswith("the state of ") else f"the state of {place}"
    yield walk.refer(function, held)
    yield walk.many(arguments, held)
    if type(state) is dict:
        yield walk.mapping(_without_caches(cls, state).items(), type_name(cls))
    else:
        yield walk.refer(state, held)
    yield walk.many(entries or (), entry_of(place))
    if is_a(cls, collections.OrderedDict):
        yield walk.many(items or (), entry_of(place))
    else:
        yield walk.mapping(items or (), place)


# Caches and locks in the state of instances, which do not change their meaning.
_CACHES = {
    "functools.cached_property": {"lock", "attrname", "__doc__"},
    "numpy.vectorize": {"_ufunc", "__doc__"},
}


def _without_caches(cls: type, state: dict[str, Any]) -> dict[str, Any]:
    skipped = _at_later_defaults(cls, state)
    for base in bases(cls):
        skipped |= _CACHES.get(f"{module_name(base)}.{type_name(base)}", set())
    return {key: value for key, value in state.items() if key not in skipped}


def _at_later_defaults(cls: type, state: dict[str, Any]) -> set[str]:
    """Return the options of a config of rlkit that are not part of the identity of a run."""
    fields = members(cls).get("__dataclass_fields__")
    if type(fields) is not dict or not module_name(cls).startswith("rlkit."):
        return set()
    return {
        name for name, field in fields.items() if stands_at_later_default(field, state.get(name))
    }


_CONTENT: dict[type, Callable[[Any], Any]] = {
    dict: lambda thing: dict(dict.items(thing)),
    list: lambda thing: list(list.__iter__(thing)),
    tuple: lambda thing: tuple(tuple.__iter__(thing)),
    set: lambda thing: set(set.__iter__(thing)),
    frozenset: lambda thing: frozenset(frozenset.__iter__(thing)),
    str: str.__str__,
    bytes: lambda thing: bytes.__add__(thing, b""),
    bytearray: lambda thing: bytes(bytearray.__add__(thing, b"")),
    bool: bool,
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
}


def added(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart the attributes that a user's subclass adds to a library's class."""
    cls = type(thing)
    if not library.is_library_class(cls):
        yield walk.refer(cls, f"the class of {place}")
        own = _without_caches(cls, attributes(thing)).items()
        yield walk.mapping(((k, v) for k, v in own if k not in library.OF_CLASSES), place)
        yield walk.many(slots(thing), place)
