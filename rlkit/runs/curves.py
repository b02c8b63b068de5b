"""Curves of seeds: one csv per seed, whose bytes depend only on the numbers in it."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.files import read_ordinary, sync_folder
from rlkit.runs.integrity.sums import Extent, LineSums

Array = NDArray[Any]

COUNTER = "num_"  # begins the name of a first column that grows from row to row
# `float` would also take spaces, underscores and a carriage return.
_ROW = re.compile(r"[-+.,0-9einf]*")


def curve_path(folder: Path, seed: int) -> Path:
    """Return the path of a seed's csv."""
    return folder / f"seed-{seed:03d}.csv"


class CurveFile:
    """Appends rows to a seed's csv; the same numbers always give the same bytes.

    Rows wait in memory until `flush`, because a fast run has thousands of them in a second. The
    file is open only while it is read or written, so that there may be more seeds than a process
    may have files open.

    Args:
        path: the file.
        columns: names, written as its first line.
        num_bytes: the length of the part of an existing file to keep; the rest is removed.
        expected: what that part was when it was written, if known.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], num_bytes: int, expected: Extent | None = None
    ) -> None:
        self._path, self._columns = path, tuple(columns)
        self._waiting: list[bytes] = []
        is_new = not path.exists()
        with io.FileIO(self._open(os.O_CREAT), "r+") as file:
            length = file.seek(0, os.SEEK_END)
            if length < num_bytes:
                raise RlkitError(
                    f"{path} has {length} bytes, but its checkpoint belongs to {num_bytes}: rows "
                    "were lost. Restore the file, or move it and the checkpoints of the seed away "
                    "to train the seed again from the start"
                )
            kept = _read(file, num_bytes)
            self._sums = LineSums(kept)
            if expected is not None and num_bytes and expected != self._sums.extent:
                raise RlkitError(
                    f"{path} is damaged: expected the sha256 {expected.sha256[:16]} of its first "
                    f"{num_bytes:,} bytes, got {self._sums.extent.sha256[:16]}"
                )
            if num_bytes:
                self._require_columns(kept)
            file.truncate(num_bytes)
        if num_bytes == 0:
            self._append(self._columns)
            self.flush()
        if is_new:
            sync_folder(path.parent)

    def _open(self, flags: int = 0) -> int:
        """Return a new descriptor of the file."""
        try:
            return os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o666)
        except FileNotFoundError:
            if flags:
                raise
            raise RlkitError(
                f"{self._path} was deleted while the run was writing it, so the run is incomplete; "
                "start it again"
            ) from None
        except OSError as error:
            raise RlkitError(f"opening {self._path} failed: {error.strerror}") from error

    def _require_columns(self, kept: bytes) -> None:
        """Reject a file whose columns are not those that the rows to come will have."""
        header = kept.partition(b"\n")[0].decode("utf-8", errors="replace")
        if header != ",".join(self._columns):
            raise RlkitError(
                f"{self._path} has the columns {header}, but this version of rlkit writes "
                f"{','.join(self._columns)}: continue the run with the version that began it, or "
                "train again with another --out"
            )

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Append one row, which is in the file after `flush`."""
        self._append([_cell(row.get(column)) for column in self._columns])

    def _append(self, cells: Sequence[str]) -> None:
        line = (",".join(cells) + "\n").encode()
        self._waiting.append(line)
        self._sums.add(line)

    def flush(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        begin, written = self.num_bytes - len(data), 0
        descriptor = self._open()
        try:
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], begin + written)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(descriptor, begin)
            raise RlkitError(
                f"appending to {self._path} failed: {error.strerror}; make room and run the "
                "same command again, which continues from the last checkpoint"
            ) from error
        finally:
            os.close(descriptor)
        self._waiting.clear()

    @property
    def num_bytes(self) -> int:
        """The length of the file with all rows, those that wait too."""
        return self._sums.num_bytes

    @property
    def sums(self) -> LineSums:
        """The sums of all rows so far."""
        return self._sums

    def sync(self) -> None:
        """Force what was flushed to the disk."""
        descriptor = self._open()
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise RlkitError(f"saving {self._path} failed: {error.strerror}") from error
        finally:
            os.close(descriptor)


def _read(file: io.FileIO, num_bytes: int) -> bytes:
    file.seek(0)
    parts = []
    while num_bytes and (part := file.read(num_bytes)):
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _cell(value: float | int | None) -> str:
    if value is None or value != value:  # NaN
        return ""
    if type(value) is float:
        return repr(value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    return repr(float(value))


def read_curve(path: Path) -> dict[str, Array]:
    """Return the columns of a seed's csv; empty cells are NaN, an unfinished last line is dropped.

    Raises:
        RlkitError: a line does not have the form that was written, with its number.
    """
    return parse_curve(read_ordinary(path), path)


def parse_curve(data: bytes, path: Path) -> dict[str, Array]:
    """Return the columns of the content of a csv; see `read_curve`."""
    text = data.decode("utf-8", errors="replace")
    lines = text.split("\n")
    lines.pop()  # after the last newline: nothing, or an unfinished row
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
                raise ValueError("it has characters other than those of numbers and commas")
            if len(cells) != len(columns):
                raise ValueError(f"expected {len(columns)} cells, got {len(cells)}")
            rows.append([float(cell) if cell else math.nan for cell in cells])
            if len(rows) > 1 and columns[0].startswith(COUNTER) and rows[-1][0] <= rows[-2][0]:
                raise ValueError(f"{columns[0]} is {cells[0]}, not more than in the row before")
        except ValueError as error:
            raise RlkitError(f"{path}, line {number}: {error}") from error
    table = np.array(rows).reshape(len(rows), len(columns))
    return {column: table[:, i] for i, column in enumerate(columns)}
