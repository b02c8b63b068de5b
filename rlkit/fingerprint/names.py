"""The globals and modules that code uses, and modules used as a whole."""

from __future__ import annotations

import builtins
import importlib
import os
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from rlkit.fingerprint import library, packages
from rlkit.fingerprint.bytecode import read_names
from rlkit.fingerprint.inspection import is_a
from rlkit.fingerprint.walk import Part, Walk
from rlkit.user_code import Origin, origin_of_code, origin_of_module

_OF_MODULES = {
    *("__name__", "__file__", "__spec__", "__doc__", "__builtins__", "__package__"),
    *("__loader__", "__path__", "__cached__", "__annotations__", "__warningregistry__"),
}
_MISSING = object()
# Where a notebook keeps its cells and their results.
_OF_NOTEBOOKS = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[iod]h|In|Out|exit|quit|get_ipython|__\w+__")
_ENVIRONMENT_ID = re.compile(r"[\w.]+:[\w./-]+-v\d+")


def globals_of(walk: Walk, code: types.CodeType, namespace: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the values that code reads from its globals and from the modules that it imports."""
    names = walk.names.get(id(code))
    if names is None:
        names = walk.names[id(code)] = read_names(code)
    for name in sorted(names.loaded - _OF_MODULES):
        value = namespace.get(name, vars(builtins).get(name, _MISSING))
        for chain in sorted(names.taken[name]):
            label, place = ".".join((name, *chain)), f"the global {name}"
            end = _follow(walk, value, chain)
            yield walk.group(label, [_refer(walk, end, place)])
            yield walk.group("text", _by_text(walk, end, names.texts, namespace))
    for variable, module, level, start, attributes in sorted(names.imported):
        chains = sorted(attributes + chain for chain in names.taken.get(variable, {()}))
        absolute, first = (_absolute(one, level, namespace) for one in (module, start))
        yield walk.group(f"import {absolute}", _imported(walk, absolute, first, chains))
    for text in sorted(names.texts):
        if _ENVIRONMENT_ID.fullmatch(text):
            _load(walk, text.split(":")[0])
            identity = text.split(":")[1]
            yield walk.refer(packages.registered(identity), f"the environment {identity}")


def _refer(walk: Walk, value: Any, place: str) -> Part:
    return b"missing" if value is _MISSING else walk.refer(value, place)


def _absolute(module: str, level: int, namespace: Mapping[str, Any]) -> str:
    if not level:
        return module
    package = str(namespace.get("__package__") or "")
    return ".".join([*package.split(".")[: len(package.split(".")) - level + 1], module]).strip(".")


def _imported(walk: Walk, module: str, start: str, chains: list[tuple[str, ...]]) -> Iterator[Part]:
    """Yield the parts that identify a module which a function imports when it is called."""
    loaded = _load(walk, module)
    if loaded is None:  # a library's module, or a missing one
        yield b"missing" if packages.find_spec(module) is None else b"by name"
        yield walk.file(packages.file_of(module), own=packages.origin_of(module) is Origin.USER)
        if packages.origin_of(module) is not Origin.USER:
            yield from library.named(walk, module, "")
    value = sys.modules.get(start)
    if value is not None and (loaded is not None or _is_own(value)):
        for chain in chains:
            place = ".".join((start, *chain))
            yield walk.group(place, [_refer(walk, _follow(walk, value, chain), place)])


def module(walk: Walk, module: types.ModuleType, place: str) -> Iterator[Part]:
    """Take apart a module that is used as a whole."""
    content = vars(module)
    name = str(content.get("__name__"))
    if not _is_own(module):
        yield from library.named(walk, name, "")
        return
    file = str(content.get("__file__"))
    source = walk.file(file)
    yield b"" if file.endswith(".py") else source  # the values say everything unless it is compiled
    skipped = _OF_MODULES | set(filter(_OF_NOTEBOOKS.fullmatch, content))
    skipped -= {"__getattr__", "__dir__"}
    items = ((key, value) for key, value in content.items() if key not in skipped)
    yield walk.mapping(items, f"the module {name}")
    if type(module) is not types.ModuleType:
        yield walk.refer(type(module), f"the class of {place}")


def _origin(module: types.ModuleType) -> Origin:
    """Return where a module comes from; it may shadow another of the same name."""
    content = vars(module)
    file, name = content.get("__file__"), content.get("__name__")
    if type(file) is str and name not in ("__main__", "__mp_main__"):
        return origin_of_code(file)
    if type(name) is str and sys.modules.get(name) is module:
        return origin_of_module(name)
    return Origin.USER


def _load(walk: Walk, module: str) -> types.ModuleType | None:
    """Import and return a module of the user or of Gymnasium's environments; None for others."""
    loaded = sys.modules.get(module)
    own = packages.origin_of(module) is Origin.USER if loaded is None else _is_own(loaded)
    if not own and not module.startswith("gymnasium.envs."):
        return None
    if loaded is None and packages.find_spec(module) is not None:
        walk.attempt(f"the module {module}", lambda: bool(importlib.import_module(module)) * b"")
        loaded = sys.modules.get(module)
    if not is_a(type(loaded), types.ModuleType):
        return None
    if own:
        walk.file(vars(loaded).get("__file__"))
    return loaded


def _is_own(module: types.ModuleType) -> bool:
    return _origin(module) is Origin.USER


def _follow(walk: Walk, value: Any, chain: tuple[str, ...]) -> Any:
    """Return the value at the end of a chain of attributes of modules, as `config.sub.GAIN`."""
    for name in chain:
        if not is_a(type(value), types.ModuleType):
            return value
        content, full = vars(value), f"{value.__name__}.{name}"
        own = _is_own(value)
        if own:
            walk.file(content.get("__file__"))
        if name in content:
            following = content[name]
        else:
            following = _load(walk, full) if own else sys.modules.get(full)
            if following is None:
                return content.get("__getattr__", _MISSING) if own else value
        if not own and not _is_code(following) and following is not sys.argv:
            return value  # data of a library: os.environ, np.pi
        value = following
    return value


def _is_code(value: Any) -> bool:
    """Return whether a value in a library's module is code, which is followed further."""
    if is_a(type(value), types.BuiltinFunctionType):
        return value.__self__ is None or is_a(type(value.__self__), types.ModuleType)
    if is_a(type(value), types.ModuleType, type):
        return True
    # Libraries replace their own functions by equivalent ones, as torch does torch.manual_seed.
    if is_a(type(value), types.FunctionType) and (
        origin_of_code(value.__code__.co_filename) is not Origin.LIBRARY
    ):
        return True
    return library.is_own_code(value)


_IMPORTERS = (importlib, importlib.import_module, builtins.__import__, sys)


def _by_text(
    walk: Walk, value: Any, texts: set[str], namespace: Mapping[str, Any]
) -> Iterator[Part]:
    """Yield the values that code reaches by text: globals()["GAIN"], import_module("config")."""
    if value is globals or value is eval or value is exec:
        own = [(k, v) for k, v in namespace.items() if not _OF_NOTEBOOKS.fullmatch(k)]
        yield walk.mapping(own, "the globals")
    elif any(value is one for one in _IMPORTERS):
        for text in sorted(texts):
            named = text and all(part.isidentifier() for part in text.split("."))
            if named and (value is not sys or text in sys.modules):
                yield _refer(walk, _load(walk, text), f"the module {text}")
    elif value is os or value is os.getenv or value is os.environ:
        for text in sorted(texts):
            yield walk.refer(os.environ.get(text), text)
