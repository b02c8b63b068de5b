"""What a Python object means, as a digest: the same for the same code and data, in any process.

A run's folder is named after what it was made of. The text of a class or function is not enough
for that: a lambda's text is equal for every value that it closes over, and a notebook's class has
no file. So code enters by what it does (its compiled code, defaults, closure, and the globals that
it names) and data by value. Line numbers, comments, addresses and module paths do not enter.

Library code is not followed: it enters by name, and a package that offers environments by the
content of its file as well. What cannot be taken apart is named in `Fingerprint.unidentified`.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import importlib.util
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from rlkit.user_code import Origin, content_digest, origin_of_code, origin_of_module

_FORMAT = b"rlkit fingerprint 1"
# What Python keeps in a class or a module for itself.
_OF_CLASSES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
    *("__orig_bases__", "__parameters__", "__annotate__", "__annotate_func__"),
    *("__annotations_cache__", "__classdictcell__"),
}
_OF_MODULES = {
    *("__name__", "__file__", "__spec__", "__doc__", "__builtins__", "__package__"),
    *("__loader__", "__path__", "__cached__"),
}
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


@dataclass(frozen=True)
class Fingerprint:
    """The meaning of an object.

    Args:
        digest: the sha256 of everything that was met.
        files: the user's source files among that, absolute path -> sha256 of the content.
        packages: versions of the libraries that it names, which are not in the digest.
        unidentified: what could not be taken apart, as phrases for a person.
    """

    digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    unidentified: tuple[str, ...] = ()


def fingerprint(thing: Any) -> Fingerprint:
    """Return the fingerprint of any object: a class, a lambda, a partial, an array, ..."""
    walk = _Walk()
    try:
        digest = walk.digest(thing, "it")
    except RecursionError:
        walk.unidentified["it (nested too deeply)"] = None
        digest = b""
    return Fingerprint(
        hashlib.sha256(_FORMAT + digest).hexdigest(),
        dict(sorted(walk.files.items())),
        dict(sorted(walk.packages.items())),
        tuple(walk.unidentified),
    )


class _Unidentified(Exception):
    """An object that cannot be taken apart."""


class _Walk:
    """One traversal: digests by object, so that shared and cyclic references end."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.packages: dict[str, str] = {}
        self.unidentified: dict[str, None] = {}
        self._done: dict[tuple[int, frozenset[str]], bytes] = {}
        self._path: list[int] = []
        self._kept: list[Any] = []  # an id is an object's own only while the object lives

    def digest(self, thing: Any, place: str, names: Iterable[str] = ()) -> bytes:
        """Return the sha256 of an object's meaning.

        Args:
            thing: the object.
            place: where it was met, for messages.
            names: attributes that the code around it may take from it, where it is a module.
        """
        if type(thing) in _PLAIN:
            return _hash("plain", _plain(thing))
        wanted = frozenset(names) if isinstance(thing, types.ModuleType) else frozenset()
        key = (id(thing), wanted)
        if key in self._done:
            return self._done[key]
        if id(thing) in self._path:
            return _hash("again", str(len(self._path) - self._path.index(id(thing))).encode())
        self._path.append(id(thing))
        self._kept.append(thing)
        try:
            kind, parts = self._parts(thing, place, wanted)
            result = _hash(kind, *parts)
        except _Unidentified:
            self.unidentified[f"{place} (a {type(thing).__qualname__})"] = None
            result = _hash("unidentified")
        finally:
            self._path.pop()
        self._done[key] = result
        return result

    def _parts(self, thing: Any, place: str, names: frozenset[str]) -> tuple[str, Iterable[bytes]]:
        kind, take_apart = type(thing).__qualname__, _EXACT.get(type(thing))
        if take_apart is None:
            take_apart = next((one for types_, one in _KINDS if isinstance(thing, types_)), None)
        if take_apart is not None:
            return kind, take_apart(self, thing, place)
        if isinstance(thing, types.ModuleType):
            return "module", self._module(thing, place, names)
        if isinstance(thing, type):
            return "class", self._class(thing)
        for name in ("__wrapped__", "py_func"):  # functools.lru_cache, numba's functions
            python = getattr(type(thing), name, None) or getattr(thing, "__dict__", {}).get(name)
            python = getattr(thing, name, None) if python is not None else None
            if isinstance(python, types.FunctionType):
                return f"around {kind}", [self.digest(python, place)]
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(thing, torch.Tensor):
            values = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            shape = f"{tuple(thing.shape)} {thing.dtype}".encode()
            return "tensor", [shape, values.numpy().tobytes()]
        return "object", self._object(thing, place)

    def many(self, things: Iterable[Any], place: str) -> list[bytes]:
        """Return the digests of a sequence; quickly where it holds plain values only."""
        listed = list(things)
        if all(type(item) in _PLAIN for item in listed):
            return [b"plain", b"\0".join(map(_plain, listed))]
        return [self.digest(item, f"an entry of {place}") for item in listed]

    def mapping(self, items: Mapping[Any, Any], place: str) -> list[bytes]:
        """Return the digests of a mapping's items; their order has no meaning."""
        plain = all(type(part) in _PLAIN for item in items.items() for part in item)
        if plain:
            return sorted(_plain(key) + b" = " + _plain(value) for key, value in items.items())
        return sorted(
            _hash(
                "item",
                self.digest(key, f"a key of {place}"),
                self.digest(value, f"{key} of {place}" if type(key) is str else place),
            )
            for key, value in items.items()
        )

    # --- code -------------------------------------------------------------------------------------

    def function(self, function: types.FunctionType, place: str) -> list[bytes]:
        """Take apart a function or lambda."""
        code, name = function.__code__, function.__qualname__
        origin = origin_of_code(code.co_filename)
        if origin is not Origin.USER:
            return self._library(origin, function.__module__, name)
        self._file(code.co_filename)
        cells = {
            free: cell.cell_contents if _filled(cell) else "(empty)"
            for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
        }
        return [
            *self.code(code, f"a constant of {name}"),
            *self.many(function.__defaults__ or (), f"the defaults of {name}"),
            b"|",
            *self.mapping(function.__kwdefaults__ or {}, f"the defaults of {name}"),
            b"|",
            *self.mapping(cells, f"the closure of {name}"),
            b"|",
            *self.mapping(vars(function), f"the attributes of {name}"),
            b"|",
            *self._globals(code, function.__globals__),
        ]

    def code(self, code: types.CodeType, place: str) -> list[bytes]:
        constants = [
            _hash("code", *self.code(constant, place))
            if isinstance(constant, types.CodeType)
            else self.digest(constant, place)
            for constant in code.co_consts
        ]
        words = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        counts = (
            *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            code.co_flags,
        )
        text = f"{words} {counts}".encode()
        return [code.co_code, text, getattr(code, "co_exceptiontable", b""), *constants]

    def _globals(self, code: types.CodeType, namespace: Mapping[str, Any]) -> list[bytes]:
        """The values of the global names that code loads, and the modules that it imports."""
        loaded, imported, words = _names(code)
        digests = []
        for name in sorted(loaded - _OF_MODULES):
            if name in namespace:
                value = self.digest(namespace[name], f"the global {name}", words)
            else:
                value = _hash("builtin or missing")
            digests.append(_hash(name, value))
        package = str(namespace.get("__package__") or "")
        for name in sorted(imported):
            for full in dict.fromkeys((name, f"{package}.{name}".strip("."))):
                module = sys.modules.get(full)
                if module is not None:
                    digests.append(_hash(name, self.digest(module, f"the module {full}", words)))
                else:
                    digests.append(_hash(name, self._unloaded(full)))
        return digests

    def _unloaded(self, module: str) -> bytes:
        """The content of a user's module that code will import when it runs."""
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return b"missing"
        if spec is None or spec.origin is None or origin_of_code(spec.origin) is not Origin.USER:
            return b"library"
        return self._file(spec.origin)

    def _module(self, module: types.ModuleType, place: str, names: frozenset[str]) -> list[bytes]:
        name = module.__name__
        origin = origin_of_module(name)
        if origin is not Origin.USER:
            return self._library(origin, name, "")
        content = self._file(getattr(module, "__file__", None) or "")
        taken = sorted((names - _OF_MODULES) & set(vars(module)))
        values = [self.digest(vars(module)[key], f"{name}.{key}", names) for key in taken]
        return [content, " ".join(taken).encode(), *values]

    def _class(self, cls: type) -> list[bytes]:
        if not isinstance(cls.__module__, str):  # compiled, as metaclasses of Cython are
            return [cls.__qualname__.encode()]
        origin = origin_of_module(cls.__module__)
        if origin is not Origin.USER and _is_at_its_name(cls):
            return self._library(origin, cls.__module__, cls.__qualname__, cls)
        module = sys.modules.get(cls.__module__)
        self._file(getattr(module, "__file__", None) or "")
        members = {name: value for name, value in vars(cls).items() if name not in _OF_CLASSES}
        return [
            cls.__qualname__.rsplit(".", 1)[-1].encode(),
            self.digest(type(cls), f"the metaclass of {cls.__qualname__}"),
            *(self.digest(base, f"a base of {cls.__qualname__}") for base in cls.__bases__),
            *self.mapping(members, cls.__qualname__),
        ]

    def _library(
        self, origin: Origin, module: str | None, name: str, cls: type | None = None
    ) -> list[bytes]:
        """A library's code by its name; that of packages of environments by its file as well."""
        top = (module or "builtins").split(".")[0]
        parts = [f"{module}:{name}".encode()]
        if origin is Origin.PACKAGE:
            self.packages[top] = _version(top)
            for one in dict.fromkeys([module, *(c.__module__ for c in (cls or object).__mro__)]):
                if origin_of_module(one) is Origin.PACKAGE:
                    file = getattr(sys.modules.get(str(one)), "__file__", None)
                    parts.append((content_digest(file or "") or "").encode())
            if cls is not None:
                parts += self._patched(cls)
        return parts

    def _patched(self, cls: type) -> list[bytes]:
        """What a user put into a library's class, and its plain attributes."""
        parts = []
        for name, value in sorted(vars(cls).items()):
            own = isinstance(value, types.FunctionType) and (
                origin_of_code(value.__code__.co_filename) is Origin.USER
            )
            if name not in _OF_CLASSES and (own or isinstance(value, _PLAIN)):
                parts.append(_hash(name, self.digest(value, f"{cls.__qualname__}.{name}")))
        return parts

    def _file(self, path: str) -> bytes:
        content = content_digest(path)
        if content is not None:
            self.files[str(Path(path).resolve())] = content
        return (content or "").encode()

    # --- data -------------------------------------------------------------------------------------

    def _object(self, thing: Any, place: str) -> Iterator[bytes]:
        """An instance: its class and its state, or what it would be rebuilt from."""
        cls = type(thing)
        yield self.digest(cls, f"the class of {place}")
        if origin_of_module(cls.__module__) is not Origin.USER:
            yield from self._reduced(thing, cls.__qualname__)
            return
        state = dict(_state(thing))
        yield from self.mapping(state, cls.__qualname__)
        builtin = next((base for base in _CONTAINERS if isinstance(thing, base)), None)
        if builtin is not None:
            yield self.digest(builtin(thing), f"the content of {place}")
        library = next(
            base for base in cls.__mro__ if {"__reduce__", "__reduce_ex__"} & vars(base).keys()
        )
        if builtin is None and library is not object:
            yield from self._reduced(thing, cls.__qualname__)

    def _reduced(self, thing: Any, held: str) -> Iterator[bytes]:
        try:
            reduced = thing.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception as error:
            raise _Unidentified from error
        if isinstance(reduced, str):
            yield reduced.encode()
            return
        if len(reduced) > 3 and reduced[3] is not None:
            yield from self.many(reduced[3], held)
        if len(reduced) > 4 and reduced[4] is not None:
            yield from self.mapping(dict(reduced[4]), held)
        for part in reduced[:3]:
            yield self.digest(part, f"the state of {held}")


def _hash(kind: str, *parts: bytes) -> bytes:
    hasher = hashlib.sha256(kind.encode())
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def _plain(value: Any) -> bytes:
    return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> tuple[set[str], set[str], set[str]]:
    """The globals that code loads, the modules that it imports, and every name in it."""
    loaded, imported, words = set(), set(), set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded.add(str(instruction.argval))
        elif instruction.opname == "IMPORT_NAME":
            imported.add(str(instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names(constant)
            loaded, imported, words = loaded | inner[0], imported | inner[1], words | inner[2]
    return loaded, imported, words


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _state(thing: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(thing, "__dict__", {}).items()
    cls = type(thing)
    for name in _slots(cls):
        mangled = f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") else name
        if hasattr(thing, mangled):
            yield mangled, getattr(thing, mangled)


@functools.cache
def _version(top: str) -> str:
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    try:
        return version(top)
    except PackageNotFoundError:
        names = packages_distributions().get(top, [])
        return version(names[0]) if names else "unknown"


def _is_at_its_name(cls: type) -> bool:
    """Whether a class is where its module and name say; code run by exec may say anything."""
    place: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        place = getattr(place, part, None)
    return place is cls or (cls.__module__ == "builtins" and not cls.__flags__ & _HEAP_TYPE)


_HEAP_TYPE = 1 << 9  # of a type that was made while running, not compiled into Python
_CONTAINERS: tuple[Callable[..., Any], ...] = (
    *(dict, list, tuple, set, frozenset),
    *(str, bytes, int, float, complex),
)
_TakeApart = Callable[[_Walk, Any, str], Iterable[bytes]]


def _array(walk: _Walk, thing: Any, place: str) -> list[bytes]:
    array = np.asarray(thing)
    form = f"{array.shape} {array.dtype.descr}".encode()
    if array.dtype.hasobject:
        return [form, *walk.many(array.ravel().tolist(), place)]
    return [form, np.ascontiguousarray(array).tobytes()]


def _builtin(walk: _Walk, function: Any, place: str) -> list[bytes]:
    owner = function.__self__
    name = f"{function.__module__}.{function.__qualname__}".encode()
    if owner is None or isinstance(owner, types.ModuleType):
        return [name]
    return [name, walk.digest(owner, place)]


def _partial(walk: _Walk, partial: Any, place: str) -> list[bytes]:
    return [
        walk.digest(partial.func, place),
        *walk.many(partial.args, f"the arguments of {place}"),
        b"|",
        *walk.mapping(partial.keywords, f"the arguments of {place}"),
    ]


def _attributes(*names: str) -> _TakeApart:
    return lambda walk, thing, place: [
        walk.digest(getattr(thing, name), f"{name} of {place}") for name in names
    ]


def _text(walk: _Walk, thing: Any, place: str) -> list[bytes]:
    return [str(thing).encode("utf-8", "surrogatepass")]


def _name(walk: _Walk, thing: Any, place: str) -> list[bytes]:
    return [str(getattr(thing, "__name__", "")).encode()]


_EXACT: dict[type, _TakeApart] = {
    list: lambda walk, items, place: walk.many(items, place),
    tuple: lambda walk, items, place: walk.many(items, place),
    set: lambda walk, items, place: sorted(walk.digest(item, place) for item in items),
    frozenset: lambda walk, items, place: sorted(walk.digest(item, place) for item in items),
    dict: _Walk.mapping,
    types.MappingProxyType: _Walk.mapping,
}
# The first that fits counts.
_KINDS: list[tuple[Any, _TakeApart]] = [
    (types.FunctionType, _Walk.function),
    (types.MethodType, _attributes("__func__", "__self__")),
    (types.BuiltinFunctionType, _builtin),
    ((functools.partial, functools.partialmethod), _partial),
    ((staticmethod, classmethod), _attributes("__func__")),
    (property, _attributes("fget", "fset", "fdel")),
    (functools.cached_property, _attributes("func")),
    (types.GenericAlias, _attributes("__origin__", "__args__")),
    (types.CodeType, _Walk.code),
    ((types.MemberDescriptorType, types.GetSetDescriptorType), _name),
    ((types.WrapperDescriptorType, types.MethodDescriptorType), _name),
    ((types.ClassMethodDescriptorType, types.MethodWrapperType), _name),
    (enum.Enum, lambda walk, one, place: [walk.digest(type(one), place), one.name.encode()]),
    ((PurePath, range, slice), _text),
    (weakref.ref, lambda walk, ref, place: [walk.digest(ref(), place)]),
    ((np.ndarray, np.generic), _array),
]
