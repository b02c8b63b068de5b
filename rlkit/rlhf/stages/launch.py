"""From the call of a stage of RLHF to its run: the part that is alike for all stages."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rlkit.configuration import known_options, make_config, require_config
from rlkit.errors import UsageError
from rlkit.files import write_atomically
from rlkit.rlhf.models.device import Device, require_device
from rlkit.rlhf.stages.factories import (
    DPOFactory,
    Factory,
    PolicyFactory,
    RewardFactory,
    SFTFactory,
)
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.rlhf.stages.run_stage import DEVICE, StageSpec, run_stage
from rlkit.rlhf.stages.score_sources import ScoreSource, stored_score
from rlkit.rlhf.stages.sources import copy_name, load_sources, stored_parent
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.configs import (
    METHODS,
    DPOConfig,
    PolicyConfig,
    RewardConfig,
    SFTConfig,
)
from rlkit.runs.identity import plain_data
from rlkit.runs.record import RECORD, record_file
from rlkit.runs.reports import Reports

Config = TypeVar("Config")
LARGEST_COPY = 2**26  # bytes of a file of texts that is copied into the folder of a run


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a stage is run. Of these options, only `seed` changes the results of a seed."""

    seeds: int = 1  # number of seeds, >= 1; more than before adds seeds to the same run
    seed: int = 0  # seed of the experiment, which determines all random numbers, >= 0
    out: Path = Path("runs")  # folder in which each run gets a folder of its own
    workers: int = 1  # processes that share the seeds, >= 1; results are the same for any number
    # continue even if versions have changed, which marks the run as not reproducible
    allow_drift: bool = False
    # where the models are: cpu, cuda or mps. Recorded; a run may be continued on another
    device: Device = "cpu"
    # a name by which the run is found as well as by its folder, and which no other run may have
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))


def split_options(options: Mapping[str, Any]) -> tuple[RunOptions, dict[str, Any]]:
    """Return the run options among some options, and the others."""
    names = [field.name for field in dataclasses.fields(RunOptions)]
    given = {name: options[name] for name in names if name in options}
    rest = {name: value for name, value in options.items() if name not in given}
    return RunOptions(**given), rest


def resolve_config(
    stage: str, config_class: type[Config], config: Any, options: Mapping[str, Any]
) -> Config:
    """Return a config as given, or one made of individual options; reject unknown ones."""
    if config is not None:
        if options:
            raise UsageError(f"give {stage} either a config or individual options, not both")
        if isinstance(config, Mapping):
            return resolve_config(stage, config_class, None, dict(config))
        checked: Config = require_config(f"stage {stage}", config_class, config)
        return checked
    arguments = [field.name for field in dataclasses.fields(RunOptions)]
    known_options(f"the stage {stage}", config_class, options, arguments)
    made: Config = make_config(f"the stage {stage}", config_class, options)
    return made


def launch(
    stage: str,
    factory: Factory,
    num_updates: int,
    options: RunOptions,
    reports: Reports | None,
    *,
    score: Mapping[str, Any] | None = None,
) -> StageRun:
    """Start or continue the run that a factory specifies, until all of its seeds are finished.

    Args:
        stage: its name.
        factory: makes each seed.
        num_updates: of each seed.
        options: how it is run.
        reports: where to report progress.
        score: the identity of what a policy is trained to maximise.
    """
    spec = stage_spec(stage, factory, num_updates, options.seed, score=score)
    return _run(spec, options, reports)


def stage_spec(
    stage: str,
    factory: Factory,
    num_updates: int,
    seed: int,
    *,
    score: Mapping[str, Any] | None = None,
) -> StageSpec:
    """Return the specification of a stage; the arguments are those of `launch`."""
    task, model, parents = factory.task, factory.model, factory.parents
    is_policy = isinstance(factory.config, PolicyConfig)
    folder = factory.score.folder if isinstance(factory, PolicyFactory) else None
    return StageSpec(
        stage=stage,
        label=task.label,
        content={
            "task": task.identity(),
            "model": model.identity(),
            "config": plain_data(factory.config),
            "parents": {name: parent.identity() for name, parent in parents.items()},
            **({} if score is None else {"score": score}),
        },
        sources={
            "task": plain_data(task),
            "model": plain_data(model),
            "parents": {name: plain_data(parent) for name, parent in parents.items()},
            **({} if folder is None else {"classifier": {"folder": folder}}),
        },
        experiment_seed=seed,
        num_updates=num_updates,
        spans_run=True,
        build=factory,
        record_every=1 if is_policy else 10,
        save_every=5 if is_policy else 50,
    )


def _run(spec: StageSpec, options: RunOptions, reports: Reports | None) -> StageRun:
    spec = dataclasses.replace(spec, device=require_device(options.device))
    try:
        return run_stage(
            spec,
            options.seeds,
            options.out,
            workers=options.workers,
            reports=reports,
            allow_drift=options.allow_drift,
            name=options.name,
        )
    finally:
        _keep_texts(Path(options.out) / spec.folder_name(), spec.sources["task"])


def _keep_texts(folder: Path, task: Mapping[str, Any]) -> None:
    """Copy the files of texts into a run, which then stays usable when they are moved."""
    for name, _ in task["digests"]:
        original, copy = Path(task[name]), folder / copy_name(name)
        if copy.exists() or not (folder / RECORD).exists():
            continue
        with contextlib.suppress(OSError):  # the run is complete without
            if original.stat().st_size <= LARGEST_COPY:
                write_atomically(copy, original.read_bytes())
                record_file(folder, STAGE_RUN, copy.name)


_FACTORIES = {"reward": RewardFactory, "dpo": DPOFactory}


def relaunch(
    run: StageRun, *, workers: int, allow_drift: bool, reports: Reports | None
) -> StageRun:
    """Continue a run from its folder alone, with the seeds and updates that it was started with.

    Raises:
        UsageError: its stage is not one of rlkit, its folder has another name than it was given,
            or an input has changed.
    """
    options = RunOptions(
        seeds=int(run.record["num_seeds"]),
        seed=run.experiment_seed,
        out=run.folder.parent,
        workers=workers,
        allow_drift=allow_drift,
        device=run.record.get(DEVICE, "cpu"),
    )
    return _run(stored_spec(run), options, reports)


def stored_spec(run: StageRun) -> StageSpec:
    """Return the specification of a run from its folder alone.

    Raises:
        UsageError: its stage is not one of rlkit, its folder has another name than it was given,
            or an input has changed.
    """
    stage, content = run.stage, run.content
    classes: dict[str, type[Any]] = {
        "sft": SFTConfig,
        "reward": RewardConfig,
        "dpo": DPOConfig,
        **METHODS,
    }
    if stage not in classes:
        raise UsageError(
            f"the run {run.folder} is of the stage {stage!r}, which is not one of rlkit: continue "
            "it with the program that started it"
        )
    task, model = load_sources(run)
    inputs: dict[str, Any] = {
        "task": task,
        "model": model,
        "config": make_config(f"the stage {stage}", classes[stage], content["config"]),
    }
    if stage == "sft":
        factory: Factory = SFTFactory(**inputs)
    elif stage in _FACTORIES:
        factory = _FACTORIES[stage](**inputs, parent=stored_parent(run, "policy"))
    else:
        policy, score = stored_parent(run, "policy"), stored_score(run) or ScoreSource()
        factory = PolicyFactory(**inputs, parent=policy, score=score)
    spec = stage_spec(
        stage, factory, run.num_updates, run.experiment_seed, score=content.get("score")
    )
    if spec.folder_name() != run.folder.name:
        raise UsageError(
            f"the run {run.folder} was renamed, or an input has changed: from its record follows "
            f"the name {spec.folder_name()}"
        )
    return spec
