"""Files that no kill leaves half written, and the folder of a run with its lock."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rlkit.errors import RlkitError, UsageError
from rlkit.files import write_atomically
from rlkit.runs.integrity.seals import finite


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON; NaN and infinity become null, as JSON has neither."""
    text = json.dumps(finite(content), indent=2, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def prepare_place(folder: Path) -> None:
    """Create a folder.

    Raises:
        UsageError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be written: {error.strerror}; choose another with --out"
        ) from error


def prepare_folder(folder: Path) -> None:
    """Create a run's folder and make sure that it can be written to, and only there.

    Raises:
        UsageError: it cannot be written, or something in it is a symbolic link.
    """
    prepare_place(folder)
    try:
        (folder / "checkpoints").mkdir(exist_ok=True)
        probe = folder / f".probe.{os.getpid()}.tmp"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be written: {error.strerror}; choose another with --out"
        ) from error
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise UsageError(
                f"{path} is a symbolic link, and a run writes and deletes in its own folder only; "
                "replace it with its target, or remove it"
            )


# The errors of systems that cannot lock files: Linux and macOS, NFS without locks, other networks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process; the lock is released however the process ends.

    Raises:
        UsageError: another process holds it; the message says which.
        RlkitError: the file system or this Python has no file locks.
    """
    path = folder / ".lock"
    try:
        lock = FileLock(path, blocking=False, fallback_to_soft=False, on_acquired=_write_holder)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"the run {folder} is in use by {_holder(path) or 'another process'}; "
            "wait for it to end, or stop it and run the same command again"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        # filelock raises a ValueError where Python has no native locks
        cause = "this Python" if isinstance(error, ValueError) else "its file system"
        raise RlkitError(
            f"the run {folder} cannot be locked, because {cause} has no file locks ({error}), and "
            "two processes at once would damage it; choose a folder on a local disk with --out, or "
            "use a build of Python with the module fcntl"
        ) from error
    try:
        for pattern in (".*.tmp", ".*.png"):  # of a process that was killed while writing
            for orphan in folder.rglob(pattern):
                orphan.unlink(missing_ok=True)
        yield
        with contextlib.suppress(OSError):
            os.truncate(path, 0)
    finally:
        lock.release()


def _write_holder(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())


def _holder(path: Path) -> str:
    """Return what the process that holds a lock wrote about itself, where it can be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
