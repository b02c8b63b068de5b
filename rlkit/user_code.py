"""The user's own code: running files, and digests that change with the code."""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import site
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rlkit.errors import UsageError
from rlkit.spelling import closest


def run_file(path: Path, wanted_by: str) -> tuple[ModuleType, str]:
    """Run a Python file and return its module and the digest of its content.

    Args:
        path: the file.
        wanted_by: the purpose of the file in messages, such as "score 'my.py:brevity'".

    Raises:
        UsageError: the file cannot be read, or running it failed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{wanted_by}: cannot read {path}: {error.strerror}") from error
    # Pickle finds the definitions of the file under this name, in this process.
    name = f"rlkit_user_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Not the loader: an edit within a second may leave it with the bytecode of before.
        exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        where = place_of(error, str(path))
        raise UsageError(f"{wanted_by}: running {path} failed: {error!r}{where}") from error
    return module, hashlib.sha256(content).hexdigest()


def load_function(reference: str, kind: str) -> tuple[Callable[..., Any], str]:
    """Return the function that a user named, and the digest of its file.

    Args:
        reference: "path/to/file.py:function" or "module:function".
        kind: what it is for in messages, such as "score".

    Returns:
        The function, and the sha256 of the file; "" for a module.

    Raises:
        UsageError: there is no such file, module or function, or running the file failed.
    """
    wanted = f"{kind} {reference!r}"
    head, _, name = reference.rpartition(":")
    if not head or not name:
        raise UsageError(f"{wanted}: expected path/to/file.py:function or module:function")
    if head.endswith(".py"):
        module, digest = run_file(Path(head), wanted)
    else:
        module, digest = import_named(head, wanted), ""
    loaded = getattr(module, name, None)
    if loaded is None:
        known = [key for key, value in vars(module).items() if callable(value)]
        raise UsageError(f"{wanted}: {head} has no {name!r}.{closest(name, known)}")
    if not callable(loaded):
        raise UsageError(f"{wanted}: expected a function, got {loaded!r:.80}")
    return loaded, digest


def import_named(name: str, wanted_by: str) -> ModuleType:
    """Import a module, if need be from the current folder, which console scripts do not search.

    Args:
        name: of the module.
        wanted_by: the purpose of the module in messages, such as "environment 'my:Env'".

    Raises:
        UsageError: it cannot be imported.
    """
    here = os.getcwd()
    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.split(".")[0] or here in sys.path or "" in sys.path:
                raise
        sys.path.append(here)
        try:
            importlib.invalidate_caches()
            return importlib.import_module(name)
        except BaseException:
            sys.path.remove(here)
            raise
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]
        hint = f"; it is neither installed nor in the current folder, {here}" if absent else ""
        reason = str(error) if isinstance(error, ImportError) else repr(error)
        raise UsageError(
            f"{wanted_by}: cannot import the module {name!r}: {reason}{hint}"
        ) from error


def source_digest(thing: Any) -> str:
    """Return the digest of the source of a function or class; empty if there is none."""
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


class Origin(enum.Enum):
    """The origin of code."""

    USER = "user"  # the user's own: its behaviour counts
    LIBRARY = "library"  # Python, rlkit and what rlkit is built on: the name counts
    PACKAGE = "package"  # installed, and may offer environments: name and content count


# Their versions are compared when a run is continued.
FOUNDATIONS = ("gymnasium", "numpy", "torch", "scipy", "numba", "rlkit")
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_ENVIRONMENTS = os.path.join("gymnasium", "envs", "")


@functools.cache
def _folders() -> tuple[tuple[str, ...], ...]:
    """Return the folders of the foundations, of installed packages and of Python itself."""
    specs = [importlib.util.find_spec(name) for name in FOUNDATIONS]
    foundations = [os.path.dirname(spec.origin) for spec in specs if spec and spec.origin]
    packages = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    packages += [*site.getsitepackages(), site.getusersitepackages()]
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return tuple(tuple(map(_within, folders)) for folders in (foundations, packages, python))


def _within(folder: str) -> str:
    return os.path.join(os.path.realpath(folder), "")


def origin_of_code(filename: str) -> Origin:
    """Return where code comes from, by its file; code that has none is the user's."""
    if filename.startswith("<"):
        return Origin.LIBRARY if filename.startswith("<frozen ") else Origin.USER
    return _origin_of_path(filename if os.path.isabs(filename) else os.path.abspath(filename))


@functools.lru_cache(maxsize=10_000)
def _origin_of_path(path: str) -> Origin:
    path = os.path.realpath(path)
    foundations, packages, python = _folders()
    if path.startswith(foundations):  # these may be installed from a folder of anywhere
        return Origin.PACKAGE if _ENVIRONMENTS in path else Origin.LIBRARY
    # Also those of another virtual environment, as one inside the folder of a project.
    if path.startswith(packages) or _INSTALLED.search(path):
        return Origin.PACKAGE
    return Origin.LIBRARY if path.startswith(python) else Origin.USER


def origin_of_module(name: str | None) -> Origin:
    """Return where a module comes from; `__main__` and modules without a file are the user's."""
    if name in ("__main__", "__mp_main__"):
        return Origin.USER
    module = sys.modules.get(name or "")
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return origin_of_code(file)
    top = (name or "").split(".")[0]
    known = top == "builtins" or top in sys.stdlib_module_names or top in FOUNDATIONS
    return Origin.LIBRARY if known else Origin.USER


def is_patched(cls: Any) -> bool:
    """Return whether a class of a library, or one of its bases, has a method of the user's."""
    members = [value for base in getattr(cls, "__mro__", ()) for value in vars(base).values()]
    return any(
        isinstance(value, types.FunctionType)
        and origin_of_code(value.__code__.co_filename) is Origin.USER
        for value in members
    )


def content_digest(path: str) -> str | None:
    """Return the sha256 of a file's content, or None where there is no such file."""
    try:
        if not os.path.isfile(path):  # a pipe may never end
            return None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def remembered_digest(path: Path) -> str:
    """Return the sha256 of a file's content, computed again only if size or time have changed."""
    status = path.stat()
    return _digest_of_state(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest_of_state(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_of(error: BaseException, file: str | None) -> str:
    """Return where a user's code failed, as " (in FILE, line N)".

    Args:
        error: the exception.
        file: the user's file, whose last frame is named; where it has none, the last one of any
            code that is not of a library. The result is empty if the call itself failed, for
            example with a wrong number of arguments.
    """
    if isinstance(error, SyntaxError) and error.filename == file:
        return f" (in {file}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or [
        frame for frame in frames if origin_of_code(frame.filename) is Origin.USER
    ]
    if not own:
        return ""
    frame = own[-1]
    return f" (in {frame.filename}, line {frame.lineno})"
