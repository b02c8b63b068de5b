"""Checks that a file named by the user can be written, made before the work starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlkit.errors import UsageError


def require_place(path: Path, option: str, suffixes: Sequence[str]) -> None:
    """Require a file name with one of the suffixes, in a folder that exists or can be created.

    Nothing is created. A file that exists is replaced when it is written.

    Raises:
        UsageError: it cannot be written there.
    """
    if path.suffix.lower() not in suffixes or "\0" in str(path):
        raise UsageError(
            f"{option} {path}: expected a file name that ends in {' or '.join(suffixes)}"
        )
    with writing(path, option):
        if path.is_dir():
            raise _refusal(path, option, "it is a folder")
        if path.exists() and not path.is_file():
            raise _refusal(path, option, "it is not an ordinary file")
        folder = path.absolute().parent
        while not folder.exists():
            if folder.is_symlink():
                raise _refusal(path, option, f"{folder} is a broken link")
            folder = folder.parent
        if not folder.is_dir():
            raise _refusal(path, option, f"{folder} is not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refusal(path, option, f"the folder {folder} is read-only")


@contextlib.contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Raise an error of the operating system as one sentence about the option."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, option, (error.strerror or str(error)).lower()) from error


def _refusal(path: Path, option: str, reason: str) -> UsageError:
    return UsageError(f"{option} {path} cannot be written: {reason}; choose another")
