"""Code of a user's own: files that are run, and digests that say when it has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from rlkit.errors import UsageError


def run_file(path: Path, wanted_by: str) -> tuple[ModuleType, str]:
    """Run a Python file and return its module and the digest of its content.

    Args:
        path: the file.
        wanted_by: how an error names what the file is for, such as "score 'my.py:brevity'".

    Raises:
        UsageError: the file cannot be read, or running it failed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{wanted_by}: cannot read {path}: {error.strerror}") from error
    # Under this name pickle finds again what the file defines, in this process.
    name = f"rlkit_user_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        where = place_of(error, str(path))
        raise UsageError(f"{wanted_by}: running {path} failed: {error!r}{where}") from error
    return module, hashlib.sha256(content).hexdigest()


def source_digest(thing: Any) -> str:
    """The digest of the source of a function or class; empty where there is none to read."""
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def place_of(error: BaseException, file: str | None) -> str:
    """Where a user's code failed, as " (in FILE, line N)".

    Args:
        error: what was raised.
        file: the user's file; its last frame is named, or the last one at all. Nothing is where
            the call itself failed, as with a wrong number of arguments.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    if not own and len(frames) == 1:
        return ""
    frame = (own or frames)[-1]
    return f" (in {frame.filename}, line {frame.lineno})"
