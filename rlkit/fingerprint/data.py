"""Classes and data: what an object is made of, by the kind of object."""

from __future__ import annotations

import collections
import contextvars
import copyreg
import enum
import functools
import hashlib
import io
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.fingerprint import code, library
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
from rlkit.user_code import Origin, origin_of_module

if TYPE_CHECKING:
    from rlkit.fingerprint.walk import Walk

Part = bytes | int
TakeApart = Callable[["Walk", Any, str], Iterable[Part]]


def function_for(cls: type) -> TakeApart:
    """Return what takes apart the instances of a class."""
    for kind, function in _FINAL.items():
        if kind is cls:
            return function
    for name, take in _OF_LIBRARIES.items():
        module, _, attribute = name.rpartition(".")
        kind = getattr(sys.modules.get(module), attribute, None)
        if isinstance(kind, type) and is_a(cls, kind):
            return take
    for kinds, function in _KINDS:
        if is_a(cls, *kinds):
            return function
    if type_name(cls) in _OF_CYTHON and has_hidden_state(cls):
        return _by_name
    return instance


def is_mutable(cls: type) -> bool:
    """Return whether sharing an instance makes a difference: whether it is data that can change."""
    if is_a(cls, type, *_CODE):
        return False
    return is_a(cls, list, dict, set, bytearray, np.ndarray, np.random.Generator) or (
        not library.is_library_class(cls)
    )


_OF_CYTHON = ("cython_function_or_method", "fused_cython_function")
_CODE = (
    *(types.FunctionType, types.CodeType, types.ModuleType, types.MethodType),
    *(staticmethod, classmethod, property, functools.cached_property, functools.partial),
    *(tuple, frozenset, str, bytes, int, float, complex, enum.Enum),
)


# --- classes --------------------------------------------------------------------------------------


def class_(walk: Walk, cls: type, place: str) -> Iterator[Part]:
    """Take apart a class: its bases and metaclass, and all that its body defines."""
    if library.is_library_class(cls):
        yield from library.library_class(walk, cls)
        return
    name = type_name(cls).rpartition(".")[2]
    own = origin_of_module(module_name(cls)) is Origin.USER
    walk.file(getattr(sys.modules.get(module_name(cls)), "__file__", None), own=own)
    yield name.encode("utf-8", "surrogatepass")
    yield walk.refer(type(cls), f"the metaclass of {name}")
    yield walk.many(_BASES.__get__(cls), f"a base of {name}")
    skipped = library.OF_CLASSES | ({"_value2member_map_"} if is_a(cls, enum.Enum) else set())
    body = [(key, value) for key, value in members(cls).items() if key not in skipped]
    yield walk.mapping(body, name)


_BASES = type.__dict__["__bases__"]


# --- instances ------------------------------------------------------------------------------------


def instance(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """Take apart an instance of a class: its state, or what it would be rebuilt from."""
    cls = type(thing)
    yield walk.refer(cls, f"the class of {place}")
    if any(thing is one for one in _GLOBAL_GENERATORS):
        yield b"global"  # wherever it is by now
        return
    if _is_handle(cls):
        raise TypeError
    if library.is_library_class(cls):
        wrapped = attributes(thing).get("__wrapped__")
        if wrapped is not None:  # as functools.lru_cache keeps it
            own = attributes(thing).items()
            yield walk.mapping(((k, v) for k, v in own if k not in library.OF_CLASSES), place)
        else:
            yield from _reduced(walk, thing, cls, place)
        return
    where = type_name(cls).rpartition(".")[2]
    yield walk.mapping(_without_caches(cls, attributes(thing)).items(), where)
    content = next((take for kind, take in _CONTENT.items() if is_a(cls, kind)), None)
    if content is not None:
        yield walk.refer(content(thing), f"the content of {place}")
    if _library_reduce(cls) is not None:
        yield walk.many(slots(thing, _user_bases(cls)), where)
        yield from _reduced(walk, thing, cls, place)
    elif content is None and has_hidden_state(cls):
        raise TypeError
    else:
        yield walk.many(slots(thing), where)


def _user_bases(cls: type) -> list[type]:
    return [base for base in bases(cls) if not library.is_library_class(base)]


# Those behind random.random() and np.random.rand().
_GLOBAL_GENERATORS = (vars(random)["_inst"], np.random.mtrand._rand)  # type: ignore[attr-defined]


def _is_handle(cls: type) -> bool:
    """Return whether instances stand for something open, of which they may hold the number only."""
    libraries = [base for base in bases(cls) if library.is_library_class(base)]
    return not is_a(cls, io.BytesIO, io.StringIO) and any("fileno" in members(b) for b in libraries)


def _library_reduce(cls: type) -> Callable[..., Any] | None:
    """Return how a library's base class would be pickled, where it says."""
    for base in bases(cls)[:-1]:
        own = members(base)
        if any(base is kind for kind in _CONTENT) or not library.is_library_class(base):
            continue  # the values say more: a set's are in no order
        if "__reduce_ex__" in own or "__reduce__" in own:
            if "__reduce_ex__" in own:
                return lambda thing: own["__reduce_ex__"](thing, 4)
            return lambda thing: own["__reduce__"](thing)
    return None


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
    function, arguments, state, entries, items, *_ = (*reduced, None, None, None, None)
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


# What instances of a class keep for later, or for threads; it has no meaning of its own.
_CACHES = {
    "functools.cached_property": {"lock", "attrname", "__doc__"},
    "numpy.vectorize": {"_ufunc", "__doc__"},
    "numba.core.dispatcher.Dispatcher": {"overloads"},
}


def _without_caches(cls: type, state: dict[str, Any]) -> dict[str, Any]:
    skipped: set[str] = set()
    for base in bases(cls):
        skipped |= _CACHES.get(f"{module_name(base)}.{type_name(base)}", set())
    return {key: value for key, value in state.items() if key not in skipped}


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


# --- the kinds of objects -------------------------------------------------------------------------


def _wrapping(*names: str) -> TakeApart:
    """Take apart what wraps others: these attributes, and more where a subclass adds it."""

    def take_apart(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
        for name in names:
            yield walk.refer(object.__getattribute__(thing, name), place)
        yield from _added(walk, thing, place)

    return take_apart


def _added(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """What a user's subclass adds to the instances of a library's class."""
    cls = type(thing)
    if not library.is_library_class(cls):
        yield walk.refer(cls, f"the class of {place}")
        own = _without_caches(cls, attributes(thing)).items()
        yield walk.mapping(((k, v) for k, v in own if k not in library.OF_CLASSES), place)
        yield walk.many(slots(thing), place)


def _partial(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    _, _, (function, arguments, keywords, own) = functools.partial.__reduce__(thing)  # type: ignore[misc]
    yield walk.refer(type(thing), f"the class of {place}")
    yield walk.refer(function, place)
    yield walk.many(arguments, f"the argument of {place}")
    yield walk.mapping(keywords.items(), f"the arguments of {place}")
    yield walk.mapping((own or {}).items(), place)
    yield walk.many(slots(thing), place)


def _builtin(walk: Walk, function: Any, place: str) -> Iterator[Part]:
    """A compiled function, or a compiled method of an object."""
    owner, module = function.__self__, function.__module__
    yield f"{module}.{function.__qualname__}".encode()
    if owner is not None and not isinstance(owner, types.ModuleType):
        yield walk.refer(owner, place)
    elif type(module) is str and origin_of_module(module) is Origin.USER:
        yield walk.file(getattr(sys.modules.get(module), "__file__", None))


def _by_name(walk: Walk, function: Any, place: str) -> Iterator[Part]:
    """A function that Cython compiled: its classes have no place where they could be found."""
    module = str(getattr(function, "__module__", ""))
    yield f"{module}.{function.__qualname__}".encode()
    if origin_of_module(module) is not Origin.LIBRARY:
        yield walk.file(getattr(sys.modules.get(module), "__file__", None), own=False)


def _descriptor(walk: Walk, thing: Any, place: str) -> list[Part]:
    """A slot, or a method of a compiled class."""
    return [str(getattr(thing, "__name__", "")).encode()]


def _weak_reference(walk: Walk, reference: weakref.ref[Any], place: str) -> Iterator[Part]:
    yield walk.refer(weakref.ref.__call__(reference), place)
    yield from _added(walk, reference, place)


def _enum(walk: Walk, one: Any, place: str) -> Iterator[Part]:
    own = attributes(one)
    yield walk.refer(type(one), f"the class of {place}")
    added = {
        k: v for k, v in own.items() if k not in ("_inverted_", "_sort_order_", "__objclass__")
    }
    yield walk.mapping(added.items(), place)


def _context_variable(
    walk: Walk, variable: contextvars.ContextVar[Any], place: str
) -> Iterator[Part]:
    yield variable.name.encode("utf-8", "surrogatepass")
    try:
        yield walk.refer(variable.get(), f"the value of {place}")
    except LookupError:
        yield b"unset"


def _array(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """An array or a NumPy scalar; the layout in memory does not count."""
    cls = type(thing)
    if not is_a(cls, np.ndarray):
        yield from _values(walk, np.asarray(thing), place)
        yield from _added(walk, thing, place)
        return
    yield from _values(walk, np.ndarray.view(thing, np.ndarray), place)
    if cls is not np.ndarray and cls is not np.memmap:
        yield walk.refer(cls, f"the class of {place}")
        yield walk.mapping(attributes(thing).items(), place)  # a mask, or what a subclass adds
        yield walk.many(slots(thing), place)


def _values(walk: Walk, array: np.ndarray[Any, Any], place: str) -> Iterator[Part]:
    yield f"{array.shape} {array.dtype!r}".encode()
    if array.dtype.names is not None:  # between the fields there may be bytes without meaning
        for name in array.dtype.names:
            yield walk.group(name, _values(walk, array[name], place))
    elif array.dtype.hasobject or array.dtype.kind not in "biufcmMSUV":
        yield walk.many(array.ravel().tolist(), entry_of(place))
    elif array.dtype.char in "gG":  # likewise in the long doubles of some machines
        yield repr([repr(value) for value in array.ravel()]).encode()
    elif array.size:
        plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        yield hashlib.sha256(plain.data).digest()


def _tensor(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    import torch

    yield f"{tuple(thing.shape)} {thing.dtype} {thing.requires_grad}".encode()
    values = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    yield values.numpy().tobytes()
    yield walk.refer(type(thing), f"the class of {place}")
    yield walk.mapping(attributes(thing).items(), place)


def _torch_generator(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    yield str(thing.device).encode()
    yield from _tensor(walk, thing.get_state(), place)


def _compiled_function(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """A function that numba compiles: the function and the options, not what was compiled."""
    yield walk.refer(thing.py_func, place)
    yield repr(sorted(thing.targetoptions.items())).encode()


def _space(walk: Walk, thing: Any, place: str) -> Iterator[Part]:
    """A Gymnasium space; of its generator the seed counts, for sampling does not change a space."""
    yield walk.refer(type(thing), f"the class of {place}")
    own = attributes(thing)
    seed = None
    if own.get("_np_random") is not None:
        seed = own["_np_random"].bit_generator.seed_seq.entropy
        # Without a seed NumPy takes 128 bits from the system.
        seed = None if isinstance(seed, int) and seed >= 2**64 else seed
    yield walk.mapping({**own, "_np_random": seed}.items(), place)
    yield walk.many(slots(thing), place)


def _registration(walk: Walk, spec: Any, place: str) -> Iterator[Part]:
    """What an id leads to: the code and the arguments of an environment or a wrapper."""
    own = dict(attributes(spec))
    entry_point = own.pop("entry_point", None)
    yield walk.mapping(own.items(), place)
    if type(entry_point) is str:
        from gymnasium.envs.registration import load_env_creator

        yield walk.attempt(place, lambda: walk.refer(load_env_creator(entry_point), place))
    else:
        yield walk.refer(entry_point, place)


def _sequence(walk: Walk, items: Any, place: str) -> list[Part]:
    where = entry_of(place)
    return [walk.refer(item, where) for item in items]


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
    **dict.fromkeys(
        (
            *(types.MemberDescriptorType, types.GetSetDescriptorType),
            *(types.WrapperDescriptorType, types.MethodDescriptorType),
            types.ClassMethodDescriptorType,
        ),
        _descriptor,
    ),
}
# The first that fits counts.
_KINDS: list[tuple[tuple[type, ...], TakeApart]] = [
    ((type,), class_),
    ((types.ModuleType,), code.module),
    ((functools.partial,), _partial),
    ((staticmethod, classmethod), _wrapping("__func__")),
    ((property,), _wrapping("fget", "fset", "fdel")),
    ((functools.cached_property,), _wrapping("func")),
    ((enum.Enum,), _enum),
    ((weakref.ref,), _weak_reference),
    ((contextvars.ContextVar,), _context_variable),
    ((np.ndarray, np.generic), _array),
]
_OF_LIBRARIES: dict[str, TakeApart] = {
    "torch.Tensor": _tensor,
    "torch.Generator": _torch_generator,
    "numba.core.dispatcher.Dispatcher": _compiled_function,
    "gymnasium.spaces.Space": _space,
    "gymnasium.envs.registration.EnvSpec": _registration,
    "gymnasium.envs.registration.WrapperSpec": _registration,
}
