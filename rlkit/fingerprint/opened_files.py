"""The data files that are read while an environment is built: a part of its identity."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from rlkit.user_code import Origin, content_digest, origin_of_code

_CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib")
_watching = threading.local()


@functools.cache
def _install_hook() -> None:
    """Let Python report every file that is opened; the hook cannot be removed again."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            opened = getattr(_watching, "opened", None)
            if opened is not None and not _is_for_writing(arguments):
                opened.append(_absolute(arguments[0]))

    sys.addaudithook(hook)


def _absolute(name: Any) -> str:
    """Return the path of a file that is being opened; "" where a number is its name.

    At once, because an environment may read its data in a folder that it enters and leaves again.
    """
    try:
        return os.path.abspath(os.fsdecode(name))
    except (TypeError, ValueError, OSError):  # also where the working directory was removed
        return ""


def _is_for_writing(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@contextlib.contextmanager
def reads_of() -> Iterator[dict[str, str]]:
    """Record the files that this thread reads, as path -> sha256, filled in on exit.

    Code, installed files, hidden files (caches and settings) and anything but regular files do
    not count. Files that a library opens in C are not seen.
    """
    _install_hook()
    files: dict[str, str] = {}
    opened: list[str] = []
    _watching.opened = opened
    try:
        yield files
    finally:
        _watching.opened = None
        for path in filter(None, opened):
            if path.endswith(_CODE) or origin_of_code(path) is not Origin.USER:
                continue
            hidden = any(
                part.startswith(".") or part == "__pycache__" for part in path.split(os.sep)
            )
            if hidden or path.startswith(("/proc/", "/sys/", "/dev/")) or not os.path.isfile(path):
                continue
            digest = content_digest(path)
            if digest is not None:
                files[path] = digest
