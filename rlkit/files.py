"""Files that are written completely or not at all, whenever the process is killed.

And JSON in which no name is repeated, and threads that wait for the disk while the process
continues.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from rlkit.errors import RlkitError

Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGE = 1 << 28  # bytes of a file from which on its size is examined before it is read


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
    except FileNotFoundError as error:
        raise RlkitError(
            f"writing {path} failed: its folder was moved or deleted meanwhile; if it was moved, "
            "run the same command again in its new place"
        ) from error
    except OSError as error:
        raise RlkitError(
            f"writing {path} ({len(data)} bytes) failed: {error.strerror}. What was saved before "
            "is untouched; make room or change the permissions and run the same command again."
        ) from error


def available_bytes() -> int | None:
    """Return the memory that new arrays can take, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def read_ordinary(path: Path) -> bytes:
    """Return the content of a file; a pipe or a device, which may never end, is not read.

    Neither is a file that does not fit into memory, or a large one that is mostly a hole.

    Raises:
        OSError: it cannot be read; its `strerror` says why.
    """
    if path.exists() and not path.is_file():
        what = "it is a folder" if path.is_dir() else "it is not an ordinary file"
        raise OSError(errno.EINVAL, what, str(path))
    try:
        about = path.stat()
        if about.st_size > _LARGE:
            available = available_bytes()
            if available is not None and about.st_size > available:
                raise MemoryError
            if 50 * 512 * about.st_blocks < about.st_size:
                what = f"it says that it has {about.st_size:,} bytes and stores hardly any of them"
                raise OSError(errno.EFBIG, what, str(path))
        return path.read_bytes()
    except MemoryError:
        raise OSError(errno.ENOMEM, f"it has {path.stat().st_size:,} bytes", str(path)) from None


def read_json(text: str, *, what: str) -> Any:
    """Return the content of JSON in which no name is repeated; json.loads takes the last one.

    Args:
        text: one line of a file, or all of it.
        what: what a pair of name and value is called in messages.

    Raises:
        ValueError: the text is not JSON, or a name occurs twice in one object.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the {what} {twice!r} occurs twice")
        return content

    return json.loads(text, object_pairs_hook=distinct)


def array_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return what an array in the format of NumPy claims to be; nothing is allocated.

    Args:
        file: at its begin; then at the first of its numbers.
        name: of the array, for messages.

    Returns:
        its shape, whether the first index changes fastest, and its type.

    Raises:
        ValueError: it is no such array.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"{name} has the unknown array format {version}")
    length = file.read(2 * version[0])
    header = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
    return _claims(version, length + header)


_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_LONGEST_HEADER = 10_000  # bytes; NumPy reads no longer one


@functools.lru_cache(maxsize=1024)  # the seeds of a run have the same headers
def _claims(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return _HEADER_READERS[version](io.BytesIO(header))


def sync_folder(folder: Path) -> None:
    """Force the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Saver:
    """Does one piece of work at a time in a thread, which began with copies of all it needs."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "saving")
        self._running: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin the work once that before has ended; raise what that raised."""
        self.wait()
        self._running = self._thread.submit(work)

    def wait(self) -> None:
        """Wait for the work that was begun, if there is any; raise what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Wait for the work, whatever it raises: an earlier error must not be hidden."""
        self._thread.shutdown()


def for_each(items: Sequence[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Apply a function that waits for the disk to many items, which it writes together."""
    if len(items) < 4:
        return list(map(function, items))
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))
