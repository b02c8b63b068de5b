"""Code that is not the user's own: its names, the contents of its files, and what was patched."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.fingerprint.inspection import PLAIN, at_name, bases, is_compiled, members, module_name
from rlkit.fingerprint.inspection import type_name as name_of
from rlkit.user_code import FOUNDATIONS, Origin, content_digest, origin_of_code, origin_of_module

if TYPE_CHECKING:
    from rlkit.fingerprint.walk import Walk

# What Python keeps in a class for itself, and what has no effect.
OF_CLASSES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__name__", "__qualname__"),
    *("__annotations__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
    *(
        "__slotnames__",
        "_abc_impl",
        "__orig_bases__",
        "__parameters__",
        "__annotate__",
        "__annotate_func__",
    ),
    *("__annotations_cache__", "__classdictcell__", "__conditional_annotations__"),
}
# Packages with more source than this are told apart by the files that are named alone.
_MOST_FILES = 400


def is_library_class(cls: type) -> bool:
    """Return whether a class is compiled, or an installed one that is where its name says."""
    if origin_of_module(module_name(cls)) is Origin.USER:
        return False
    return is_compiled(cls) or at_name(cls, module_name(cls), name_of(cls))


def named(walk: Walk, module: str, name: str) -> list[bytes]:
    """Return what counts of a name of a module that is not the user's."""
    parts = [f"{module or 'builtins'}:{name}".encode("utf-8", "surrogatepass")]
    if origin_of(module) is Origin.PACKAGE:
        parts += [walk.file(file_of(module), own=False), walk.package(module.split(".")[0])]
    return parts


def library_class(walk: Walk, cls: type) -> Iterator[bytes | int]:
    """Return what counts of an installed class: the files of its bases as well, and patches."""
    yield from named(walk, module_name(cls), name_of(cls))
    for base in bases(cls)[:-1]:
        if is_compiled(base):
            continue
        if base is not cls and not is_library_class(base):
            yield walk.refer(base, f"a base of {name_of(cls)}")
            continue
        packaged = origin_of_module(module_name(base)) is Origin.PACKAGE
        if packaged and base is not cls:
            yield from named(walk, module_name(base), name_of(base))
        for name, value in sorted(members(base).items()):
            counts = packaged and _is_data(value)
            if name not in OF_CLASSES and (counts or is_own_code(value)):
                place = f"{name_of(base)}.{name}"
                yield walk.group(name, [walk.refer(value, place)])


def _is_data(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_data, value))
    if type(value) is dict:
        return all(map(_is_data, value.values()))
    return id(type(value)) in PLAIN


def is_own_code(value: Any) -> bool:
    """Return whether a function, or one in a method's wrapping, is the user's."""
    if type(value) is property:
        return any(map(is_own_code, (value.fget, value.fset, value.fdel)))
    if type(value) in (staticmethod, classmethod, types.MethodType):
        return is_own_code(value.__func__)
    if type(value) is not types.FunctionType:
        return False
    file = value.__code__.co_filename
    if file.startswith("<"):  # generated, as the methods of dataclasses are
        return origin_of_module(value.__globals__.get("__name__")) is Origin.USER
    return origin_of_code(file) is Origin.USER


def origin_of(module: str) -> Origin:
    """Return where a module comes from, also where it is not imported yet."""
    file = None if module in sys.modules else file_of(module)
    return origin_of_module(module) if file is None else origin_of_code(file)


def file_of(module: str) -> str | None:
    """Return the file of a module, without importing it or its package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is not None:
        return str(file)
    spec = find_spec(module)
    return spec.origin if spec is not None and spec.has_location else None


def find_spec(module: str) -> importlib.machinery.ModuleSpec | None:
    """Return where a module would be imported from, without importing its package."""
    top, *rest = module.split(".")
    spec: importlib.machinery.ModuleSpec | None
    try:
        spec = getattr(sys.modules.get(top), "__spec__", None) or importlib.util.find_spec(top)
        full = top
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            full = f"{full}.{part}"
            locations = list(spec.submodule_search_locations)
            spec = importlib.machinery.PathFinder.find_spec(full, locations)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


@functools.cache
def version(top: str) -> str:
    """Return the version of an installed package."""
    from importlib.metadata import PackageNotFoundError, metadata, packages_distributions

    try:
        return metadata(top)["Version"]
    except PackageNotFoundError:
        pass
    own = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(own, str):
        return own
    names = packages_distributions().get(top, [])
    return metadata(names[0])["Version"] if names else "unknown"


def content(top: str) -> bytes:
    """Return the content of a whole package, for a class does not name all that it uses."""
    file = file_of(top)
    if top in FOUNDATIONS or file is None or Path(file).stem != "__init__":
        return b""
    sources = []
    for folder, folders, files in os.walk(Path(file).parent):
        folders.sort()
        sources += [os.path.join(folder, name) for name in sorted(files) if name[-3:] == ".py"]
        if len(sources) > _MOST_FILES:
            return b""
    return "".join(content_digest(path) or "" for path in sources).encode()


def registered(name: str) -> Any:
    """Return what Gymnasium has registered under a name, or None."""
    registration = sys.modules.get("gymnasium.envs.registration")
    return None if registration is None else registration.registry.get(name)
