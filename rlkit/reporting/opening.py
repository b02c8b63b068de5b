"""Finds what a report is about: runs, comparisons and stages of RLHF, by folder or as objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError, UsageError
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.rlhf.stages.stage_run import StageRun, load_stage_run
from rlkit.runs.latest import kind_of, named_folder
from rlkit.runs.progress import warn
from rlkit.runs.record import RECORD
from rlkit.training.comparing.comparison import SUMMARY, Comparison, is_comparison, read_summary
from rlkit.training.run import Run

MOST_SUBJECTS = 50


@dataclass(frozen=True)
class Compared:
    """A comparison as its summary.json has it, and the folders of its runs."""

    folder: Path
    summary: Mapping[str, Any]
    runs: Mapping[str, Run]  # by the name of their folder; those that are still there
    missing: Mapping[str, str]  # why a run is not among them, by the name of its folder


Subject = Run | StageRun | Compared
Place = str | Path | Run | StageRun | Comparison


def open_subjects(places: Sequence[Place], *, trust: bool = False) -> list[Subject]:
    """Return what some places hold, each once.

    Args:
        places: runs, comparisons and their folders, `latest`, or folders above them. Runs that a
            comparison below the same folder has are parts of that one.
        trust: run the code that runs name although they were not trained here from it.

    Raises:
        UsageError: there is neither run nor comparison in one of them, or there are too many.
        RlkitError: a record or summary is damaged.
    """
    subjects: dict[Path, Subject] = {}
    for place in places:
        for subject in _opened(place, trust):
            subjects.setdefault(subject.folder.absolute(), subject)
    if len(subjects) > MOST_SUBJECTS:
        raise UsageError(
            f"report: these are {len(subjects)} runs and comparisons, and a report has at most "
            f"{MOST_SUBJECTS}; name single ones"
        )
    return list(subjects.values())


def _opened(place: Place, trust: bool) -> list[Subject]:
    if isinstance(place, Run | StageRun):
        return [place]
    if isinstance(place, Comparison):
        return [_comparison(place.folder, trust)]
    if not isinstance(place, str | Path):
        raise UsageError(f"report: expected runs, comparisons or their folders, got {place!r:.80}")
    folder = named_folder(place)
    if is_comparison(folder):
        one = _comparison(folder, trust)
        _warn_of_others(one)
        return [one]
    if (folder / RECORD).exists():
        return [_run(folder, trust)]
    return _below(folder, trust)


def _run(folder: Path, trust: bool) -> Subject:
    is_stage = kind_of(folder) == STAGE_RUN.name
    return load_stage_run(folder) if is_stage else Run(folder, trust=trust)


def _warn_of_others(one: Compared) -> None:
    """Warn of what lies below the folder of a comparison and is no part of it.

    The first comparison is written into `runs` itself, where all others and all runs are.
    """
    folders = [Path(root) for root, _, _ in os.walk(one.folder)]
    own = {one.folder, *_parts(one)}
    comparisons = [place for place in folders if is_comparison(place) and place not in own]
    used = {run.folder for run in one.runs.values()}
    used |= {one.folder / name for name in one.missing}
    runs = [place for place in folders if (place / RECORD).exists() and place not in used]
    if comparisons or runs:
        warn(
            f"report: {one.folder} is the folder of a comparison, which alone is reported. Below "
            f"it are other comparisons ({len(comparisons)}) and runs ({len(runs)}): name their "
            f"folders to report them, such as {(comparisons or runs)[0]}"
        )


def _parts(one: Compared) -> set[Path]:
    """Return the folders of a comparison on each of its environments, if there are several."""
    parts = one.summary.get("environments", {}).values()
    return {one.folder / str(part.get("folder", "")) for part in parts}


def _below(folder: Path, trust: bool) -> list[Subject]:
    """Return the comparisons below a folder, and the runs that are in none of them."""
    folders = sorted(Path(root) for root, _, _ in os.walk(folder))
    comparisons = [_comparison(one, trust) for one in folders if is_comparison(one)]
    parts = {place for one in comparisons for place in _parts(one)}
    comparisons = [one for one in comparisons if one.folder not in parts]
    used = {run.folder for one in comparisons for run in one.runs.values()}
    runs = [one for one in folders if (one / RECORD).exists() and one not in used]
    if not comparisons and not runs:
        raise UsageError(
            f"report: {folder} is neither the folder of a run nor of a comparison, and there is "
            f"none below: no folder has a {RECORD}, or the {SUMMARY} of a comparison"
        )
    return [*comparisons, *(_run(one, trust) for one in runs)]


def _comparison(folder: Path, trust: bool) -> Compared:
    try:
        summary, problem = read_summary(folder)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"report: {folder / SUMMARY} cannot be read: {error}") from error
    if problem is not None:
        raise RlkitError(f"{problem}; make the comparison again, with the same `rlkit compare`")
    try:
        parts = list(summary.get("environments", {}).values()) or [summary]
        agents = [agent for part in parts for agent in part["agents"].values()]
        names = [str(agent["run"]) for agent in agents]
    except (AttributeError, KeyError, TypeError) as error:
        raise RlkitError(f"{folder / SUMMARY} is not the summary of a comparison") from error
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    for name, agent in zip(names, agents, strict=True):
        if "trained_elsewhere" in agent:  # models that were judged have no folder
            continue
        try:
            runs[name] = _run_of(folder, agent, trust)
        except RlkitError as error:
            missing[name] = str(error)
    return Compared(folder, summary, runs, missing)


def _run_of(folder: Path, agent: Mapping[str, Any], trust: bool) -> Run:
    """Return the run of a contender as it was compared, from beside the comparison or above.

    Raises:
        UsageError: it is in none of these places.
        RlkitError: its files are damaged.
    """
    name = str(agent["run"])
    for place in (folder, folder / "runs", folder.parent, folder.parent.parent, Path("runs")):
        if (place / name / RECORD).exists():
            run = Run(
                place / name,
                num_seeds=len(agent["final"]),
                num_env_steps=int(agent["env_steps"]),
                trust=trust,
            )
            _ = run.curve  # read now, so that damage is found here
            return run
    raise UsageError(
        "the folder of the run is not beside the comparison, so curve, settings and film are "
        "omitted"
    )
