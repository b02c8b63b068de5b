"""Models in .npz files: plain arrays, from which nothing can be executed.

A file holds either the fields of a `TabularMDP` or the arguments of `TabularMDP.from_arrays`.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.files import array_header, available_bytes, replacing
from rlkit.tabular.memory import require_memory

FLAT = (
    *("probability", "next_state", "reward", "terminated", "row_start", "num_actions"),
    "initial_distribution",
)
DENSE = ("transition", "reward")
_OPTIONAL = {
    FLAT: ("time_limit",),
    DENSE: ("terminal_states", "initial_distribution", "time_limit", "first_axis"),
}
_SCALARS = {"num_actions": "iu", "time_limit": "iu", "first_axis": "U"}


def write_fields(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write arrays and numbers to an .npz file, completely or not at all; None is omitted."""
    with replacing(Path(path)) as file:
        np.savez(file, allow_pickle=False, **{k: v for k, v in fields.items() if v is not None})


def read_fields(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bool]:
    """Return the contents of an .npz file, and whether they are dense arrays.

    Arrays are read-only, so that a `TabularMDP` keeps them without a copy.

    Raises:
        ValueError: the file cannot be read, has other keys or holds Python objects.
    """
    name = f"the model {os.fspath(path)!r}"
    try:
        with open(path, "rb") as raw:
            if not zipfile.is_zipfile(raw):
                raise ValueError(f"{name} cannot be read: it is no complete .npz file")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                keys = _keys(name, file.files)
                _require_room(name, file, keys)
                fields = {key: _field(name, key, file) for key in file.files}
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{name} cannot be read: it is damaged ({error})") from error
    return fields, keys == DENSE


def _keys(name: str, found: list[str]) -> tuple[str, ...]:
    """Return the required keys of the kind of model that a file with these keys holds."""
    required = DENSE if "transition" in found else FLAT
    missing = [key for key in required if key not in found]
    unknown = [key for key in found if key not in (*required, *_OPTIONAL[required])]
    if missing or unknown:
        raise ValueError(
            f"{name}: expected the arrays {', '.join(FLAT)}, or {' and '.join(DENSE)}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )
    return required


def _require_room(name: str, file: Any, keys: tuple[str, ...]) -> None:
    """Raise ValueError where the model does not fit into memory, or claims more than it holds.

    Headers alone are read.
    """
    members = file.zip.infolist()
    total, available = sum(info.file_size for info in members), available_bytes()
    if available is not None and total > available:
        raise ValueError(
            f"{name}: its arrays take {total / 1e9:,.2g} GB of memory, and "
            f"{available / 1e9:,.2g} GB are available"
        )
    for info in members:
        with file.zip.open(info) as member:
            shape, _, dtype = array_header(member, info.filename)
            held = info.file_size - member.tell()
            if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
                raise ValueError(
                    f"{name}: {info.filename} claims the shape {shape} of {dtype}, but holds "
                    f"{held:,} bytes"
                )
    sizes = {info.filename.removesuffix(".npy"): info.file_size for info in members}
    if keys == DENSE:
        # Every entry may be positive, and is copied on the way.
        num_entries = sizes["transition"] // 8
        require_memory(name, num_entries, 0)
    else:
        require_memory(name, sizes["terminated"], sizes["row_start"] // 4)


def _field(name: str, key: str, file: Any) -> Any:
    try:
        array = file[key]
    except ValueError as error:
        raise ValueError(
            f"{name}: {key} holds Python objects, or is no array; save numbers"
        ) from error
    if key in _SCALARS:
        if array.shape != () or array.dtype.kind not in _SCALARS[key]:
            kind = "a text" if _SCALARS[key] == "U" else "a whole number"
            raise ValueError(
                f"{name}: {key} must be {kind}, got {array.dtype} of shape {array.shape}"
            )
        return array.item()
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: {key} must hold numbers, got {array.dtype}")
    array.setflags(write=False)
    return array
