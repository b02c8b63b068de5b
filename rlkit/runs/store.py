"""What a run keeps on disk, written so that no kill leaves a file that is neither old nor new."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError

Array = NDArray[Any]

CHECKPOINTS_KEPT = 2
# The entry of a checkpoint that was taken before the row of its step was written.
ROW_PENDING = "row_pending"
_CHECKPOINT_NAME = re.compile(r"step-(\d{12,})-([0-9a-f]{64})\.npz")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it holds either the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RlkitError(
            f"writing {path} ({len(data)} bytes) failed: {error.strerror}. What was saved before "
            "is untouched; make room or change the permissions and run the same command again."
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON; NaN and infinity become null, as JSON has neither."""
    text = json.dumps(finite(content), indent=2, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def finite(content: Any) -> Any:
    """Plain data with null in place of NaN and infinity."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


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
                "replace it by what it points to, or remove it"
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder for this process; the lock dies with it, however it ends."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with open(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"the run {folder} is in use by {file.read().strip() or 'another process'}; "
                "wait for it to end, or stop it and run the same command again"
            ) from None
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        file.flush()
        for pattern in (".*.tmp", ".*.png"):  # of a process that was killed while writing
            for orphan in folder.rglob(pattern):
                orphan.unlink(missing_ok=True)
        yield
        file.truncate(0)


# --- checkpoints ----------------------------------------------------------------------------------
# One file a seed and step, an npz archive of plain numeric arrays, named after its sha256. Nothing
# that could be executed is stored, and a changed file no longer has the digest that it is named by.


def save_checkpoint(folder: Path, seed: int, num_steps: int, state: Mapping[str, Array]) -> None:
    """Write a seed's checkpoint, then remove all but the newest ones.

    Args:
        folder: of the run.
        seed: its index.
        num_steps: how far it is, in environment steps or updates.
        state: plain numeric arrays.
    """
    seed_folder = _seed_folder(folder, seed)
    try:
        seed_folder.mkdir(exist_ok=True)
        _sync_folder(seed_folder.parent)
    except OSError as error:
        raise RlkitError(
            f"saving a checkpoint in {seed_folder} failed: {error.strerror}; if the run's folder "
            "was moved or deleted, run the same command again where it is now"
        ) from error
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: state[name] for name in sorted(state)}
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    write_atomically(seed_folder / f"step-{num_steps:012d}-{digest}.npz", data)
    for steps, path in list_checkpoints(folder, seed):
        if steps == num_steps and digest not in path.name:  # from before its row was written
            path.unlink(missing_ok=True)
    for _, path in list_checkpoints(folder, seed)[CHECKPOINTS_KEPT:]:
        path.unlink(missing_ok=True)


def list_checkpoints(folder: Path, seed: int) -> list[tuple[int, Path]]:
    """The (steps, path) of a seed's checkpoints, newest first."""
    found = []
    for path in _seed_folder(folder, seed).glob("step-*.npz"):
        match = _CHECKPOINT_NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Return the arrays of a checkpoint after checking its digest.

    Raises:
        ValueError: the file is damaged; the message says how it is seen.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    match = _CHECKPOINT_NAME.fullmatch(path.name)
    if match is None or hashlib.sha256(data).hexdigest() != match[2]:
        raise ValueError(
            f"checkpoint {path} is damaged: its sha256 is not the one in its name "
            f"({len(data)} bytes)"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                entry.filename.removesuffix(".npy"): _read_array(archive, entry)
                for entry in archive.infolist()
            }
    except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint {path} is not an archive of arrays: {error}") from error


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """Read one array after comparing the size that it claims with the bytes that are there."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed, which is never written here")
    content = archive.read(entry)
    file = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"{entry.filename} has the unknown array format {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python objects, which are never read")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(
            f"{entry.filename} claims the shape {shape} of {dtype}, but holds "
            f"{len(content) - file.tell()} bytes"
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def newest_checkpoint(
    folder: Path, seed: int, *, at_most: int | None = None
) -> tuple[int, dict[str, Array], list[str]]:
    """Return a seed's newest sound checkpoint.

    Args:
        folder: of the run.
        seed: its index.
        at_most: ignore checkpoints beyond this number of steps.

    Returns:
        its steps (0 and an empty state if there is none), its arrays, and a message
        for each damaged file that was passed over.
    """
    problems: list[str] = []
    for num_steps, path in list_checkpoints(folder, seed):
        if at_most is not None and num_steps > at_most:
            continue
        try:
            return num_steps, read_checkpoint(path), problems
        except ValueError as error:
            problems.append(str(error))
    return 0, {}, problems


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / "checkpoints" / f"seed-{seed:03d}"


# --- curves ---------------------------------------------------------------------------------------


COUNTERS = ("num_env_steps", "num_updates")  # the first column, which grows from row to row
# `float` would also take spaces, underscores and a carriage return.
_ROW = re.compile(r"[-+.,0-9einf]*")


def curve_path(folder: Path, seed: int) -> Path:
    """Where a seed's rows are."""
    return folder / f"seed-{seed:03d}.csv"


class CurveFile:
    """Appends rows to a seed's csv; the same numbers always give the same bytes.

    Args:
        path: the file.
        columns: names, written as its first line.
        num_bytes: how much of an existing file is known to be good; the rest is cut off.
    """

    def __init__(self, path: Path, columns: Sequence[str], num_bytes: int) -> None:
        self._path, self._columns, self._num_bytes = path, tuple(columns), num_bytes
        is_new = not path.exists()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise RlkitError(f"opening {path} failed: {error.strerror}") from error
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115
        length = self._file.seek(0, os.SEEK_END)
        if length < num_bytes:
            self._file.close()
            raise RlkitError(
                f"{path} has {length} bytes, but its checkpoint follows on {num_bytes}: rows were "
                f"lost. Restore the file, or move it and the checkpoints of the seed away to train "
                "the seed again from the start"
            )
        self._file.truncate(num_bytes)
        self._file.seek(num_bytes)
        if num_bytes == 0:
            self._write(self._columns)
        if is_new:
            _sync_folder(path.parent)

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Write one row and hand it to the system."""
        self._write([_cell(row.get(column)) for column in self._columns])

    def _write(self, cells: Sequence[str]) -> None:
        line = (",".join(cells) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._num_bytes)
            raise RlkitError(
                f"appending to {self._path} failed: {error.strerror}; make room and run the "
                "same command again, which goes on from the last checkpoint"
            ) from error
        self._num_bytes += len(line)

    @property
    def num_bytes(self) -> int:
        """The length of the file, with rows that may not have come to the disk yet."""
        return self._num_bytes

    def sync(self) -> int:
        """Force all rows to the disk and return the length of the file in bytes."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RlkitError(f"saving {self._path} failed: {error.strerror}") from error
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise RlkitError(
                f"{self._path} was deleted while the run was writing it; what is left of the run "
                "is not complete, start it again"
            )
        return self._num_bytes

    def close(self) -> None:
        self._file.close()


def _cell(value: float | int | None) -> str:
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return ""
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    return repr(float(value))


def read_curve(path: Path) -> dict[str, Array]:
    """Return the columns of a seed's csv; empty cells are NaN, an unfinished last line is dropped.

    Raises:
        RlkitError: a line does not have the form that was written, with its number.
    """
    text = path.read_bytes().decode("utf-8", errors="replace")
    lines = text.split("\n")
    lines.pop()  # what follows the last newline: nothing, or a row cut short
    if not lines:
        return {}
    columns = lines[0].split(",")
    if not lines[0].isprintable():
        raise RlkitError(f"{path}, line 1: the names of the columns are not plain text")
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        try:
            if not _ROW.fullmatch(line):
                raise ValueError("it holds other characters than those of numbers and commas")
            if len(cells) != len(columns):
                raise ValueError(f"{len(columns)} cells expected, {len(cells)} found")
            rows.append([float(cell) if cell else math.nan for cell in cells])
            if len(rows) > 1 and columns[0] in COUNTERS and rows[-1][0] <= rows[-2][0]:
                raise ValueError(f"{columns[0]} is {cells[0]}, which is not beyond the row before")
        except ValueError as error:
            raise RlkitError(f"{path}, line {number}: {error}") from error
    table = np.array(rows).reshape(len(rows), len(columns))
    return {column: table[:, i] for i, column in enumerate(columns)}
