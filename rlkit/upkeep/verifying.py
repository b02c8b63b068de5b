"""`verify`: every file of runs of any kind against its sha256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.files import read_ordinary
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.runs.integrity.verify import Verdict, runs_below, verify_run
from rlkit.runs.kinds import RunKind
from rlkit.runs.record import RECORD
from rlkit.training.kind import AGENT_RUN


def record_of(folder: Path) -> Mapping[str, Any]:
    """Return what can be read of a record; that it is sound is checked where it is used."""
    try:
        content = json.loads(read_ordinary(folder / RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def kind_of(folder: Path) -> RunKind:
    return STAGE_RUN if record_of(folder).get("kind") == STAGE_RUN.name else AGENT_RUN


def verify(*places: str | Path) -> list[Verdict]:
    """Check every file of some runs against its sha256.

    Args:
        places: folders of runs, or folders above them.

    Returns:
        a verdict per run: which of its seeds are complete, and each damage as one sentence.

    Raises:
        UsageError: there is no run in a folder or below.
    """
    return [verify_run(folder, kind_of(folder)) for folder in runs_below(places)]
