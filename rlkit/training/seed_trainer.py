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
    while waiting:
        positions: dict[tuple[int, bool, int], dict[int, dict[str, Array]]] = {}
        for seed in sorted(waiting):
            steps, state = take_up(folder, seed, "environment steps", reports)
            pending = bool(state.get(checkpoints.ROW_PENDING, False))
            alone = seed if seed in apart else -1
            positions.setdefault((steps, pending, alone), {})[seed] = state
        for (steps, pending, _), states in sorted(positions.items(), key=lambda item: item[0]):
            group = list(states)
            if steps >= target and not pending:
                waiting.difference_update(group)
                continue
            try:
                with watched(spec.env_timeout, reports.stop):
                    _train_group(spec, environment, folder, group, list(states.values()), reports)
                waiting.difference_update(group)
            except SeedError as error:
                # The others of the group continue from their last checkpoints, without this one.
                failures.append(Failure(error.seed, error.message, error.exit_code, error.trace))
                waiting.discard(error.seed)
                break
            except SeedsError:
                apart.update(group)
                break
            except PlayStopped as error:
                stopped = Stopped(f"{error}, so the steps since the last checkpoint are lost")
                stopped.kept = "what was saved before is"
                raise stopped from None
    return failures


def _train_group(
    spec: RunSpec,
    environment: Environment,
    folder: Path,
    seeds: Sequence[int],
    states: Sequence[Mapping[str, Array]],
    reports: Reports,
) -> None:
    """Train seeds with equal numbers of steps as one batch."""
    batch = SeedBatch(spec, environment, folder, seeds, reports)
    try:
        obs = batch.take_up(states) if states[0] else batch.start()
        for i, following_obs in enumerate(_steps(batch, spec, obs, seeds)):
            on_grid, at_end = batch.on_grid, batch.tracker.num_env_steps == batch.target
            if on_grid or at_end:
                batch.write_rows(following_obs)
            if not at_end and reports.stop():
                batch.require_saved(following_obs)
                raise batch.stopped()
            if batch.compiled is not None or i % 256 == 0:
                reports.progress(seeds, batch.tracker.num_env_steps)
        batch.report_missing_updates()
    finally:
        batch.close()


def _steps(batch: SeedBatch, spec: RunSpec, obs: Array, seeds: Sequence[int]) -> Iterator[Array]:
    """Train to the target; yield after each step, or after many if the loop is compiled.

    Yields:
        what to act on next, [S, N, ...].
    """
    tracker = batch.tracker
    while (left := (batch.target - tracker.num_env_steps) // spec.num_envs) > 0:
        num_steps = left
        if batch.compiled is not None:
            num_steps = min(batch.steps_to_row, _COMPILED_STEPS)
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
