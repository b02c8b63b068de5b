"""From the call of a stage of RLHF to its run: the part that is alike for all stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rlkit.configuration import known_options, make_config, require_config
from rlkit.errors import UsageError
from rlkit.rlhf.stages.factories import Factory
from rlkit.rlhf.stages.run_stage import StageSpec, run_stage
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.configs import PolicyConfig
from rlkit.runs.identity import plain_data
from rlkit.runs.reports import Reports

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a stage is run. Of these options, only `seed` changes the results of a seed."""

    seeds: int = 1  # number of seeds, >= 1; more than before adds seeds to the same run
    seed: int = 0  # seed of the experiment, which determines all random numbers, >= 0
    out: Path = Path("runs")  # folder in which each run gets a folder of its own
    workers: int = 1  # processes that share the seeds, >= 1; results are the same for any number
    # continue even if versions have changed, which marks the run as not reproducible
    allow_drift: bool = False

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
    task, model, parents = factory.task, factory.model, factory.parents
    is_policy = isinstance(factory.config, PolicyConfig)
    spec = StageSpec(
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
        },
        experiment_seed=options.seed,
        num_updates=num_updates,
        spans_run=True,
        build=factory,
        record_every=1 if is_policy else 10,
        save_every=5 if is_policy else 50,
    )
    return run_stage(
        spec,
        options.seeds,
        options.out,
        workers=options.workers,
        reports=reports,
        allow_drift=options.allow_drift,
    )
