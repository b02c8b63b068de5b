"""Inspection of objects without running any of their code.

`isinstance`, `getattr`, `vars` and `==` may call methods of the object, its class or its
metaclass, which can return anything or raise. The descriptors of `type` itself are reliable.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NAME = type.__dict__["__qualname__"]
_MODULE = type.__dict__["__module__"]
_MRO = type.__dict__["__mro__"]
_DICT = type.__dict__["__dict__"]
_FLAGS = type.__dict__["__flags__"]
_SIZE = type.__dict__["__basicsize__"]
_DICT_OFFSET = type.__dict__["__dictoffset__"]
_WEAK_OFFSET = type.__dict__["__weakrefoffset__"]
_HEAP_TYPE = 1 << 9  # set for classes created at run time

# Ids of the classes whose values are hashed as they are; a metaclass may redefine `==`.
PLAIN = {id(cls) for cls in (type(None), bool, int, float, complex, str, bytes)}


def plain(value: Any) -> bytes:
    """Return a plain value and its class as bytes."""
    cls = type(value)
    if cls is str:
        return b"str " + bytes(value.encode("utf-8", "surrogatepass"))
    if cls is bytes:
        return b"bytes " + bytes(value)
    if cls is int:
        return f"int {value:x}".encode()
    return f"{cls.__name__} {value!r}".encode()


def type_name(cls: type) -> str:
    """Return the qualified name of a class."""
    return str(_NAME.__get__(cls))


def module_name(cls: type) -> str:
    """Return the name of the module of a class, or an empty string."""
    try:
        name = _MODULE.__get__(cls)
    except AttributeError:
        return ""
    return name if type(name) is str else ""


def bases(cls: type) -> tuple[type, ...]:
    """Return a class and all its bases, in the order of attribute lookup."""
    return tuple(_MRO.__get__(cls))


def members(cls: type) -> Mapping[str, Any]:
    """Return the attributes that a class itself defines."""
    own: Mapping[str, Any] = _DICT.__get__(cls)
    return own


def is_a(cls: type, *kinds: type) -> bool:
    """Return whether a class is, or inherits from, one of the kinds."""
    return any(kind is base for base in bases(cls) for kind in kinds)


def is_compiled(cls: type) -> bool:
    """Return whether a class is compiled into Python or an extension module."""
    return not _FLAGS.__get__(cls) & _HEAP_TYPE


def has_hidden_state(cls: type) -> bool:
    """Return whether instances hold memory besides their attributes, as C extensions do."""
    expected = _SIZE.__get__(object)
    expected += 8 * ((_DICT_OFFSET.__get__(cls) > 0) + (_WEAK_OFFSET.__get__(cls) > 0))
    expected += 8 * sum(
        type(value) is types.MemberDescriptorType
        for base in bases(cls)
        if not is_compiled(base)
        for value in members(base).values()
    )
    return bool(_SIZE.__get__(cls) > expected)


def attributes(thing: Any) -> dict[str, Any]:
    """Return the entries of an object's own dictionary."""
    for base in bases(type(thing)):
        descriptor = members(base).get("__dict__")
        if type(descriptor) is types.GetSetDescriptorType:
            state = descriptor.__get__(thing)
            return dict(dict.items(state)) if isinstance(state, dict) else {}
    return {}


def slots(thing: Any, bases_: Iterable[type] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the slots of an object, as (name, value): those of all its bases, or of these only."""
    for base in bases(type(thing)) if bases_ is None else bases_:
        own = members(base)
        for name, descriptor in own.items():
            if "__slots__" in own and type(descriptor) is types.MemberDescriptorType:
                try:
                    yield name, descriptor.__get__(thing)
                except AttributeError:
                    continue


def at_name(thing: Any, module: Any, qualname: Any) -> bool:
    """Return whether a module holds an object under a name; generated code may claim another."""
    if type(module) is not str or type(qualname) is not str:
        return False
    place: Any = sys.modules.get(module)
    for part in qualname.split("."):
        if isinstance(place, types.ModuleType):
            place = vars(place).get(part)
        elif type.__subclasscheck__(type, type(place)):
            place = members(place).get(part)
        else:
            return False
    function = getattr(place, "__func__", place) if type(place) in _METHODS else place
    return function is thing


_METHODS = (staticmethod, classmethod)


def short(qualname: str) -> str:
    """Return a qualified name without the functions that enclose it."""
    return qualname.rpartition("<locals>.")[2].replace("<lambda>", "a lambda")


def entry_of(place: str) -> str:
    """Return a phrase for an entry of the container that is named by another phrase."""
    return place if place.startswith("an entry of ") else f"an entry of {place}"
