"""Checkpoints of seeds: one npz archive of plain numeric arrays per seed and step.

A file is named after its sha256, so a changed file is noticed; nothing executable is ever stored.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.files import sync_folder, write_atomically

Array = NDArray[Any]

CHECKPOINTS_KEPT = 2
# The entry of a checkpoint that was taken before the row of its step was written.
ROW_PENDING = "row_pending"
_CHECKPOINT_NAME = re.compile(r"step-(\d{12,})-([0-9a-f]{64})\.npz")


def save_checkpoint(folder: Path, seed: int, num_steps: int, state: Mapping[str, Array]) -> None:
    """Write a seed's checkpoint, then remove all but the newest ones.

    Args:
        folder: of the run.
        seed: its index.
        num_steps: its environment steps or updates so far.
        state: plain numeric arrays.
    """
    seed_folder = _seed_folder(folder, seed)
    try:
        seed_folder.mkdir(exist_ok=True)
        sync_folder(seed_folder.parent)
    except OSError as error:
        raise RlkitError(
            f"saving a checkpoint in {seed_folder} failed: {error.strerror}; if the run's folder "
            "was moved or deleted, run the same command again in its new place"
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
    """Return the (steps, path) of a seed's checkpoints, newest first."""
    paths = []
    for path in _seed_folder(folder, seed).glob("step-*.npz"):
        match = _CHECKPOINT_NAME.fullmatch(path.name)
        if match:
            paths.append((int(match[1]), path))
    return sorted(paths, reverse=True)


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Return the arrays of a checkpoint after checking its digest.

    Raises:
        ValueError: the file is damaged.
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


def newest_checkpoint(folder: Path, seed: int) -> tuple[int, dict[str, Array], list[str]]:
    """Return a seed's newest sound checkpoint.

    Args:
        folder: of the run.
        seed: its index.

    Returns:
        its steps (0 and an empty state if there is none), its arrays, and a message
        for each damaged file that was skipped.
    """
    problems: list[str] = []
    for num_steps, path in list_checkpoints(folder, seed):
        try:
            return num_steps, read_checkpoint(path), problems
        except ValueError as error:
            problems.append(str(error))
    return 0, {}, problems


def _seed_folder(folder: Path, seed: int) -> Path:
    return folder / "checkpoints" / f"seed-{seed:03d}"
