"""Where a file that the user named is to be written: checked before the work, not after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlkit.errors import UsageError


def require_place(path: Path, option: str, suffixes: Sequence[str]) -> None:
    """Require a file name with one of the suffixes, in a folder that is or can be made.

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
            raise _refusal(path, option, "it is no ordinary file")
        folder = path.absolute().parent
        while not folder.exists():
            if folder.is_symlink():
                raise _refusal(path, option, f"{folder} is a link to nothing")
            folder = folder.parent
        if not folder.is_dir():
            raise _refusal(path, option, f"{folder} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refusal(path, option, f"the folder {folder} is read-only")


@contextlib.contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Turn what the system says against a place into one sentence."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, option, (error.strerror or str(error)).lower()) from error


def _refusal(path: Path, option: str, reason: str) -> UsageError:
    return UsageError(f"{option} {path} cannot be written: {reason}; choose another")
