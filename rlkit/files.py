"""Files that are written completely or not at all, whenever the process is killed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rlkit.errors import RlkitError


@contextlib.contextmanager
def replacing(path: Path, *, sync_name: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file to write; after a crash `path` holds either the old bytes or the new ones.

    Without `sync_name` the new ones may be lost in a power cut until the folder is synced.
    """
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync_name:
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: Path, data: bytes, *, sync_name: bool = True) -> None:
    """Write a file so that after a crash it holds either the old bytes or the new ones."""
    try:
        with replacing(path, sync_name=sync_name) as file:
            file.write(data)
    except OSError as error:
        raise RlkitError(
            f"writing {path} ({len(data)} bytes) failed: {error.strerror}. What was saved before "
            "is untouched; make room or change the permissions and run the same command again."
        ) from error


def read_ordinary(path: Path) -> bytes:
    """Return the content of a file; a pipe or a device, which may never end, is not read.

    Raises:
        OSError: it cannot be read; its `strerror` says why.
    """
    if path.exists() and not path.is_file():
        what = "it is a folder" if path.is_dir() else "it is not an ordinary file"
        raise OSError(errno.EINVAL, what, str(path))
    try:
        return path.read_bytes()
    except MemoryError:
        raise OSError(errno.ENOMEM, f"it has {path.stat().st_size:,} bytes", str(path)) from None


def sync_folder(folder: Path) -> None:
    """Force the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
