"""`train`: from a specification to a finished run in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.environments import Environment, EnvLike
from rlkit.errors import RlkitError
from rlkit.networks import prepared_torch
from rlkit.runs import store
from rlkit.runs.execution import Interrupted as Interrupted  # what `train` raises is found here
from rlkit.runs.execution import Plan, carry_out, is_finished, note_siblings
from rlkit.runs.run import Run
from rlkit.runs.specification import RunSpec, make_spec, require_count, versions
from rlkit.runs.training import Reports, Training
from rlkit.runs.workers import refuse_to_be_imported
from rlkit.validation import require_typed

FIGURE = "learning_curve.png"


def train(
    agent: str | type[Any],
    environment: EnvLike,
    *,
    seeds: int = 10,
    steps: int | None = None,
    seed: int = 0,
    envs: int | None = None,
    out: str | Path = "runs",
    workers: int = 1,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = 20,
    native: bool = True,
    allow_drift: bool = False,
    config: Any = None,
    reports: Reports | None = None,
    **options: Any,
) -> Run:
    """Train an agent on an environment for many seeds, or go on where that was left.

    Args:
        agent: a name ("value-iteration", "q-learning", "reinforce", "ppo", "random") or a class
            that keeps the Agent contract.
        environment: a Gymnasium id, "module:Id", "path/to/file.py:Class", a `gymnasium.Env` class
            or a function that returns an environment.
        seeds: how many seeds; more than before adds seeds to the same run.
        steps: environment steps of each seed, rounded up to a multiple of `envs`; the preset's if
            left out. More than before extends the same run, unless a schedule spans it.
        seed: the experiment's seed, from which all seeds are drawn.
        envs: environments of each seed.
        out: the folder in which the run gets its own.
        workers: processes over which the seeds are split; the results are the same for any.
        env_args: keyword arguments of the environment.
        evaluate_every: environment steps between rows of the curve.
        evaluation_episodes: episodes an evaluation where the return is not known exactly; 0 = no
            evaluation at all.
        native: use a batched twin of the environment, or its known model, where there is one.
        allow_drift: go on although versions differ from those the run began with; the run is then
            marked as not reproducible.
        config: the agent's whole configuration, or a mapping of options, instead of single options.
        reports: where to tell of progress.
        options: options of the agent.

    Returns:
        the run; `run.failures` lists seeds that could not be finished.

    Raises:
        UsageError: something cannot be done as asked.
        Interrupted: SIGINT or SIGTERM came; everything is saved, the same call goes on.
    """
    spec = make_spec(
        agent,
        environment,
        steps=steps,
        seed=seed,
        envs=envs,
        env_args=env_args,
        evaluate_every=evaluate_every,
        evaluation_episodes=evaluation_episodes,
        native=native,
        config=config,
        options=options,
    )
    return train_spec(
        spec,
        require_count("seeds", seeds, at_least=1),
        Path(out),
        workers=require_count("workers", workers, at_least=1),
        allow_drift=require_typed("allow_drift", allow_drift, bool),
        reports=reports,
    )


def train_spec(
    spec: RunSpec,
    num_seeds: int,
    out: Path,
    *,
    workers: int = 1,
    allow_drift: bool = False,
    reports: Reports | None = None,
) -> Run:
    """As `train`, for a specification that was made before."""
    refuse_to_be_imported(workers)
    out = Path(os.path.abspath(out))  # an environment may change the working directory
    environment = spec.resolve()
    folder = out / spec.folder_name(environment)
    reports = reports or Reports()
    plan = Plan(
        kind="agent",
        name=spec.agent_name,
        task=environment.name,
        identity=spec.identity(environment),
        counter="num_env_steps",
        target=spec.num_env_steps,
        versions=versions(),
        work=Training(spec, environment),
    )
    _require_fit(spec, environment)
    note_siblings(plan, folder, reports)
    store.prepare_folder(folder)
    if (folder / FIGURE).exists() and is_finished(plan, folder, num_seeds, reports):
        return Run(folder, spec=spec, environment=environment, num_seeds=num_seeds)
    with store.locked(folder), prepared_torch():
        worked = carry_out(
            plan, folder, num_seeds, workers=workers, allow_drift=allow_drift, reports=reports
        )
        run = Run(folder, spec=spec, environment=environment, num_seeds=num_seeds)
        if worked or not (folder / FIGURE).exists():  # it was killed while drawing
            _draw(run)
        return run


def _draw(run: Run) -> None:
    if run.curve.size == 0:  # every seed failed at once
        return
    try:
        run.plot(run.folder / FIGURE)
    except OSError as error:
        raise RlkitError(
            f"drawing {run.folder / FIGURE} failed: {error.strerror}; the run itself is saved"
        ) from error


def _require_fit(spec: RunSpec, environment: Environment) -> None:
    """Let the agent refuse the environment before anything is written."""
    from rlkit.agent import Task
    from rlkit.seeding import SeedStreams

    probe = environment.make()
    probe.close()
    streams = (SeedStreams(spec.experiment_seed, 0),)
    spec.build_agent(
        Task(
            probe.observation_space,
            probe.action_space,
            streams,
            spec.num_envs,
            spec.num_env_steps,
            environment.mdp,
        )
    )
