"""`resume`: all unfinished runs below a folder, one after another."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError, UsageError
from rlkit.options import require_count, require_typed
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.runs.execution import require_continuable, require_same
from rlkit.runs.integrity.trust import is_from_here, require_from_here, trusting
from rlkit.runs.integrity.verify import runs_below, verify_run
from rlkit.runs.latest import named_folder
from rlkit.runs.progress import python_reports
from rlkit.runs.reports import Reports
from rlkit.upkeep.verifying import kind_of, record_of


@dataclass(frozen=True)
class Outcome:
    """What became of one run: complete, finished, failed or impossible to continue."""

    folder: Path
    state: str
    message: str = ""
    exit_code: int = 0


def resume(
    place: str | Path,
    *,
    workers: int = 1,
    allow_drift: bool = False,
    trust: bool = False,
    reports: Reports | None = None,
) -> list[Outcome]:
    """Continue all unfinished runs in a folder and below, one after another.

    Args:
        place: the folder.
        workers: processes over which the seeds of each run are split.
        allow_drift: continue although versions differ, which marks runs as not reproducible.
        trust: run the code that runs name although they were not trained on this machine from it.
        reports: where to report progress and notes.

    Returns:
        what became of each run; those that cannot be continued have the reason.

    Raises:
        UsageError: there is no run below the folder.
        Interrupted: a signal came; everything is saved, and the same call continues.
    """
    workers = require_count("workers", workers, at_least=1)
    options: dict[str, Any] = {
        "workers": workers,
        "allow_drift": require_typed("allow_drift", allow_drift, bool),
    }
    folders = _parents_first(runs_below([named_folder(place)]))
    options["trust"] = require_typed("trust", trust, bool)
    with trusting(trust):
        if reports is not None:
            return [_outcome(folder, options, reports) for folder in folders]
        with python_reports() as own:
            return [_outcome(folder, options, own) for folder in folders]


def _outcome(folder: Path, options: Mapping[str, Any], reports: Reports) -> Outcome:
    kind = kind_of(folder)
    verdict = verify_run(folder, kind)
    if not verdict.problems and len(verdict.complete) == len(verdict.seeds):
        return Outcome(folder, "complete")
    if not verdict.what:
        return Outcome(folder, "cannot be continued", verdict.problems[0], 1)
    again = _resume_stage if kind is STAGE_RUN else _resume_agent
    place = folder.absolute()
    try:
        with _where_it_began(record_of(folder)):
            run = again(place, options, reports)
    except RlkitError as error:
        return Outcome(folder, "cannot be continued", str(error), error.exit_code)
    failures: Mapping[str, Any] = run.record["failures"]
    if not failures:
        return Outcome(folder, str(run.status))
    listed = "; ".join(f"seed {seed}: {failure['message']}" for seed, failure in failures.items())
    return Outcome(folder, "failed", listed, max(int(f["exit_code"]) for f in failures.values()))


@contextlib.contextmanager
def _where_it_began(record: Mapping[str, Any]) -> Iterator[None]:
    """Work in the folder from which a run named its code, where that is not in the present one.

    Python may import from the folder that it works in, so only a run of this machine chooses it.
    """
    from rlkit.training.playing.environment import folder_of_training

    names: tuple[Any, ...] = ()
    if is_from_here(record):
        reward = record.get("reward", {}).get("name")
        names = (record.get("environment"), record.get("agent_reference"), reward)
    for name in filter(None, names):
        began, head = folder_of_training(record, name), name.rpartition(":")[0]
        if began is not None and not Path(head).exists() and (began / head).is_file():
            with contextlib.chdir(began):
                yield
            return
    yield


def _resume_agent(folder: Path, options: Mapping[str, Any], reports: Reports) -> Any:
    from rlkit.training.prepare import prepare
    from rlkit.training.run import Run
    from rlkit.training.train import train_prepared
    from rlkit.training.watching.callbacks import stop_again
    from rlkit.training.watching.watch import Watching

    options = dict(options)
    run = Run(folder, trust=options.pop("trust"))
    num_seeds = int(run.record["num_seeds"])
    if "reward" in run.record:
        name = run.record["reward"]["name"]
        require_from_here(folder, run.record, f"the reward function {name}")
    labeller = (run.record["config"] or {}).get("labeller", "truth")
    if labeller != "truth":
        require_from_here(folder, run.record, f"the labeller {labeller}")
    prepared = prepare(
        *(run.spec, num_seeds, folder.parent),
        environment=run.environment,
        allow_drift=options["allow_drift"],
    )
    if not prepared.request.resumable:
        raise UsageError(
            f"the run {folder} was trained on something that rlkit cannot identify, so nothing "
            "shows that it would continue as it began; train it again"
        )
    drift = options["allow_drift"]
    require_continuable(prepared.request, folder, run.record, allow_drift=drift)
    require_same(prepared.request, folder, run.record)  # its folder may have another name
    prepared = dataclasses.replace(prepared, folder=folder)
    watching = Watching(callbacks=stop_again(run.record))
    return train_prepared(prepared, num_seeds, **options, watching=watching, reports=reports)


def _resume_stage(folder: Path, options: Mapping[str, Any], reports: Reports) -> Any:
    from rlkit.rlhf.stages.launch import relaunch
    from rlkit.rlhf.stages.stage_run import load_stage_run

    options = {name: value for name, value in options.items() if name != "trust"}
    return relaunch(load_stage_run(folder), **options, reports=reports)


def _parents_first(folders: Sequence[Path]) -> list[Path]:
    """Return folders of runs in an order in which stages come after those that they start from."""
    by_name = {folder.name: folder for folder in folders}
    ordered: dict[Path, None] = {}

    def add(folder: Path, above: tuple[Path, ...] = ()) -> None:
        sources = record_of(folder).get("sources")
        parents = sources.get("parents") if isinstance(sources, dict) else None
        for parent in parents.values() if isinstance(parents, dict) else ():
            name = Path(str(parent.get("folder"))).name if isinstance(parent, dict) else ""
            if name in by_name and by_name[name] not in above:
                add(by_name[name], (*above, folder))
        ordered[folder] = None

    for folder in folders:
        add(folder)
    return list(ordered)
