"""The copies of what a run was trained from, so that it does not need their origins again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.errors import RlkitError
from rlkit.files import read_ordinary, write_atomically
from rlkit.nn.demonstrations import Demonstrations
from rlkit.nn.reference import ReferencePolicy
from rlkit.runs.record import record_file
from rlkit.training.kind import AGENT_RUN

REFERENCE = "reference.npz"
Origin = ReferencePolicy | Demonstrations


class Copy(NamedTuple):
    """The copy of one origin of a run.

    Args:
        file: its name in the folder of the run.
        read: (content of the file) -> the origin.
        what: it is, for messages.
    """

    file: str
    read: Callable[[bytes], Origin]
    what: str


# By the name in a specification and in run.json.
COPIES = {
    "reference": Copy(REFERENCE, ReferencePolicy.from_bytes, "reference"),
    "init": Copy("init.npz", ReferencePolicy.from_bytes, "initial policy"),
    "demonstrations": Copy("demonstrations.npz", Demonstrations.from_bytes, "demonstrations"),
}


def origins_of(spec: Any) -> dict[str, Origin]:
    """Return what the run of a specification is trained from, by the names of `COPIES`."""
    named = {name: getattr(spec, name) for name in COPIES}
    return {name: one for name, one in named.items() if isinstance(one, Origin)}


def write_copies(folder: Path, spec: Any) -> None:
    """Write copies of what a run is trained from into its folder, unless they are there."""
    for name, origin in origins_of(spec).items():
        write_copy(folder, name, origin)


def record_copies(folder: Path, spec: Any) -> None:
    """Write the sums of the copies into run.json."""
    for name in origins_of(spec):
        record_file(folder, AGENT_RUN, COPIES[name].file)


def write_copy(folder: Path, name: str, origin: Origin) -> None:
    """Write the copy of an origin into the folder of a run, unless it is there."""
    path, data = folder / COPIES[name].file, origin.to_bytes()
    try:
        if read_ordinary(path) == data:
            return
    except OSError:
        pass
    write_atomically(path, data)


def stored_copy(folder: Path, record: Mapping[str, Any], name: str) -> Origin | None:
    """Return what a run was trained from, None if the record has no such origin.

    Raises:
        RlkitError: its copy is missing or damaged.
    """
    if name not in record:
        return None
    copy = COPIES[name]
    path = folder / copy.file
    try:
        origin = copy.read(read_ordinary(path))
        if origin.identity != record[name]:
            raise ValueError(f"it is not the {copy.what} that the run was trained with")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RlkitError(
            f"the {copy.what} of the run, {path}, cannot be used: {reason}. Restore the file from "
            "a copy, or run the command of training again, which writes it anew"
        ) from error
    return origin
