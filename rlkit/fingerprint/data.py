"""Classes and data: the function that takes each kind of object apart."""

from __future__ import annotations

import contextvars
import enum
import functools
import random
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from rlkit.fingerprint import arrays, code, library, names
from rlkit.fingerprint.inspection import (
    attributes,
    entry_of,
    has_hidden_state,
    is_a,
    members,
    module_name,
    slots,
    type_name,
)
from rlkit.fingerprint.instances import added, instance
from rlkit.fingerprint.walk import Part, TakeApart, Walk
from rlkit.user_code import Origin, origin_of_module


def function_for(cls: type) -> TakeApart:
    """Return the function that takes apart the instances of a class."""
    for kind, function in _FINAL.items():
        if kind is cls:
            return function
    for name, take in _OF_LIBRARIES.items():
        module, _, attribute = name.rpartition(".")
        library_class = getattr(sys.modules.get(module), attribute, None)
        if isinstance(library_class, type) and is_a(cls, library_class):
            return take
    for kinds, function in _KINDS:
        if is_a(cls, *kinds):
            return function
    if type_name(cls) in _OF_CYTHON and has_hidden_state(cls):
        return _by_name
    return instance


def is_mutable(cls: type) -> bool:
    """Return whether instances can change, so that it matters whether two places share one."""
    if is_a(cls, type, *_CODE):
        return False
    return is_a(cls, *_MUTABLE) or not library.is_library_class(cls)


_OF_CYTHON = ("cython_function_or_method", "fused_cython_function")
_CODE = (
    *(types.FunctionType, types.CodeType, types.ModuleType, types.MethodType),
    *(staticmethod, classmethod, property, functools.cached_property, functools.partial),
    *(tuple, frozenset, str, bytes, int, float, complex, enum.Enum),
)


_MUTABLE = (
    *(list, dict, set, bytearray, np.ndarray),
    *(np.random.Generator, np.random.RandomState, random.Random),
)


# --- classes --------------------------------------------------------------------------------------


def class_(walk: Walk, cls: type, place: str) -> Iterator[Part]:
    """Take apart a class: its bases, its metaclass and everything that its body defines."""
    if library.is_library_class(cls):
        yield from library.library_class(walk, cls)
        return
    name = type_name(cls).rpartition(".")[2]
    own = origin_of_module(module_name(cls)) is Origin.USER
    file = str(getattr(sys.modules.get(module_name(cls)), "__file__", None))
    source = walk.file(file, own=own)
    yield b"" if file.endswith(".py") else source  # the body of a compiled class says too little
    yield name.encode("utf-8", "surrogatepass")
    yield walk.refer(type(cls), f"the metaclass of {name}")
    yield walk.many(_BASES.__get__(cls), f"a base of {name}")
    skipped = library.OF_CLASSES | ({"_value2member_map_"} if is_a(cls, enum.Enum) else set())
    body = [(key, value) for key, value in members(cls).items() if key not in skipped]
    yield walk.mapping(body, name)


_BASES = type.__dict__["__bases__"]


# --- the kinds of objects -------------------------------------------------------------------------


def _wrapping(*names: str) -> TakeApart:
    """Return a function that takes apart a wrapper: these attributes, and those of a subclass."""

    def take_apart(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
        for name in names:
            yield walk.refer(object.__getattribute__(thing, name), place)
        yield from added(walk, thing, place)

    return take_apart


def _partial(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    reduce: Any = functools.partial.__reduce__
    function, arguments, keywords, own = reduce(thing)[2]
    yield walk.refer(type(thing), f"the class of {place}")
    yield walk.refer(function, place)
    yield walk.many(arguments, f"the argument of {place}")
    yield walk.mapping(keywords.items(), f"the arguments of {place}")
    yield walk.mapping((own or {}).items(), place)
    yield walk.many(slots(thing), place)


def _builtin(walk: Walk, function: Any, place: str) -> Iterator[Part]:
    """Take apart a compiled function, or a compiled method of an object."""
    owner, module = function.__self__, function.__module__
    yield f"{module}.{function.__qualname__}".encode()
    if owner is not None and not isinstance(owner, types.ModuleType):
        yield walk.refer(owner, place)
    elif type(module) is str and origin_of_module(module) is Origin.USER:
        yield walk.file(getattr(sys.modules.get(module), "__file__", None))


def _by_name(walk: Walk, function: Any, place: str) -> Iterator[Part]:
    """Take apart a function compiled by Cython, whose class is in no module."""
    module = str(getattr(function, "__module__", ""))
    yield f"{module}.{function.__qualname__}".encode()
    if origin_of_module(module) is not Origin.LIBRARY:
        yield walk.file(getattr(sys.modules.get(module), "__file__", None), own=False)


def _descriptor(walk: Walk, thing: Any, place: str) -> list[Part]:
    """Take apart a slot, or a method of a compiled class, by name."""
    return [str(getattr(thing, "__name__", "")).encode()]


def _weak_reference(walk: Walk, reference: weakref.ref[Any], place: str) -> Iterator[Part]:
    yield walk.refer(weakref.ref.__call__(reference), place)
    yield from added(walk, reference, place)


def _enum(walk: Walk, one: Any, place: str) -> Iterator[Part]:
    own = attributes(one)
    yield walk.refer(type(one), f"the class of {place}")
    skipped = ("_inverted_", "_sort_order_", "__objclass__")
    yield walk.mapping(((k, v) for k, v in own.items() if k not in skipped), place)


def _context_variable(
    walk: Walk, variable: contextvars.ContextVar[Any], place: str
) -> Iterator[Part]:
    yield variable.name.encode("utf-8", "surrogatepass")
    try:
        yield walk.refer(variable.get(), f"the value of {place}")
    except LookupError:
        yield b"unset"


def _compiled_function(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart a function that numba compiles: the Python function and the options."""
    yield walk.refer(thing.py_func, place)
    yield walk.mapping(thing.targetoptions.items(), f"the options of {place}")


def _space(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart a Gymnasium space; of its generator only the seed counts."""
    yield walk.refer(type(thing), f"the class of {place}")
    own = attributes(thing)
    seed = None
    if own.get("_np_random") is not None:
        seed = own["_np_random"].bit_generator.seed_seq.entropy
        # Without a seed, NumPy takes 128 bits from the system: they are not the user's choice.
        seed = None if isinstance(seed, int) and seed >= 2**64 else seed
    # A Box caches the text of its bounds when it is first printed.
    kept = {name: value for name, value in own.items() if not name.endswith("_repr")}
    yield walk.mapping({**kept, "_np_random": seed}.items(), place)
    yield walk.many(slots(thing), place)


def _registration(walk: Walk, spec: Any, place: str) -> Iterator[Part]:
    """Take apart the registration of an environment or a wrapper: its code and arguments."""
    own = dict(attributes(spec))
    entry_point = own.pop("entry_point", None)
    yield walk.mapping(own.items(), place)
    if type(entry_point) is str:
        from gymnasium.envs.registration import load_env_creator

        try:
            entry_point = load_env_creator(entry_point)
        except Exception:  # such an environment cannot be built at all
            yield b"cannot be loaded"
    yield walk.refer(entry_point, place)


def _sequence(walk: Walk, items: Any, place: str) -> list[Part]:
    where = entry_of(place)
    return [walk.refer(item, where) for item in items]


def _meaningless(walk: Walk, thing: Any, place: str) -> list[Part]:
    return []


_FINAL: dict[type, TakeApart] = {
    list: _sequence,
    tuple: _sequence,
    set: lambda walk, items, place: [walk.unordered(items, entry_of(place))],
    frozenset: lambda walk, items, place: [walk.unordered(items, entry_of(place))],
    dict: lambda walk, items, place: [walk.mapping(items.items(), place)],
    types.MappingProxyType: lambda walk, items, place: [walk.mapping(items.items(), place)],
    types.FunctionType: code.function,
    types.CodeType: code.code_parts,
    types.MethodType: _wrapping("__func__", "__self__"),
    types.BuiltinFunctionType: _builtin,
    # Locks and thread-local data do not change what code computes.
    **dict.fromkeys(
        (type(threading.Lock()), type(threading.RLock()), threading.local), _meaningless
    ),
    **dict.fromkeys(
        (
            *(types.MemberDescriptorType, types.GetSetDescriptorType),
            *(types.WrapperDescriptorType, types.MethodDescriptorType),
            types.ClassMethodDescriptorType,
        ),
        _descriptor,
    ),
}
# The first entry that matches is used.
_KINDS: list[tuple[tuple[type, ...], TakeApart]] = [
    ((type,), class_),
    ((types.ModuleType,), names.module),
    ((functools.partial,), _partial),
    ((staticmethod, classmethod), _wrapping("__func__")),
    ((property,), _wrapping("fget", "fset", "fdel")),
    ((functools.cached_property,), _wrapping("func")),
    ((enum.Enum,), _enum),
    ((weakref.ref,), _weak_reference),
    ((contextvars.ContextVar,), _context_variable),
    ((np.ndarray, np.generic), arrays.array),
]


def _unidentifiable(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    raise TypeError


_OF_LIBRARIES: dict[str, TakeApart] = {
    "ctypes.CDLL": _unidentifiable,  # it would be hashed by an address
    "torch.Tensor": arrays.tensor,
    "torch.Generator": arrays.torch_generator,
    "numba.core.dispatcher.Dispatcher": _compiled_function,
    "gymnasium.spaces.Space": _space,
    "gymnasium.envs.registration.EnvSpec": _registration,
    "gymnasium.envs.registration.WrapperSpec": _registration,
}
