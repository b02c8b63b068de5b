"""From the call of a stage of RLHF to its run: what all stages do alike.

A call gives options of its config and of its execution side by side. They are told apart and
checked here, and with the sources, the parents and the Build they make the specification of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.configuration import known_options, make_config, require_config
from rlkit.errors import UsageError
from rlkit.rlhf.stages.run_stage import Stage, StageSpec, run_stage
from rlkit.rlhf.stages.sources import ModelSource, Parent, TaskSource, plain
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.configs import PolicyConfig
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams


@dataclass(frozen=True)
class Execution:
    """How a stage is run, which changes nothing in its results."""

    seeds: int = 1
    seed: int = 0  # of the experiment, from which all are drawn; this one does matter
    out: str | Path = "runs"
    workers: int = 1
    allow_drift: bool = False
    reports: Reports | None = None


def split_execution(
    execution: Execution | None, options: dict[str, Any]
) -> tuple[Execution, dict[str, Any]]:
    """The execution with what the options say of it, and the other options."""
    names = [field.name for field in dataclasses.fields(Execution)]
    own = {name: options[name] for name in names if name in options}
    rest = {name: value for name, value in options.items() if name not in own}
    return dataclasses.replace(execution or Execution(), **own), rest


def config_of(config_class: Any, config: Any, options: dict[str, Any], stage: str) -> Any:
    """The config as given, or one made of single options; unknown ones are refused."""
    if config is not None:
        if options:
            raise UsageError(f"give {stage} either a config or single options, not both")
        if isinstance(config, Mapping):
            return config_of(config_class, None, dict(config), stage)
        return require_config(f"stage {stage}", config_class, config)
    arguments = [field.name for field in dataclasses.fields(Execution)]
    known_options(f"the stage {stage}", config_class, options, arguments)
    return make_config(f"the stage {stage}", config_class, options)


def launch(
    stage: str,
    task: TaskSource,
    model: ModelSource,
    config: Any,
    parents: dict[str, Parent],
    build: Callable[[SeedStreams], Stage],
    num_updates: int,
    execution: Execution,
    *,
    extra: dict[str, Any] | None = None,
) -> StageRun:
    """Begin or continue the run that these arguments specify, until all of its seeds are done.

    `extra` is more of what its results depend on.
    """
    is_policy = isinstance(config, PolicyConfig)
    spec = StageSpec(
        stage=stage,
        label=task.label,
        content={
            "task": task.identity(),
            "model": model.identity(),
            "config": plain(config),
            "parents": {name: parent.identity() for name, parent in parents.items()},
            **(extra or {}),
        },
        sources={
            "task": plain(task),
            "model": model.content(),
            "parents": {name: plain(parent) for name, parent in parents.items()},
        },
        experiment_seed=execution.seed,
        num_updates=num_updates,
        spans_run=True,
        build=build,
        record_every=1 if is_policy else 10,
        save_every=5 if is_policy else 50,
    )
    return run_stage(
        spec,
        execution.seeds,
        execution.out,
        workers=execution.workers,
        reports=execution.reports,
        allow_drift=execution.allow_drift,
    )
