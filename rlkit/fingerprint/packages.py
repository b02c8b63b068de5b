"""Modules and installed packages: their files, versions and contents."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from rlkit.user_code import FOUNDATIONS, Origin, content_digest, origin_of_code, origin_of_module

# Of packages with more source files than this only the files that are named count.
_MOST_FILES = 400


def origin_of(module: str) -> Origin:
    """Return where a module comes from, even if it is not imported yet."""
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
    """Return the spec of a module without importing its package, or None."""
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
    """Return the digests of all sources of a package: a class may use any of them."""
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
    """Return the registration of a name in Gymnasium, or None."""
    registration = sys.modules.get("gymnasium.envs.registration")
    return None if registration is None else registration.registry.get(name)
