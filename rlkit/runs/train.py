"""`train`: from a specification to a finished run in its folder."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.environments import Environment, EnvLike
from rlkit.errors import RlkitError, UsageError
from rlkit.networks import prepared_torch
from rlkit.runs import store
from rlkit.runs.run import Run, read_record
from rlkit.runs.specification import RunSpec, make_spec, require_count, versions
from rlkit.runs.training import Failure, Reports, Stopped, train_seeds
from rlkit.runs.workers import StopSignals, train_in_workers

FORMAT = 1
FIGURE = "learning_curve.png"


class Interrupted(RlkitError):
    """Training was stopped by a signal, after saving."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


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
        config: the agent's whole configuration, instead of single options.
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
    require_count("seeds", seeds, at_least=1)
    require_count("workers", workers, at_least=1)
    return train_spec(
        spec, seeds, Path(out), workers=workers, allow_drift=allow_drift, reports=reports
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
    if workers > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "a script that trains with more than one worker is imported by each of them: put what "
            'it does under `if __name__ == "__main__":`'
        )
    out = Path(os.path.abspath(out))  # an environment may change the working directory
    environment = spec.resolve()
    folder = out / spec.folder_name(environment)
    reports = reports or Reports()
    _require_fit(spec, environment)
    for sibling, steps in _shorter_or_longer(spec, environment, folder):
        reports.note(
            f"a schedule of {spec.agent_name} spans the run, so {spec.num_env_steps:,} steps are "
            f"another configuration than the {steps:,} of {sibling.name}: this is a run of its own"
        )
    store.prepare_folder(folder)
    with store.locked(folder), prepared_torch():
        return _train_locked(spec, environment, folder, num_seeds, workers, allow_drift, reports)


def _shorter_or_longer(
    spec: RunSpec, environment: Environment, folder: Path
) -> list[tuple[Path, int]]:
    """Runs beside a new one that differ from it in nothing but their steps, with those steps."""
    if folder.exists() or not spec.spans_run:
        return []
    identity = json.loads(json.dumps(spec.identity(environment)))
    found = []
    for path in folder.parent.glob(f"{folder.name[:-10]}*/run.json"):
        with contextlib.suppress(RlkitError):
            record = read_record(path.parent)
            if all(
                record.get(name) == value
                for name, value in identity.items()
                if name != "num_env_steps"
            ):
                found.append((path.parent, int(record["num_env_steps"])))
    return sorted(found)


def _train_locked(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    num_seeds: int,
    workers: int,
    allow_drift: bool,
    reports: Reports,
) -> Run:
    seeds = [seed for seed in range(num_seeds) if not _is_done(spec, folder, seed)]
    record = _begin(spec, environment, folder, num_seeds, seeds, allow_drift, reports)
    if not seeds and record["status"] == "finished":
        reports.note(f"the run is finished already: {folder}")
        run = Run(folder, spec=spec, environment=environment, num_seeds=num_seeds)
        if not (folder / FIGURE).exists():  # it was killed while drawing
            _draw(run)
        return run
    started, before = time.monotonic(), _steps_done(folder, range(num_seeds))
    record["status"] = "running"
    store.write_json(folder / "run.json", record)
    notes: list[str] = record["notes"]

    def note(text: str) -> None:
        if text in notes:
            return
        notes.append(text)
        if "not reproducible" in text:
            record["reproducible"] = False
        reports.note(text)

    def end(status: str, failures: Sequence[Failure]) -> None:
        for seed in seeds:
            record["failures"].pop(str(seed), None)
        for failure in failures:
            content = {"message": failure.message, "exit_code": failure.exit_code}
            record["failures"][str(failure.seed)] = content
        record["status"] = status or _status(record, folder)
        done = _steps_done(folder, range(num_seeds)) - before
        record["timing"].append(
            {"seconds": round(time.monotonic() - started, 3), "env_steps": done}
        )
        store.write_json(folder / "run.json", record)

    reports.begin(f"{spec.agent_name} on {environment.name}", num_seeds, spec.num_env_steps)
    for s in range(num_seeds):
        reports.progress([s], _steps_done(folder, [s]))
    with StopSignals().watched() as stop:
        own = Reports(reports.progress, note, lambda: stop() or reports.stop())
        num_workers = min(workers, len(seeds))
        failures: list[Failure] = []
        try:
            if num_workers > 1:
                failures = train_in_workers(spec, folder, seeds, num_workers, own)
            elif seeds:
                failures = train_seeds(spec, environment, folder, seeds, own)
        except BaseException as error:
            asked_to = isinstance(error, (Stopped, KeyboardInterrupt))
            with contextlib.suppress(RlkitError):  # what went wrong first is the answer
                end("interrupted" if asked_to else "failed", [])
            if not isinstance(error, Stopped):
                raise
            raise Interrupted(
                stop.received or 2,
                f"{error}; everything is saved in {folder}: the same command goes on from there",
            ) from None
        end("", failures)
    run = Run(folder, spec=spec, environment=environment, num_seeds=num_seeds)
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


def _begin(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    num_seeds: int,
    unfinished: Sequence[int],
    allow_drift: bool,
    reports: Reports,
) -> dict[str, Any]:
    """The run's record, new or read back and brought up to what is asked now."""
    path = folder / "run.json"
    if not path.exists():
        return {
            "format": FORMAT,
            "status": "new",
            **spec.identity(environment),
            "num_env_steps": spec.num_env_steps,
            "num_seeds": num_seeds,
            "versions": versions(),
            "torch_threads": 1,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "reproducible": True,
            "failures": {},
            "notes": [],
            "timing": [],
        }
    record = read_record(folder)
    drift = {
        name: (record["versions"].get(name), now)
        for name, now in versions().items()
        if record["versions"].get(name) != now
    }
    if spec.num_env_steps < record["num_env_steps"]:
        reports.note(
            f"the run already has {record['num_env_steps']:,} environment steps of each seed, "
            f"{spec.num_env_steps:,} were asked for; nothing is cut off"
        )
    if drift and unfinished:
        listed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in drift.items())
        if not allow_drift:
            raise UsageError(
                f"the run {folder} was begun with other versions ({listed}), so going on may not "
                "give the same results; install those, start anew with another --out, or go on "
                "with --allow-drift, which marks the run as not reproducible"
            )
        record["reproducible"] = False
        record["notes"].append(f"went on with other versions: {listed}")
    record["num_env_steps"] = max(record["num_env_steps"], spec.num_env_steps)
    record["num_seeds"] = max(record["num_seeds"], num_seeds)
    return record


def _status(record: Mapping[str, Any], folder: Path) -> str:
    """How the run as a whole stands: a call may have asked for fewer seeds or steps than it has."""
    if record["failures"]:
        return "failed"
    steps = [_steps_done(folder, [seed]) for seed in range(record["num_seeds"])]
    return "finished" if min(steps) >= record["num_env_steps"] else "interrupted"


def _is_done(spec: RunSpec, folder: Path, seed: int) -> bool:
    """Whether a seed's newest checkpoint, which must be sound, is at the end."""
    checkpoints = store.list_checkpoints(folder, seed)
    if not checkpoints or checkpoints[0][0] < spec.num_env_steps:
        return False
    try:
        store.read_checkpoint(checkpoints[0][1])
    except ValueError:
        return False
    return True


def _steps_done(folder: Path, seeds: Iterable[int]) -> int:
    return sum(
        checkpoints[0][0] for seed in seeds if (checkpoints := store.list_checkpoints(folder, seed))
    )


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
