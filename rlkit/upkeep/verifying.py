"""`verify`: every file of runs of any kind against its sha256."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit.files import read_ordinary
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.runs.integrity.verify import Verdict, runs_below, verify_run
from rlkit.runs.kinds import RunKind
from rlkit.runs.latest import named_folder
from rlkit.runs.record import RECORD
from rlkit.training.comparing.comparison import SUMMARY, is_comparison, verify_comparison
from rlkit.training.kind import AGENT_RUN
from rlkit.training.tuning.study import STUDY, verify_study


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
        places: folders of runs, comparisons and tuning, or folders above them.

    Returns:
        a verdict per run, and then one per comparison and per study of tuning: which of its seeds
        are complete, and each damage as one sentence.

    Raises:
        UsageError: there is neither in a folder or below.
    """
    places = tuple(named_folder(place) for place in places)
    compared = {Path(place): _below(place, SUMMARY, is_comparison) for place in places}
    # A folder that holds comparisons alone has no run, which is no mistake.
    with_runs = [place for place, known in compared.items() if not known or _below(place, RECORD)]
    verdicts = [verify_run(folder, kind_of(folder)) for folder in runs_below(with_runs)]
    comparisons = dict.fromkeys(folder for known in compared.values() for folder in known)
    verdicts += [verify_comparison(folder) for folder in comparisons]
    studies = dict.fromkeys(folder for place in places for folder in _below(place, STUDY))
    return verdicts + [verify_study(folder) for folder in studies]


def _below(
    place: str | Path, name: str, fits: Callable[[Path], bool] = lambda folder: True
) -> list[Path]:
    """Return the folders at a place and below that have a file of a name and fit."""
    folders = sorted(Path(root) for root, _, files in os.walk(place) if name in files)
    return [folder for folder in folders if fits(folder)]
