"""The copy of its reference that a run keeps, so that it needs the run of the reference no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError
from rlkit.files import read_ordinary, write_atomically
from rlkit.nn.reference import ReferencePolicy

REFERENCE = "reference.npz"


def write_reference(folder: Path, policy: ReferencePolicy) -> None:
    """Write the reference of a run into its folder, unless it is there."""
    data = policy.to_bytes()
    try:
        if read_ordinary(folder / REFERENCE) == data:
            return
    except OSError:
        pass
    write_atomically(folder / REFERENCE, data)


def stored_reference(folder: Path, record: Mapping[str, Any]) -> ReferencePolicy | None:
    """Return the reference that a run was trained with, None if it has none.

    Raises:
        RlkitError: its copy is missing or damaged.
    """
    if "reference" not in record:
        return None
    path = folder / REFERENCE
    try:
        policy = ReferencePolicy.from_bytes(read_ordinary(path))
        if policy.identity != record["reference"]:
            raise ValueError("it is not the policy that the run was trained with")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RlkitError(
            f"the reference of the run, {path}, cannot be used: {reason}. Restore the file from a "
            "copy, or run the command of training again, which writes it anew"
        ) from error
    return policy
