"""What the folder of any run can show: its record, its curves, its checkpoints."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError
from rlkit.runs import store
from rlkit.runs.record_form import require_form

Array = NDArray[Any]
Kind = Literal["agent", "stage"]  # what was trained; only the record of a stage says it

# Format 2 of an agent's run: episodes are reset with integers below 2^31, and the identity holds
# what the environment is made of. Runs of format 1 can be opened, but not continued.
FORMATS: dict[Kind, int] = {"agent": 2, "stage": 1}
RECORD = "run.json"


def read_record(folder: Path, kind: Kind = "agent") -> dict[str, Any]:
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
    if not isinstance(record, dict) or record.get("format") not in FORMATS.values():
        raise RlkitError(f"{path} is not the record of a run in a format that is known here")
    stored = record.get("kind", "agent")
    if stored not in ("agent", "stage"):
        raise RlkitError(f"{path} is the record of a run of the kind {stored!r}, not known here")
    require_form(record, path, stored)
    if stored == kind:
        return record
    if stored == "stage":
        raise UsageError(
            f"{folder} is the run of a stage of RLHF, {record['stage']!r} on {record['label']!r}: "
            "it has no agent and no environment; open it with "
            "rlkit.rlhf.stages.stage_run.load_stage_run"
        )
    raise UsageError(
        f"{folder} is the run of the agent {record['agent']!r} on {record['environment']!r}, "
        "not of a stage of RLHF; open it with rlkit.load"
    )


class RunFolder:
    """The folder of a run, read when it is asked for something.

    Args:
        folder: where it is.
        num_seeds: how many of its seeds to show, from the first; None = all.
        kind: what was trained.
    """

    def __init__(self, folder: Path, *, num_seeds: int | None = None, kind: Kind = "agent") -> None:
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
        return [
            store.read_curve(path) if path.exists() else {}
            for path in (store.curve_path(self.folder, seed) for seed in self.seeds)
        ]
