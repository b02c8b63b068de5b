"""Read access to the folder of any run: its record and its curves."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError
from rlkit.runs.curves import curve_path, read_curve
from rlkit.runs.kinds import RunKind, require_kind

Array = NDArray[Any]
RECORD = "run.json"


def read_record(folder: Path, kind: RunKind) -> dict[str, Any]:
    """Return the content of a run's run.json, every key of which has the type that is expected.

    Raises:
        UsageError: there is none, or it is that of a run of another kind.
        RlkitError: it cannot be read, or is damaged; the message names the key.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{folder} is not the folder of a run: it has no {RECORD}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise RlkitError(f"reading {path} failed: {error}") from error
    return require_kind(record, path, kind)


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
        paths = [curve_path(self.folder, seed) for seed in self.seeds]
        return [read_curve(path) if path.exists() else {} for path in paths]
