"""Checkpoints of seeds: one npz archive of plain numeric arrays per seed and step.

A file is named after its sha256, so a changed file is noticed; nothing executable is ever stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.files import array_header, read_ordinary, sync_folder, write_atomically
from rlkit.runs.curves import curve_path
from rlkit.runs.integrity.archives import archive_of
from rlkit.runs.integrity.sums import (
    Extent,
    LineSums,
    SeedSums,
    curve_problem,
    identity_of,
    read_sums,
    sums_path,
    write_sums,
)

Array = NDArray[Any]

CHECKPOINTS_KEPT = 2
# The entry of a checkpoint that was taken before the row of its step was written.
ROW_PENDING = "row_pending"
# Those to continue from, and that of the best evaluation, which is not.
_CHECKPOINT_NAME = re.compile(r"(?:step|best)-(\d{12,})-([0-9a-f]{64})\.npz")


def save_checkpoint(
    folder: Path,
    seed: int,
    num_steps: int,
    state: Mapping[str, Array],
    *,
    lines: LineSums | None = None,
    continues: Extent | None = None,
) -> None:
    """Write a seed's checkpoint, then remove all but the newest ones.

    Args:
        folder: of the run.
        seed: its index.
        num_steps: its environment steps or updates so far.
        state: plain numeric arrays.
        lines: the sums of the seed's csv; None = the seed has no sums.
        continues: the part of the csv after which the checkpoint continues; None = all of it.
    """
    before = _names(folder, seed)
    stem = f"step-{num_steps:012d}-"
    name = _write_state(folder, seed, stem, state, lines, continues, before)
    # Those of the same step are from before its row was written.
    older = [one for one in before if one.startswith("step-") and not one.startswith(stem)]
    kept = sorted((name, *older), key=_steps_of, reverse=True)[:CHECKPOINTS_KEPT]
    _remove(folder, seed, {one for one in before if one.startswith("step-")}.difference(kept))


def save_best(
    folder: Path,
    seed: int,
    num_steps: int,
    state: Mapping[str, Array],
    *,
    lines: LineSums,
    rows: Extent,
) -> None:
    """Write the state of a seed's best evaluation, then remove the one before.

    Args:
        folder: of the run.
        seed: its index.
        num_steps: at which it was evaluated.
        state: plain numeric arrays.
        lines: the sums of the seed's csv.
        rows: the part of it up to the row of that evaluation.
    """
    before = _names(folder, seed)
    name = _write_state(folder, seed, f"best-{num_steps:012d}-", state, lines, rows, before)
    _remove(folder, seed, {one for one in before if one.startswith("best-") and one != name})


def _write_state(
    folder: Path,
    seed: int,
    stem: str,
    state: Mapping[str, Array],
    lines: LineSums | None,
    rows: Extent | None,
    before: Sequence[str],
) -> str:
    """Write a state under a name that ends with its sha256; return the name.

    Args:
        folder: of the run.
        seed: its index.
        stem: the name up to the sha256.
        state: plain numeric arrays.
        lines: the sums of the seed's csv; None = the seed has no sums.
        rows: the part of the csv after which the state continues; None = all of it.
        before: the names of the seed's checkpoints.
    """
    seed_folder = _seed_folder(folder, seed)
    try:
        if not before:  # otherwise the name of the folder is on the disk
            seed_folder.mkdir(exist_ok=True)
            sync_folder(seed_folder.parent)
    except OSError as error:
        raise RlkitError(
            f"saving a checkpoint in {seed_folder} failed: {error.strerror}; if the run's folder "
            "was moved or deleted, run the same command again in its new place"
        ) from error
    data = archive_of({name: state[name] for name in sorted(state)})
    name = f"{stem}{hashlib.sha256(data).hexdigest()}.npz"
    if lines is not None:  # before the checkpoint, so that there is none without its sums
        _write_sums(folder, seed, name, lines, rows or lines.extent, before)
    write_atomically(seed_folder / name, data)
    return name


def _write_sums(
    folder: Path,
    seed: int,
    name: str,
    lines: LineSums,
    continues: Extent,
    on_disk: Sequence[str],
) -> None:
    before = read_sums(folder, seed)
    known = {} if before is None else before.checkpoints
    listed = {other: part for other, part in known.items() if other in on_disk} | {name: continues}
    sums = SeedSums(identity_of(folder), seed, checkpoints=listed)
    # The checkpoint is written into the same folder next, which forces both names to the disk.
    write_sums(folder, sums.covering(lines), sync_name=False)


def keep_newest(folder: Path, seed: int) -> None:
    """Remove all checkpoints of a seed but the newest, and their sums."""
    older = list_checkpoints(folder, seed)[1:]
    for _, path in older:
        path.unlink(missing_ok=True)
    sums = read_sums(folder, seed)
    if older and sums is not None:
        gone = {path.name for _, path in older}
        listed = {name: part for name, part in sums.checkpoints.items() if name not in gone}
        write_sums(folder, dataclasses.replace(sums, checkpoints=listed))


def list_checkpoints(folder: Path, seed: int) -> list[tuple[int, Path]]:
    """Return the (steps, path) of a seed's checkpoints, newest first."""
    return _list(folder, seed, "step-")


def list_best(folder: Path, seed: int) -> list[tuple[int, Path]]:
    """Return the (steps, path) of the states of a seed's best evaluations: one, but for a kill."""
    return _list(folder, seed, "best-")


def forget_best(folder: Path, seed: int, num_steps: int) -> None:
    """Remove the states of evaluations after a step that a seed continues from."""
    for steps, path in list_best(folder, seed):
        if steps > num_steps:
            path.unlink(missing_ok=True)


def best_problem(folder: Path, seed: int) -> str | None:
    """Return what is wrong with the state of a seed's best evaluation; None if nothing is."""
    known = list_best(folder, seed)
    try:
        sums = read_sums(folder, seed)
        for _, path in known:
            own_checkpoint(folder, seed, path)
    except (ValueError, RlkitError) as error:
        return str(error)
    listed = [] if sums is None else [n for n in sums.checkpoints if n.startswith("best-")]
    if listed and not known:
        return f"the best checkpoint {_seed_folder(folder, seed) / max(listed)} is missing"
    return None


def _list(folder: Path, seed: int, kind: str) -> list[tuple[int, Path]]:
    names = [name for name in _names(folder, seed) if name.startswith(kind)]
    seed_folder = _seed_folder(folder, seed)
    return sorted(((_steps_of(name), seed_folder / name) for name in names), reverse=True)


def _steps_of(name: str) -> int:
    return int(name.split("-")[1])


def _names(folder: Path, seed: int) -> list[str]:
    """Return the names of a seed's checkpoints, in no order."""
    try:
        names = os.listdir(_seed_folder(folder, seed))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [name for name in names if _CHECKPOINT_NAME.fullmatch(name)]


def _remove(folder: Path, seed: int, names: Iterable[str]) -> None:
    for name in names:
        (_seed_folder(folder, seed) / name).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Return the arrays of a checkpoint after checking its digest.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        data = read_ordinary(path)
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
    shape, is_fortran, dtype = array_header(file, entry.filename)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python objects, which are never read")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(
            f"{entry.filename} claims the shape {shape} of {dtype}, but holds "
            f"{len(content) - file.tell()} bytes"
        )
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    array: Array = np.ndarray(shape, dtype, content, file.tell(), order=order)
    return array.copy(order)


def newest_checkpoint(folder: Path, seed: int) -> tuple[int, dict[str, Array], list[str]]:
    """Return a seed's newest sound checkpoint.

    Args:
        folder: of the run.
        seed: its index.

    Returns:
        its steps (0 and an empty state if there is none), its arrays, and a message
        for each damaged or foreign file that was skipped.
    """
    problems: list[str] = []
    for num_steps, path in list_checkpoints(folder, seed):
        try:
            return num_steps, own_checkpoint(folder, seed, path), problems
        except ValueError as error:
            problems.append(str(error))
    return 0, {}, problems


def own_checkpoint(folder: Path, seed: int, path: Path) -> dict[str, Array]:
    """Return the arrays of a checkpoint that this seed of this run wrote.

    Raises:
        ValueError: the file is damaged, or the run did not write it.
    """
    try:
        sums = read_sums(folder, seed)
    except RlkitError as error:
        raise ValueError(str(error)) from error
    state = read_checkpoint(path)
    if sums is not None and path.name not in sums.checkpoints:
        raise ValueError(
            f"checkpoint {path} was not written by seed {seed} of this run: it is not in "
            f"{sums_path(folder, seed)}"
        )
    return state


def adopt(folder: Path, seed: int, run: str) -> None:
    """Give a seed sums of its files as they are: those of older versions of rlkit have none.

    Args:
        folder: of the run.
        seed: its index.
        run: the digest of the identity of the run.
    """
    if not list_checkpoints(folder, seed):
        return
    data = _curve_bytes(folder, seed)
    parts = {}
    for _, checkpoint in list_checkpoints(folder, seed):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged one is not adopted
            num_bytes = int(read_checkpoint(checkpoint)["curve_bytes"])
            parts[checkpoint.name] = LineSums(data[:num_bytes]).extent
    whole = data[: data.rfind(b"\n") + 1]
    sums = SeedSums(run, seed, checkpoints=parts)
    write_sums(folder, sums.covering(LineSums(whole)))


def begin_from(folder: Path, seed: int, num_bytes: int) -> Extent | None:
    """Return what a csv held at the checkpoint that a seed continues from, where that is known.

    From now on the sums cover only that part: the rows after it are written again.
    """
    sums = read_sums(folder, seed)
    if sums is None:
        return None
    data = _curve_bytes(folder, seed)[:num_bytes]
    expected = next((x for x in sums.checkpoints.values() if x.num_bytes == num_bytes), None)
    lines = LineSums(data)
    if num_bytes == 0 or lines.extent == expected:
        write_sums(folder, sums.covering(lines))
    return expected if num_bytes else None


def cover_rows(folder: Path, seed: int) -> None:
    """Have the sums of a seed cover all of its rows, where nobody writes to them any more."""
    sums = read_sums(folder, seed) or SeedSums(identity_of(folder), seed)
    data = _curve_bytes(folder, seed)
    lines = LineSums(data[: data.rfind(b"\n") + 1])
    if lines.extent == sums.curve or curve_problem(data, sums) is not None:
        return
    _seed_folder(folder, seed).mkdir(exist_ok=True)
    write_sums(folder, sums.covering(lines))


def _curve_bytes(folder: Path, seed: int) -> bytes:
    path = curve_path(folder, seed)
    return read_ordinary(path) if path.exists() else b""


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / "checkpoints" / f"seed-{seed:03d}"
