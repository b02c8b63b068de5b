"""Takes up a seed where its last sound checkpoint left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.runs import store
from rlkit.runs.reports import Reports

Array = NDArray[Any]


def take_up(folder: Path, seed: int, unit: str, reports: Reports) -> tuple[int, dict[str, Array]]:
    """Return from where a seed goes on: its steps or updates so far, and its state.

    Raises:
        RlkitError: it has checkpoints, but none that is sound.
    """
    done, state, problems = store.newest_checkpoint(folder, seed)
    if problems and not state:
        raise RlkitError(
            f"seed {seed} cannot go on: {'; '.join(problems)}. Nothing was deleted: "
            "restore one of these files, or move them away to train the seed again from "
            "the start"
        )
    for problem in problems:
        reports.note(
            f"{problem}; seed {seed} goes on from the checkpoint before it, at {done:,} {unit}"
        )
    return done, state
