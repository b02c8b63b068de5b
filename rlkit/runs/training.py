"""Trains a set of seeds of a run, from wherever each of them was left.

Seeds are grouped by how far they are, and each group is trained as one batch. Which seeds share a
group changes nothing in their results, so a kill, a failure of one seed, more seeds and more
workers all come down to other groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import State, Task
from rlkit.environments import DEFAULT_EVALUATION_LIMIT, Environment
from rlkit.errors import RlkitError, SeedError
from rlkit.evaluation import Evaluator
from rlkit.loop import interact
from rlkit.runs import store
from rlkit.runs.specification import RunSpec
from rlkit.runs.tracker import EVALUATION, Tracker
from rlkit.seeding import SeedStreams

Array = NDArray[Any]

# How often, in steps of the loop, to look whether the process was asked to stop.
_POLL_EVERY = 16


class Stopped(RlkitError):
    """The process was asked to stop, and everything was saved first."""


@dataclass(frozen=True)
class Failure:
    """Why one seed cannot go on."""

    seed: int
    message: str
    exit_code: int


@dataclass(frozen=True)
class Reports:
    """Where training tells what is happening.

    Args:
        begin: (what, number of seeds, steps of each) before the first step; steps are those of
            the environment, or updates in a run that has none.
        progress: (seeds, steps of each) now and then.
        note: a sentence for the user.
        stop: whether to save and stop now.
    """

    progress: Callable[[Sequence[int], int], None] = lambda seeds, steps: None
    note: Callable[[str], None] = lambda text: None
    stop: Callable[[], bool] = lambda: False
    begin: Callable[[str, int, int], None] = lambda label, seeds, steps: None


@dataclass(frozen=True)
class Training:
    """What is done for seeds of a run, in this process or in others.

    Args:
        spec: of the run.
        environment: found already; another process finds it anew.
    """

    spec: RunSpec
    environment: Environment | None = None

    def __call__(self, folder: Path, seeds: Sequence[int], reports: Reports) -> list[Failure]:
        environment = self.environment or self.spec.resolve()
        return train_seeds(self.spec, environment, folder, seeds, reports)

    def __reduce__(self) -> tuple[type[Training], tuple[RunSpec]]:
        return Training, (self.spec,)


def train_seeds(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    seeds: Iterable[int],
    reports: Reports,
) -> list[Failure]:
    """Bring each seed to the number of steps that the specification asks for.

    Returns:
        the seeds that could not go on; the others were trained to the end.

    Raises:
        Stopped: `reports.stop` said so; the state is saved.
        UsageError: the agent cannot be used in the environment.
        RlkitError: a seed has checkpoints, but none that is sound.
    """
    failures: list[Failure] = []
    waiting = set(seeds)
    target = _target(spec)
    while waiting:
        positions: dict[int, dict[int, dict[str, Array]]] = {}
        for seed in sorted(waiting):
            steps, state = take_up(folder, seed, "environment steps", reports)
            positions.setdefault(steps, {})[seed] = state
        for steps, states in sorted(positions.items()):
            group = list(states)
            if steps >= target:
                waiting.difference_update(group)
                continue
            try:
                _train_group(spec, environment, folder, group, list(states.values()), reports)
                waiting.difference_update(group)
            except SeedError as error:
                # The others of the group go on from their last checkpoints, without this one.
                failures.append(Failure(error.seed, error.message, error.exit_code))
                waiting.discard(error.seed)
                break
    return failures


def take_up(folder: Path, seed: int, unit: str, reports: Reports) -> tuple[int, dict[str, Array]]:
    """Return from where a seed goes on: its steps or updates so far, and its state.

    Raises:
        RlkitError: it has checkpoints, but none that is sound.
    """
    done, state, problems = store.newest_checkpoint(folder, seed)
    if problems and not state:
        raise RlkitError(
            f"seed {seed} cannot go on: {'; '.join(problems)}. Nothing was deleted: "
            "restore one of these files, or move them away to train the seed again from "
            "the start"
        )
    for problem in problems:
        reports.note(
            f"{problem}; seed {seed} goes on from the checkpoint before it, at {done:,} {unit}"
        )
    return done, state


def _target(spec: RunSpec) -> int:
    """Environment steps of each seed, rounded up to whole steps of its N environments."""
    return -(-spec.num_env_steps // spec.num_envs) * spec.num_envs


def _train_group(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    seeds: Sequence[int],
    states: Sequence[Mapping[str, Array]],
    reports: Reports,
) -> None:
    """Train seeds that are all equally far, as one batch."""
    kind = environment.kind if spec.native else "gymnasium"
    streams = tuple(SeedStreams(spec.experiment_seed, seed) for seed in seeds)
    evaluator = Evaluator(environment, streams, spec.evaluation_episodes, kind=kind)
    env = environment.grid(streams, spec.num_envs, kind=kind)
    curves: list[store.CurveFile] = []
    try:
        task = Task(
            env.observation_space,
            env.action_space,
            streams,
            spec.num_envs,
            spec.num_env_steps,
            environment.mdp,
        )
        agent = spec.build_agent(task)
        tracker = Tracker(len(seeds), spec.num_envs, getattr(agent, "metrics", ()))
        resumed = len(states[0]) > 0
        if resumed:
            state = join_states(states)
            for prefix, part in (("agent/", agent), ("env/", env), ("tracker/", tracker)):
                _restore(part, prefix, state, folder)
            obs = np.asarray(state["obs"])
            if not getattr(env, "exact_resume", True):
                reports.note(
                    f"{environment.reference} is not determined by its seed and the actions: "
                    "the run goes on, but is not reproducible"
                )
                obs = np.asarray(env.state_dict()["obs"])
        else:
            obs = env.reset()
        for s, seed in enumerate(seeds):
            num_bytes = int(states[s]["curve_bytes"]) if resumed else 0
            curves.append(
                store.CurveFile(store.curve_path(folder, seed), tracker.columns, num_bytes)
            )

        def save(obs: Array) -> None:
            state: State = {"obs": obs.copy()}
            state["curve_bytes"] = np.array([curve.sync() for curve in curves])
            for prefix, part in (("agent/", agent), ("env/", env), ("tracker/", tracker)):
                state |= {prefix + name: value for name, value in part.state_dict().items()}
            for s, seed in enumerate(seeds):
                own = {name: np.asarray(value[s]) for name, value in state.items()}
                store.save_checkpoint(folder, seed, tracker.num_env_steps, own)
            reports.progress(seeds, tracker.num_env_steps)

        def write_rows(*, reset: bool) -> None:
            evaluation: dict[str, Array] = {}
            if spec.evaluation_episodes:
                evaluation = dict(zip(EVALUATION, evaluator(agent.actor()), strict=True))
            if evaluator.was_cut:
                reports.note(
                    f"{environment.reference} has no time limit: evaluation cuts its episodes "
                    f"after {DEFAULT_EVALUATION_LIMIT:,} steps"
                )
            for curve, row in zip(curves, tracker.rows(evaluation, reset=reset), strict=True):
                curve.append(row)

        if not resumed:
            write_rows(reset=True)
        target, every = _target(spec), spec.evaluate_every
        num_steps = (target - tracker.num_env_steps) // spec.num_envs
        row_due = (tracker.num_env_steps // every + 1) * every
        for i, (transition, metrics) in enumerate(
            interact(agent, env, num_steps, obs=obs, seeds=seeds)
        ):
            tracker.observe(transition, metrics)
            on_grid, at_end = tracker.num_env_steps >= row_due, tracker.num_env_steps == target
            if on_grid or at_end:
                row_due = (tracker.num_env_steps // every + 1) * every
                # Off the grid the averages go on, so that a longer run has the same rows.
                write_rows(reset=on_grid)
                save(transition.following_obs)
            if not at_end and (on_grid or i % _POLL_EVERY == 0) and reports.stop():
                if not on_grid:
                    save(transition.following_obs)
                raise Stopped(f"stopped at {tracker.num_env_steps:,} environment steps of a seed")
            if i % 256 == 0:
                reports.progress(seeds, tracker.num_env_steps)
    finally:
        closing: tuple[Any, ...] = (*curves, evaluator, env)
        for part in closing:
            try:
                part.close()
            except Exception as error:  # not to hide what went wrong before
                reports.note(f"closing {environment.reference} raised {error!r}")


def join_states(states: Sequence[Mapping[str, Array]]) -> State:
    """The state of a batch from those of its seeds; lengths that differ make an entry a list."""
    joined: State = {}
    if any(state.keys() != states[0].keys() for state in states):
        raise RlkitError("the checkpoints of the seeds do not hold the same entries")
    for name in states[0]:
        parts = [state[name] for state in states]
        same = len({part.shape for part in parts}) == 1
        joined[name] = np.stack(parts) if same else parts
    return joined


def _restore(part: Any, prefix: str, state: State, folder: Path) -> None:
    """Let an agent, environment or tracker go on from its entries, which must be of its form."""
    own: State = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    what = f"going on from the checkpoints in {folder} failed: the state of the {prefix[:-1]}"
    try:
        part.load_state_dict(own)
    except RlkitError:
        raise
    except (ValueError, RuntimeError, KeyError, IndexError, TypeError) as error:
        raise RlkitError(f"{what} is of another form: {error!r}") from error
    now: State = part.state_dict()
    if now.keys() != own.keys():
        raise RlkitError(f"{what} has the entries {sorted(own)}, expected {sorted(now)}")
    for name, value in now.items():
        expected, got = [np.shape(x) for x in value], [np.shape(x) for x in own[name]]
        if expected != got:
            raise RlkitError(f"{what} has {name!r} of shape {got[0]}, expected {expected[0]}")
