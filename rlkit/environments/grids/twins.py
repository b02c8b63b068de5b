"""Whether a batched twin is the environment that it stands for, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlkit.environments.batch_env import Array, BatchEnv, BatchStep
from rlkit.environments.environment import Environment
from rlkit.environments.grids.vector import random_action
from rlkit.environments.resolve import EnvLike, find_environment
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from rlkit.options import require_count, require_seconds
from rlkit.seeding import SeedStreams

FIRST = "observation at reset"


@dataclass(frozen=True)
class Difference:
    """Where a twin first differs from the original.

    Args:
        field: of the step, "observation at reset" or "ended".
        during: what was done: steps with automatic resets, single episodes, or steps after the
            state of the twin was saved and loaded.
        seed: index of the seed.
        env: number of the environment of that seed.
        episode: number of its episode.
        episode_seed: with which `reset` of the original begins that episode.
        step: number of the step, from 1; 0 = the reset.
        expected: what the original returned, as plain data.
        got: what the twin returned.
        actions: of the episode up to this step, as agents give them.
    """

    field: str
    during: str
    seed: int
    env: int
    episode: int
    episode_seed: int
    step: int
    expected: Any
    got: Any
    actions: list[Any]

    def __str__(self) -> str:
        return (
            f"{self.field} differs at seed {self.seed}, environment {self.env}, episode "
            f"{self.episode}, step {self.step} ({self.during}): expected {self.expected}, got "
            f"{self.got}. It begins as reset(seed={self.episode_seed}), and the actions are "
            f"{self.actions}"
        )


@dataclass(frozen=True)
class TwinReport:
    """What was compared, and the first difference; None where there was none."""

    original: str
    twin: str
    transitions: int
    episodes: int
    difference: Difference | None

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return self.difference is None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {"equal": self.equal, **dataclasses.asdict(self)}


def check_twin(
    original: EnvLike,
    twin: EnvLike | None = None,
    *,
    env_args: Mapping[str, Any] | None = None,
    seeds: int = 3,
    envs: int = 4,
    steps: int = 1000,
    seed: int = 0,
    env_timeout: float = ENV_TIMEOUT,
) -> TwinReport:
    """Step an environment and a batched twin with the same seeds and actions.

    Every number that they return must be equal to the last bit: with automatic resets, in single
    episodes, and after the state of the twin was saved and loaded into another one. Actions are
    drawn uniformly; some lie beyond the bounds of a Box.

    Args:
        original: the environment.
        twin: a factory or class of a BatchEnv; by default the one that is installed for the id.
        env_args: keyword arguments of both.
        seeds: number of seeds, >= 1.
        envs: environments of each seed, >= 1.
        steps: of each environment in each of the three parts, >= 2.
        seed: from which seeds and actions are drawn.
        env_timeout: seconds that a constructor, reset or step of an environment may take.

    Raises:
        UsageError: one of them cannot be used, or their spaces differ.
        SeedError: one of them returned something invalid or raised.
    """
    seeds = require_count("seeds", seeds, at_least=1)
    envs = require_count("envs", envs, at_least=1)
    steps = require_count("steps", steps, at_least=2)
    seed = require_count("seed", seed, at_least=0)
    with watched(require_seconds("env_timeout", env_timeout)):
        named = find_environment(original, env_args)
        name, make = _twin_of(named, twin, env_args)
        comparison = _Comparison(named, make, (seeds, envs), seed)
        difference = next(comparison.differences(steps), None)
    return TwinReport(
        named.reference, name, comparison.transitions, comparison.episodes, difference
    )


GridOf = Callable[[tuple[SeedStreams, ...], int, bool], BatchEnv]


def _twin_of(
    named: Environment, twin: EnvLike | None, env_args: Mapping[str, Any] | None
) -> tuple[str, GridOf]:
    """Return the name of a twin and what makes grids of it."""
    if twin is None:
        if not named.has_twin:
            raise UsageError(
                f"no batched twin is installed for {named.reference} with these arguments: name "
                "one, as in path/to/file.py:Class"
            )
        return f"the installed twin of {named.reference}", _grids(named, "native")
    other = find_environment(twin, env_args)
    if not other.is_batched:
        raise UsageError(
            f"{other.reference} is no batched environment: expected a class or function with the "
            "parameters episode_seed, num_seeds, num_envs and autoreset"
        )
    return other.reference, _grids(other, "batch")


def _grids(environment: Environment, kind: str) -> GridOf:
    return lambda streams, num_envs, autoreset: environment.grid(
        streams, num_envs, kind=kind, autoreset=autoreset
    )


class _Comparison:
    """The comparison of an original with a twin, and what it has counted so far."""

    def __init__(self, named: Environment, make: GridOf, shape: tuple[int, int], seed: int) -> None:
        self._original, self._twin = _grids(named, "gymnasium"), make
        self._streams = tuple(SeedStreams(seed, s) for s in range(shape[0]))
        self._num_envs = shape[1]
        self._rng = np.random.default_rng(seed)
        self.transitions = self.episodes = 0

    def differences(self, steps: int) -> Iterator[Difference]:
        """Yield differences, of which only the first is of use."""
        for autoreset in (True, False):
            during = "with automatic resets" if autoreset else "in single episodes"
            grids = [make(self._streams, self._num_envs, autoreset) for make in self._both]
            try:
                self._require_equal_spaces(*grids)
                yield from self._played(grids, steps, during)
                if autoreset:
                    loaded = self._twin(self._streams, self._num_envs, True)
                    grids.append(loaded)
                    loaded.load_state_dict(grids[1].state_dict())
                    during = "after the state was saved and loaded"
                    yield from self._stepped([grids[0], loaded], steps, during)
            finally:
                for grid in grids:
                    grid.close()

    @property
    def _both(self) -> tuple[GridOf, GridOf]:
        return self._original, self._twin

    def _require_equal_spaces(self, original: BatchEnv, twin: BatchEnv) -> None:
        for role in ("observation_space", "action_space"):
            a, b = getattr(original, role), getattr(twin, role)
            self._layout = ActionLayout(twin.action_space)
            start = int(getattr(a, "start", 0))
            if a != b and not (start and a.n == getattr(b, "n", None)):
                raise UsageError(f"the {role} differs: expected {a}, got {b} from the twin")

    def _played(self, grids: list[BatchEnv], steps: int, during: str) -> Iterator[Difference]:
        """Compare from the first reset on."""
        shape = len(self._streams), self._num_envs
        self._episode = np.zeros(shape, dtype=np.int64)
        self._actions: list[list[list[Any]]] = [
            [[] for _ in range(shape[1])] for _ in self._streams
        ]
        first = [grid.reset() for grid in grids[:2]]
        yield from self._compared(FIRST, during, *first)
        yield from self._stepped(grids, steps, during)

    def _stepped(self, grids: list[BatchEnv], steps: int, during: str) -> Iterator[Difference]:
        original, twin = grids[:2]
        for _ in range(steps):
            actions = np.array(
                [[random_action(self._layout, self._rng) for _ in row] for row in self._episode]
            )
            running = ~np.array(original.ended, dtype=bool)
            for s, n in np.argwhere(running):
                self._actions[s][n].append(actions[s, n].tolist())
            a, b = (BatchStep(*grid.step(actions.copy())) for grid in (original, twin))
            self.transitions += int(running.sum())
            for field, x, y in zip(BatchStep._fields, a, b, strict=True):
                yield from self._compared(field, during, x, y)
            yield from self._compared("ended", during, original.ended, twin.ended)
            last = a.terminated | a.truncated
            self.episodes += int(last.sum())
            if np.asarray(original.ended).all():
                break
            for s, n in np.argwhere(last & ~original.ended):
                self._episode[s, n] += 1
                self._actions[s][n] = []

    def _compared(self, field: str, during: str, x: Array, y: Array) -> Iterator[Difference]:
        x, y = np.asarray(x), np.asarray(y)
        shape = self._episode.shape
        same_form = x.dtype == y.dtype and x.shape == y.shape
        for s, n in np.ndindex(*shape):
            if not same_form or x[s, n].tobytes() != y[s, n].tobytes():
                yield self._difference(field, during, (s, n), x, y if same_form else None, y)

    def _difference(
        self, field: str, during: str, place: tuple[int, int], x: Array, y: Array | None, raw: Array
    ) -> Difference:
        s, n = place
        episode, actions = int(self._episode[s, n]), list(self._actions[s][n])
        return Difference(
            field=field,
            during=during,
            seed=s,
            env=n,
            episode=episode,
            episode_seed=self._streams[s].episode_seed("env", n, episode),
            step=len(actions),
            expected=x[place].tolist() if y is not None else _form(x),
            got=y[place].tolist() if y is not None else _form(raw),
            actions=actions,
        )


def _form(array: Array) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
