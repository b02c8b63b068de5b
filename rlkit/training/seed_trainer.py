"""Trains a set of seeds of a run, each from where it stands.

Seeds with equal numbers of steps form a group, and each group is trained as one batch. The results
of a seed do not depend on its group, so after a kill or the failure of a seed, and with more seeds
or workers, only the groups differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rlkit.agents.preferences.person.setting import labelled_in
from rlkit.determinism import own_settings
from rlkit.environments.environment import Environment
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import PlayStopped, SeedError, SeedsError
from rlkit.loop import interact
from rlkit.runs import checkpoints
from rlkit.runs.reports import Failure, Reports, Stopped
from rlkit.runs.restore import take_up
from rlkit.tabular.reading.model import Model
from rlkit.training.seed_batch import SeedBatch
from rlkit.training.specification import RunSpec

Array = NDArray[Any]

_COMPILED_STEPS = 100_000  # between two questions whether to stop: some milliseconds per seed


@dataclass(frozen=True)
class Training:
    """The work on seeds of a run, which can be sent to another process.

    Args:
        spec: of the run.
        environment: the resolved environment; another process resolves it again.
        model: the model of the environment, sent to other processes, because all seeds of a
            run must be stepped and evaluated in one way.
        source: the digest of the environment in the first process.
    """

    spec: RunSpec
    environment: Environment | None = None
    model: Model | None = None
    source: str = ""

    def __call__(self, folder: Path, seeds: Sequence[int], reports: Reports) -> list[Failure]:
        environment = self.environment
        if environment is None:
            with own_settings():  # what its module sets on import holds in no process
                environment = self.spec.resolve().with_model(self.model)
                environment.require_source(self.source)
        with labelled_in(folder, environment, reports.stop):
            return train_seeds(self.spec, environment, folder, seeds, reports)

    def __reduce__(self) -> tuple[type[Training], tuple[RunSpec, None, Model | None, str]]:
        environment = self.environment
        if environment is None:
            return Training, (self.spec, None, self.model, self.source)
        return Training, (self.spec, None, environment.model, environment.source_digest)


def train_seeds(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    seeds: Iterable[int],
    reports: Reports,
) -> list[Failure]:
    """Train each seed to the number of steps of the specification.

    Returns:
        the seeds that failed; the others were trained to the end.

    Raises:
        Stopped: `reports.stop` said so; the state is saved.
        UsageError: the agent cannot be used in the environment.
        RlkitError: a seed has checkpoints, but none that is sound.
    """
    failures: list[Failure] = []
    waiting = set(seeds)
    target = spec.whole_steps(spec.num_env_steps)
    apart: set[int] = set()  # seeds that failed together, to find out which one it is
    watch = reports.watch
    while waiting:
        positions: dict[tuple[int, bool, int], dict[int, dict[str, Array]]] = {}
        for seed in sorted(waiting):
            steps, state = take_up(folder, seed, "environment steps", reports)
            pending = bool(state.get(checkpoints.ROW_PENDING, False))
            alone = seed if seed in apart else -1
            positions.setdefault((steps, pending, alone), {})[seed] = state
        ordered = sorted(positions.items(), key=lambda item: item[0])
        for number, ((steps, pending, _), states) in enumerate(ordered):
            group = list(states)
            if steps >= target and not pending:
                waiting.difference_update(group)
                continue
            others = [at for (at, _, _), _ in ordered[number + 1 :]]
            leg = _leg(spec, steps, others) if watch is not None and watch.decides else target
            batch = environment, folder, group, list(states.values()), leg, reports
            try:
                with watched(spec.env_timeout, reports.stop):
                    ended = _train_group(spec, *batch)
                if not ended:
                    break  # others are behind now, or at the same step
                waiting.difference_update(group)
            except SeedError as error:
                # The others of the group continue from their last checkpoints, without this one.
                failures.append(Failure(error.seed, error.message, error.exit_code, error.trace))
                waiting.discard(error.seed)
                if watch is not None:
                    watch.fail([error.seed])
                break
            except SeedsError:
                apart.update(group)
                break
            except PlayStopped as error:
                stopped = Stopped(f"{error}, so the steps since the last checkpoint are lost")
                stopped.kept = "what was saved before is"
                raise stopped from None
    return failures


def _leg(spec: RunSpec, steps: int, others: Sequence[int]) -> int:
    """Return how far seeds train before others of this process do.

    The run may end at any evaluation, so none trains past one before all have arrived there. It is
    up to the steps of the others, or to the next row where these are at the same step.
    """
    target = spec.whole_steps(spec.num_env_steps)
    ahead = [at for at in others if at > steps]
    if len(ahead) == len(others):
        return min((*ahead, target))
    every = spec.evaluate_every
    return min((*ahead, spec.whole_steps((steps // every + 1) * every), target))


def _train_group(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    seeds: Sequence[int],
    states: Sequence[Mapping[str, Array]],
    leg: int,
    reports: Reports,
) -> bool:
    """Train seeds with equal numbers of steps as one batch, up to a step.

    Returns:
        whether they are at the end of the run.
    """
    batch = SeedBatch(spec, environment, folder, seeds, reports)
    try:
        obs = batch.take_up(states) if states[0] else batch.start()
        if not batch.ends_here(obs):
            for i, following_obs in enumerate(_steps(batch, spec, obs, seeds, leg)):
                on_grid, at_end = batch.on_grid, batch.tracker.num_env_steps == batch.target
                obs = following_obs
                if on_grid or at_end:
                    batch.write_rows(obs)
                    if batch.ends_here(obs):
                        break
                if not at_end and reports.stop():
                    batch.require_saved(obs)
                    raise batch.stopped()
                if batch.compiled is not None or i % 256 == 0:
                    reports.progress(seeds, batch.tracker.num_env_steps)
            else:
                if leg < batch.target:
                    batch.require_saved(obs)
                    return False
        batch.require_saved(obs)
        batch.report_missing_updates()
        return True
    finally:
        batch.close()


def _steps(
    batch: SeedBatch, spec: RunSpec, obs: Array, seeds: Sequence[int], leg: int
) -> Iterator[Array]:
    """Train up to a step; yield after each step, or after many if the loop is compiled.

    Yields:
        what to act on next, [S, N, ...].
    """
    tracker = batch.tracker
    while (left := (leg - tracker.num_env_steps) // spec.num_envs) > 0:
        num_steps = left
        if batch.compiled is not None:
            num_steps = min(left, batch.steps_to_row, _COMPILED_STEPS)
            following_obs = batch.compiled.run(num_steps)
            if following_obs is not None:
                obs = following_obs
                yield obs
                continue
        steps = interact(
            batch.agent, batch.env, num_steps, obs=obs, seeds=seeds, reward=batch.reward
        )
        for transition, metrics in steps:
            tracker.observe(transition, metrics)
            obs = transition.following_obs
            yield obs
