"""Read access to the folder of any run: its record and its curves."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from functools import cached_property
from json import loads
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError
from rlkit.files import read_ordinary
from rlkit.runs.curves import curve_path, parse_curve
from rlkit.runs.integrity.seals import SEAL, seal_problem, write_sealed
from rlkit.runs.integrity.sums import advice, curve_problem, read_sums
from rlkit.runs.kinds import RunKind, require_kind
from rlkit.runs.progress import warn
from rlkit.user_code import content_digest

Array = NDArray[Any]
RECORD = "run.json"
STOPPED = "stopped"  # where, by what and why the run ended before its target: at, by, reason
IDENTITY = "identity"  # the digest of everything that the results depend on
ALIAS = "alias"  # the name that the user gave the run
_RESTORE = "restore the file from a copy, or train again with another --out"


def read_record(folder: Path, kind: RunKind) -> dict[str, Any]:
    """Return the content of a run's run.json, every key of which has the type that is expected.

    Raises:
        UsageError: there is none, or it is that of a run of another kind.
        RlkitError: it cannot be read, or is damaged; the message names the key.
    """
    path = folder / RECORD
    try:
        data = read_ordinary(path)
        record = loads(data.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{folder} is not the folder of a run: it has no {RECORD}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise RlkitError(f"reading {path} failed: {error}; {_RESTORE}") from error
    content = require_kind(record, path, kind)
    if SEAL in content or IDENTITY in content:  # those of older versions have neither
        problem = seal_problem(data)
        if problem is not None:
            raise RlkitError(f"{path} is damaged: {problem}; {_RESTORE}")
        content.pop(SEAL)
    return content


def target_of(record: Mapping[str, Any], kind: RunKind) -> int:
    """Return how far a run trains its seeds: to its target, or to where it was stopped."""
    target = int(record[kind.counter])
    return min(target, int(record[STOPPED]["at"])) if STOPPED in record else target


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json, with the sha256 of its content."""
    write_sealed(folder / RECORD, record)


def command_line(record: Mapping[str, Any]) -> str:
    """Return the command that began a run, as it is typed."""
    program, *words = record["command"] or [""]
    if program in ("rlkit", "__main__.py"):  # the second is `python -m rlkit`
        return shlex.join(["rlkit", *words])
    return shlex.join(["python", program, *words])


def record_file(folder: Path, kind: RunKind, name: str) -> None:
    """Store the sha256 of a file that was written into the folder of a run, such as a figure."""
    record, digest = read_record(folder, kind), content_digest(str(folder / name))
    if IDENTITY in record and digest is not None:
        write_record(folder, {**record, "files": {**record.get("files", {}), name: digest}})


def file_problem(folder: Path, record: Mapping[str, Any], name: str) -> str | None:
    """Return what is wrong with a file that `record_file` recorded, or None."""
    expected = record.get("files", {}).get(name)
    try:
        got = hashlib.sha256(read_ordinary(folder / name)).hexdigest()
    except FileNotFoundError:
        return f"{folder / name} is missing"
    except OSError as error:
        return f"{folder / name} cannot be read: {error.strerror}"
    if IDENTITY not in record or got == expected:
        return None
    if expected is None:
        return f"{folder / name} has no sum in {RECORD}"
    return f"{folder / name} is damaged: expected the sha256 {expected[:16]}, got {got[:16]}"


def read_rows(folder: Path, seed: int, *, sealed: bool) -> dict[str, Array]:
    """Return the columns of a seed's csv, every byte of which is as it was written.

    Args:
        folder: of the run.
        seed: its index.
        sealed: whether the run has sums. Rows that they do not cover yet are omitted.

    Raises:
        RlkitError: the csv is damaged; the message names the line.
    """
    path = curve_path(folder, seed)
    try:
        data = read_ordinary(path) if path.exists() else b""
    except OSError as error:
        raise RlkitError(
            f"reading {path} failed: {error.strerror}; {advice(folder, seed)}"
        ) from error
    sums = read_sums(folder, seed)
    if sums is None:
        if not sealed:
            return parse_curve(data, path)
        covered = 0
    else:
        problem = curve_problem(data, sums)
        if problem is not None:
            raise RlkitError(f"{path}, {problem}; {advice(folder, seed)}")
        covered = sums.curve.num_bytes
    whole, header = data.count(b"\n", covered), int(covered == 0)
    if whole > header:
        line = data.count(b"\n", 0, covered) + header + 1
        warn(
            f"{path}: the rows from line {line} on are not used: no checkpoint covers them yet, "
            "and the command that continues the run writes them again"
        )
    return parse_curve(data[:covered], path)


class RunFolder:
    """The folder of a run, each part of which is read when it is first used.

    Args:
        folder: where it is.
        kind: what was trained.
        num_seeds: how many of its seeds to show, from the first; None = all.
    """

    def __init__(self, folder: Path, kind: RunKind, *, num_seeds: int | None = None) -> None:
        self.folder = folder
        self.record = read_record(folder, kind)
        self.seeds = list(range(self.record["num_seeds"] if num_seeds is None else num_seeds))

    @property
    def status(self) -> str:
        """running, finished, interrupted or failed."""
        return str(self.record["status"])

    @property
    def failures(self) -> dict[int, str]:
        """Why seeds could not be finished, by seed."""
        return {int(seed): str(f["message"]) for seed, f in self.record["failures"].items()}

    @cached_property
    def columns(self) -> list[dict[str, Array]]:
        """Each seed's csv, column by column."""
        return self._all_columns

    @cached_property
    def _all_columns(self) -> list[dict[str, Array]]:
        sealed = IDENTITY in self.record
        return [read_rows(self.folder, seed, sealed=sealed) for seed in self.seeds]
