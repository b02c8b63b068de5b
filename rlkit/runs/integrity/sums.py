"""Sums of a seed's files: what its csv must hold up to its checkpoint, and whose they are.

`checkpoints/seed-000/sums.json` is written before each checkpoint. It covers the bytes of the csv
that were forced to the disk by then, and lists the checkpoints with the part of the csv that each
continues. It lies beside the checkpoints, not in `run.json`, because seeds are trained by different
processes; and not in a checkpoint, whose bytes depend on the seed and the configuration alone.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError
from rlkit.files import read_ordinary
from rlkit.runs.integrity.seals import read_sealed, write_sealed

SUMS = "sums.json"
# Lines of a csv at which its sum is kept, to say which of them was changed.
MOST_MARKS = 128


@dataclass(frozen=True)
class Extent:
    """The first bytes of a file, and their sha256."""

    num_bytes: int = 0
    sha256: str = hashlib.sha256().hexdigest()


Marks = Sequence[tuple[int, str]]  # a number of lines, and 16 digits of the sha256 of them


def lines_of(data: bytes) -> list[bytes]:
    """Return the lines of a file with their ends; the last may be unfinished."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


class LineSums:
    """The running sha256 of a file that lines are appended to."""

    def __init__(self, data: bytes = b"") -> None:
        self._hash = hashlib.sha256()
        self.num_bytes = self._num_lines = 0
        self._every = 1
        self._marks: list[tuple[int, str]] = []
        for line in lines_of(data):
            self.add(line)

    def add(self, line: bytes) -> None:
        """Add a line."""
        self._hash.update(line)
        self.num_bytes += len(line)
        self._num_lines += 1
        if self._num_lines % self._every == 0:
            self._marks.append((self._num_lines, self._hash.copy().hexdigest()[:16]))
            if len(self._marks) > MOST_MARKS:
                self._every *= 2
                self._marks = [mark for mark in self._marks if mark[0] % self._every == 0]

    def now(self) -> LineSums:
        """Return a copy, which later lines do not change."""
        other = copy.copy(self)
        other._hash, other._marks = self._hash.copy(), list(self._marks)
        return other

    @property
    def extent(self) -> Extent:
        """All lines so far."""
        return Extent(self.num_bytes, self._hash.hexdigest())

    @property
    def marks(self) -> Marks:
        """The sums after some of the lines."""
        return tuple(self._marks)


@dataclass(frozen=True)
class SeedSums:
    """What `sums.json` of a seed holds.

    Args:
        run: the digest of the identity of the run; empty where it has no record.
        seed: its index.
        curve: the part of the csv that is covered.
        marks: the sums of some of its lines.
        checkpoints: the part of the csv that each continues, by the name of its file.
    """

    run: str
    seed: int
    curve: Extent = Extent()
    marks: Marks = ()
    checkpoints: Mapping[str, Extent] = field(default_factory=dict)

    def covering(self, lines: LineSums) -> SeedSums:
        """Return the same sums, covering other lines of the csv."""
        return dataclasses.replace(self, curve=lines.extent, marks=lines.marks)


def identity_of(folder: Path) -> str:
    """Return the digest of the identity that a run's record states, or "" where there is none.

    The record itself is checked where it is used; here damage leads to a sum that does not fit.
    """
    try:
        return _identity_in(read_ordinary(folder / "run.json"))
    except OSError:
        return ""


@functools.lru_cache(maxsize=16)  # each checkpoint of each seed asks for it
def _identity_in(record: bytes) -> str:
    try:
        content = loads(record)
    except (ValueError, RecursionError):
        return ""
    identity = content.get("identity", "") if isinstance(content, dict) else ""
    return identity if isinstance(identity, str) else ""


def sums_path(folder: Path, seed: int) -> Path:
    """Return the path of a seed's sums."""
    return folder / "checkpoints" / f"seed-{seed:03d}" / SUMS


def write_sums(folder: Path, sums: SeedSums, *, sync_name: bool = True) -> None:
    """Write the sums of a seed, whose folder exists; `sync_name` as in `write_atomically`."""
    content = {
        "run": sums.run,
        "seed": sums.seed,
        "curve": vars(sums.curve),
        "marks": " ".join(f"{line}:{digest}" for line, digest in sums.marks),
        "checkpoints": {name: vars(part) for name, part in sums.checkpoints.items()},
    }
    write_sealed(sums_path(folder, sums.seed), content, sync_name=sync_name)


def read_sums(folder: Path, seed: int) -> SeedSums | None:
    """Return the sums of a seed, or None where it has no checkpoint or an older rlkit wrote it.

    Raises:
        RlkitError: they are missing, damaged, or those of another run or seed.
    """
    path = sums_path(folder, seed)
    try:
        content = read_sealed(path)
        sums = _from(content)
    except (FileNotFoundError, NotADirectoryError):
        if identity_of(folder) and any(path.parent.glob("step-*.npz")):
            raise RlkitError(f"{path} is missing; {advice(folder, seed)}") from None
        return None
    except RlkitError as error:
        raise RlkitError(f"{error}; {advice(folder, seed)}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RlkitError(
            f"{path} is damaged: it has another form ({error!r}); {advice(folder, seed)}"
        ) from error
    identity = identity_of(folder)
    for what, expected, got in (("run", identity, sums.run), ("seed", seed, sums.seed)):
        if expected not in ("", got) and got != "":
            raise RlkitError(
                f"{path.parent} holds the checkpoints of another {what}: expected those of "
                f"{str(expected)[:10]}, got those of {str(got)[:10]}; {advice(folder, seed)}"
            )
    return sums


def _from(content: Mapping[str, Any]) -> SeedSums:
    return SeedSums(
        str(content["run"]),
        int(content["seed"]),
        _extent(content["curve"]),
        tuple(_mark(text) for text in content["marks"].split()),
        {str(name): _extent(part) for name, part in content["checkpoints"].items()},
    )


def _mark(text: str) -> tuple[int, str]:
    line, _, digest = text.partition(":")
    return int(line), digest


def _extent(part: Mapping[str, Any]) -> Extent:
    num_bytes = part["num_bytes"]
    if not isinstance(num_bytes, int) or isinstance(num_bytes, bool) or num_bytes < 0:
        raise TypeError(f"expected a number of bytes, got {num_bytes!r:.40}")
    return Extent(num_bytes, str(part["sha256"]))


def advice(folder: Path, seed: int) -> str:
    """Return what to do about a file of a seed that cannot be used, as the end of a sentence."""
    return (
        f"restore it from a copy, or move seed-{seed:03d}.csv and checkpoints/seed-{seed:03d} "
        f"away from {folder}, and the same command trains the seed again to the same results"
    )


def curve_problem(data: bytes, sums: SeedSums) -> str | None:
    """Return how the csv of a seed differs from what was written; None if it does not.

    Args:
        data: the bytes of the csv.
        sums: of the seed.

    Returns:
        the line, what was expected and what was got, as the end of a sentence.
    """
    covered = data[: sums.curve.num_bytes]
    is_whole = len(covered) == sums.curve.num_bytes
    if is_whole and hashlib.sha256(covered).hexdigest() == sums.curve.sha256:
        return None
    return _first_difference(covered, sums)


def _first_difference(covered: bytes, sums: SeedSums) -> str:
    lines = lines_of(covered)
    running, equal = hashlib.sha256(), 0
    marks = dict(sums.marks)
    for number, line in enumerate(lines, start=1):
        running.update(line)
        if number not in marks:
            continue
        if running.hexdigest()[:16] != marks[number]:
            where = f"line {number}" if number == equal + 1 else f"lines {equal + 1} to {number}"
            got = line.decode("utf-8", errors="backslashreplace").rstrip("\n")
            got = f", got {got!r:.120}" if number == equal + 1 else ""
            return (
                f"{where}: not what was written: expected the sha256 {marks[number]} up to there"
                f"{got} with {running.hexdigest()[:16]}"
            )
        equal = number
    return (
        f"line {len(lines) + 1}: expected {sums.curve.num_bytes:,} bytes in the file, got "
        f"{len(covered):,} that were written, so that rows were lost"
        if len(covered) < sums.curve.num_bytes
        else f"lines {equal + 1} to {len(lines)}: not what was written: expected the sha256 "
        f"{sums.curve.sha256[:16]} up to there, got {running.hexdigest()[:16]}"
    )
