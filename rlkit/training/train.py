"""`train`: from a specification to a finished run in its folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.determinism import own_settings, prepared_torch
from rlkit.environments.resolve import EnvLike
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import AllSeedsFailed
from rlkit.nn.demonstrations import Demonstrations
from rlkit.options import require_count, require_typed
from rlkit.processes.sending import require_main_guard
from rlkit.rewards import RewardFunction
from rlkit.runs import store
from rlkit.runs.execution import Interrupted as Interrupted  # `train` raises it
from rlkit.runs.execution import (
    execute,
    is_finished,
    warn_about_similar_runs,
)
from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.latest import name_run, require_free_name
from rlkit.runs.progress import python_reports, warn
from rlkit.runs.record import ALIAS, file_problem, read_record, record_file, write_record
from rlkit.runs.reports import Reports
from rlkit.training.figures import save_curve
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.copies import record_copies, write_copies
from rlkit.training.prepare import Prepared, prepare
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES
from rlkit.training.run import Run
from rlkit.training.specification import RunSpec, make_spec
from rlkit.training.watching.callbacks import Callback
from rlkit.training.watching.rules import make_rules
from rlkit.training.watching.watch import Watching

FIGURE = "learning_curve.png"
# The arguments of `train` that `make_spec` gets as they are.
_OF_SPEC = (
    *("steps", "seed", "envs", "env_args", "evaluate_every", "evaluation_episodes", "native"),
    *("compiled", "bins", "bin_low", "bin_high", "env_workers", "env_timeout", "rescale_actions"),
    *("action_masks", "reward", "reference", "reference_seed", "keep_best", "config"),
    *("init_seed", "demonstrations"),
)
_OF_WATCHING = ("callbacks", "tensorboard", "tensorboard_seeds", "track")


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
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES,
    native: bool = True,
    compiled: bool = True,
    bins: int | Sequence[int] | None = None,
    bin_low: float | Sequence[float] | None = None,
    bin_high: float | Sequence[float] | None = None,
    env_workers: int = 0,
    env_timeout: float = ENV_TIMEOUT,
    rescale_actions: bool = False,
    action_masks: bool = False,
    reward: str | RewardFunction | None = None,
    reference: str | Path | Run | None = None,
    reference_seed: int = 0,
    init_seed: int = 0,
    demonstrations: str | Path | Run | Demonstrations | None = None,
    allow_drift: bool = False,
    name: str | None = None,
    until_return: float | None = None,
    patience: int | None = None,
    keep_best: bool = False,
    callbacks: Sequence[Callback] = (),
    tensorboard: str | Path | None = None,
    tensorboard_seeds: bool = False,
    track: str | None = None,
    config: Any = None,
    reports: Reports | None = None,
    **options: Any,
) -> Run:
    """Train an agent on an environment for many seeds, or continue where that stopped.

    Args:
        agent: a name ("value-iteration", "q-learning", "reinforce", "ppo", "random") or a class
            that follows the Agent contract.
        environment: a Gymnasium id, "module:Id", "path/to/file.py:Class", a `gymnasium.Env` class
            or a function that returns an environment.
        seeds: how many seeds; more than before adds seeds to the same run.
        steps: environment steps of each seed, rounded up to a multiple of `envs`; the preset's if
            omitted. More than before extends the same run, unless a schedule spans it.
        seed: the experiment's seed, from which all seeds are drawn.
        envs: environments of each seed.
        out: the folder in which the run gets its own.
        workers: processes over which the seeds are split; the results are the same for any.
        env_args: keyword arguments of the environment.
        evaluate_every: environment steps between rows of the curve.
        evaluation_episodes: episodes per evaluation where the return is not known exactly; 0 = no
            evaluation.
        native: use a batched twin of the environment, or its known model, where there is one.
        compiled: use the compiled loop where there is one, which gives the same results: tabular
            agents of rlkit, and your own with kernels, in environments with a known model.
        bins: divide each number of a Box observation into so many bins, one number or one for each
            dimension, for agents with tables; without it the preset's.
        bin_low: lower limits of the bins, likewise; by default the bounds of the space. Values
            outside fall into the outermost bins.
        bin_high: upper limits of the bins.
        env_workers: processes of each worker that step the environments, for slow ones; 0 = none
            but the worker itself. The results are the same for any.
        env_timeout: seconds that a constructor, reset or step of an environment may take.
        rescale_actions: let the agent act in [-1, 1] where actions of a Box have two bounds.
        action_masks: let the agent choose only among the actions that the environment allows, by
            `info["action_mask"]` or a method `action_masks()`.
        reward: learn from a reward of your own in place of the environment's: a function
            `reward(observations, actions, next_observations, terminated)` of the N environments of
            a seed, or its name, "path/to/file.py:function"; see `rlkit.rewards`. Returns and
            evaluation stay those of the environment.
        reference: for ppo and reinforce, the policy to stay near: a run, its folder, or "uniform";
            `kl_coef` is the penalty of each nat of divergence, in units of reward. The run keeps a
            copy of it.
        reference_seed: the seed of that run whose final policy it is.
        init_seed: for the option `init` of ppo and reinforce, where it is a run or its folder: the
            seed of that run from whose final policy every seed starts.
        demonstrations: for behaviour-cloning, what it imitates: a run or its folder, a file of
            observations and actions (.csv, .jsonl, .npz), "minari:NAME" of a local dataset, or
            `Demonstrations`. The run keeps a copy of them.
        allow_drift: continue although versions differ from those the run began with; the run is
            then marked as not reproducible.
        name: by which the run is found as well as by its folder; no other run in `out` may have it.
        until_return: end the run at the first evaluation at which the lower end of the 95 %
            interval of the mean over seeds is this return or more.
        patience: end the run when the mean over seeds has not risen for so many evaluations.
        keep_best: also keep the policy of each seed at its best evaluation, for
            `run.actor(seed, which="best")`.
        callbacks: functions of a `Progress`, called at each evaluation once all seeds are there;
            one that returns "stop" ends the run.
        tensorboard: a folder for TensorBoard, in which the run gets one with its event files: mean
            and interval of each metric over seeds.
        tensorboard_seeds: also write a scalar for each seed.
        track: "trackio" or "wandb", to which the same scalars are sent.
        config: the agent's whole configuration, or a mapping of options, instead of single ones.
        reports: where to report progress and notes; by default a bar on terminals and in
            notebooks, warnings of the class `rlkit.RlkitWarning`, and failures as below.
        options: options of the agent.

    Returns:
        the run; `run.failures` lists seeds that could not be finished.

    Raises:
        UsageError: an argument cannot be used.
        AllSeedsFailed: no seed could be finished; some are a warning.
        CallbackError: a callback raised; the run is kept, and the same call continues it.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; everything is saved, and the same call
            continues. It is a KeyboardInterrupt.
    """
    given: dict[str, Any] = dict(locals())
    seeds = require_count("seeds", seeds, at_least=1, at_most=MOST_SEEDS)
    rules = make_rules(seeds, until_return=until_return, patience=patience)
    of_spec = {name: given[name] for name in _OF_SPEC}
    spec = make_spec(agent, environment, **of_spec, stop=rules, options=options)
    how = {
        "workers": require_count("workers", workers, at_least=1),
        "allow_drift": require_typed("allow_drift", allow_drift, bool),
        "name": name,
        "watching": Watching(**{name: given[name] for name in _OF_WATCHING}),
    }
    return _train_and_report(spec, seeds, Path(out), how, reports)


def _train_and_report(
    spec: RunSpec, seeds: int, out: Path, how: Mapping[str, Any], reports: Reports | None
) -> Run:
    """Train from a specification; without `reports`, warn of failures."""
    if reports is not None:
        return train_spec(spec, seeds, out, **how, reports=reports)
    with python_reports() as own:
        run = train_spec(spec, seeds, out, **how, reports=own)
    raise_or_warn_of_failures([run])
    return run


def raise_or_warn_of_failures(runs: Sequence[Run]) -> None:
    """Warn of seeds that failed.

    Raises:
        AllSeedsFailed: every seed of a run failed.
    """
    for run in runs:
        failures = {seed: text for seed, text in run.failures.items() if seed in run.seeds}
        if not failures:
            continue
        listed = "; ".join(f"seed {seed}: {text}" for seed, text in failures.items())
        message = (
            f"{len(failures)} of {len(run.seeds)} seeds of {run.agent} on "
            f"{run.environment_name} failed ({listed}); their partial results are in {run.folder}"
        )
        if len(failures) == len(run.seeds):
            codes = [int(failure["exit_code"]) for failure in run.record["failures"].values()]
            raise AllSeedsFailed(message, run, max(codes))
        warn(message)


def train_spec(
    spec: RunSpec,
    num_seeds: int,
    out: Path,
    *,
    workers: int = 1,
    allow_drift: bool = False,
    name: str | None = None,
    watching: Watching | None = None,
    reports: Reports | None = None,
) -> Run:
    """Train like `train`, from a specification; failures are reported only by the run."""
    require_main_guard(workers, spec.env_workers)
    # What an environment sets when it is imported or tried holds in no process.
    with own_settings(), watched(spec.env_timeout):
        prepared = prepare(spec, num_seeds, out, allow_drift=allow_drift)
    return train_prepared(
        prepared,
        num_seeds,
        workers=workers,
        allow_drift=allow_drift,
        name=name,
        watching=watching,
        reports=reports,
    )


def train_prepared(
    prepared: Prepared,
    num_seeds: int,
    *,
    workers: int = 1,
    allow_drift: bool = False,
    name: str | None = None,
    watching: Watching | None = None,
    figure: bool = True,
    reports: Reports | None = None,
) -> Run:
    """Train the missing part of a prepared run; draw its learning curve if `figure`."""
    reports, watching = reports or Reports(), watching or Watching()
    request, folder = watching.stopping(prepared.request), prepared.folder
    if name is not None:
        names = {**request.names, ALIAS: require_free_name(name, folder)}
        request = dataclasses.replace(request, names=names)
    idle = (*_idle_workers(prepared), *_idle_rules(prepared.spec))
    for text in (*request.caveats, *request.notes, *idle):
        reports.note(text)

    def opened() -> Run:
        spec, made = prepared.spec, prepared.environment
        steps = spec.num_env_steps
        return Run(folder, num_seeds=num_seeds, num_env_steps=steps, spec=spec, environment=made)

    warn_about_similar_runs(request, folder, reports)
    has_figure = not figure or _has_figure(folder, reports)
    if has_figure and is_finished(request, folder, num_seeds, reports):
        if name is not None:
            name_run(folder, AGENT_RUN, name)
        watching.write([Run(folder)], reports.note)
        run = opened()
        _note_scores(run, reports)
        return run
    watching.require(folder)
    store.prepare_folder(folder)
    with store.locked(folder), prepared_torch():
        write_copies(folder, prepared.spec)
        try:
            worked = execute(
                request,
                folder,
                num_seeds,
                workers=workers,
                allow_drift=allow_drift,
                reports=reports,
                watch=watching.watch(prepared.spec, reports.note),
            )
        finally:
            prepared.settle()
        record_copies(folder, prepared.spec)
        if not worked:
            watching.write([Run(folder)], reports.note)
        if "references" not in read_record(folder, AGENT_RUN):
            _store_references(folder, prepared)
        # Without a figure although nothing was trained: it was killed while drawing.
        if figure and (worked or not _has_figure(folder)):
            _draw(Run(folder))
    run = opened()
    _note_scores(run, reports)
    return run


def _idle_workers(prepared: Prepared) -> list[str]:
    """Return a note if env workers have nothing to do, else nothing."""
    stepped_as = prepared.spec.stepped_as(prepared.environment)
    if not prepared.spec.env_workers or stepped_as == "gymnasium":
        return []
    return [
        f"{prepared.environment.name} is stepped as {stepped_as}, for all copies at once, so "
        "env_workers (--env-workers) has no effect; native=False (--no-native) steps the original"
    ]


def _idle_rules(spec: RunSpec) -> list[str]:
    """Return a note for each stopping rule for which the run has too few evaluations."""
    if spec.stop is None:
        return []
    # Of environments that are more than evaluate_every, each step of all makes a row.
    every = max(spec.evaluate_every, spec.num_envs)
    evaluations = spec.whole_steps(spec.num_env_steps) // every
    return spec.stop.idle(evaluations, first=bool(spec.evaluation_episodes))


def _note_scores(run: Run, reports: Reports) -> None:
    """Note scores that are missing or not of the final step."""
    early = run.score_steps[run.score_steps < run.num_env_steps]
    if len(early):
        reports.note(
            f"no row is at {run.num_env_steps:,} environment steps where seeds were trained "
            f"further: the scores of all seeds are those at {int(early.min()):,}. Choose a "
            f"multiple of evaluate_every={run.record['evaluate_every']:,} for scores at that step"
        )
    done = [seed for seed in run.seeds if seed not in run.failures]
    without = [seed for seed in done if np.isnan(run.scores[run.seeds.index(seed)])]
    if without and run.status == "finished":
        reports.note(
            f"the seeds {without} have no score: no episode ended since the last row but one"
            if run.measured == "train_return"
            else f"the seeds {without} have no score: their evaluations are not finite"
        )


def _store_references(folder: Path, prepared: Prepared) -> None:
    """Store the reference lines in the record, so that drawing needs no environment."""
    from rlkit.training.references import references

    record, given = read_record(folder, AGENT_RUN), prepared.spec.demonstrations
    lines = references(prepared.environment)
    if isinstance(given, Demonstrations) and math.isfinite(given.expert_return):
        lines.append(("expert", given.expert_return))
    write_record(folder, {**record, "references": lines})


def _draw(run: Run) -> None:
    if run.curve.size == 0:  # every seed failed at once
        return
    save_curve(run, run.folder / FIGURE)
    record_file(run.folder, AGENT_RUN, FIGURE)


def _has_figure(folder: Path, reports: Reports | None = None) -> bool:
    """Return whether the figure is there as it was drawn; report one that was damaged."""
    if not (folder / FIGURE).exists():
        return False
    problem = file_problem(folder, read_record(folder, AGENT_RUN), FIGURE)
    if problem is not None and reports is not None:
        reports.note(f"{problem}; it is drawn again")
    return problem is None
