"""An agent that acts at random and learns nothing: the floor of every comparison."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.seeding import NoiseBlocks, SeedStreams

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """The random agent has no options."""


class Random:
    """Acts uniformly in a discrete space or a bounded box, and normally in an unbounded box."""

    Config = RandomConfig
    metrics: tuple[str, ...] = ()
    default_num_envs = 1

    @staticmethod
    def depends_on_total_steps(config: RandomConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    def __init__(self, task: Task, config: RandomConfig) -> None:
        self._task = task
        self._noise = _noise(task.action_space, task.streams, "action", task.num_envs)

    def act(self, obs: Array) -> Array:
        return _actions(self._task.action_space, self._noise.next())

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        return {}

    def actor(self, *, greedy: bool = True) -> RandomActor:
        return RandomActor(self._task.action_space, self._task.streams)

    def state_dict(self) -> dict[str, Array]:
        return {"noise": self._noise.state()}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._noise.load(state["noise"])


class RandomActor:
    """The random policy with a random stream of its own; it has no greedy form."""

    def __init__(self, space: spaces.Space[Any], streams: Sequence[SeedStreams]) -> None:
        self._space, self._streams = space, streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        self._part = part
        self._noise: dict[int, NoiseBlocks] = {}  # by the number of environments acted in

    def act(self, obs: Array) -> Array:
        num_envs = obs.shape[1]
        if num_envs not in self._noise:
            key = (num_envs, *self._part)
            self._noise[num_envs] = _noise(
                self._space, self._streams, "exploration", num_envs, *key
            )
        return _actions(self._space, self._noise[num_envs].next())

    def probabilities(self, obs: Array) -> Array:
        """Return the probability of each action, [S, M, A]."""
        assert isinstance(self._space, spaces.Discrete)
        return np.full((*obs.shape[:2], int(self._space.n)), 1.0 / int(self._space.n))


def _noise(
    space: spaces.Space[Any],
    streams: Sequence[SeedStreams],
    purpose: str,
    num_envs: int,
    *key: int,
) -> NoiseBlocks:
    bounded = isinstance(space, spaces.Discrete) or (
        isinstance(space, spaces.Box) and space.is_bounded()
    )
    shape = (num_envs, *(space.shape or ()))

    draw = functools.partial(_draw, shape=shape, uniform=bounded)
    return NoiseBlocks([stream.generator(purpose, *key) for stream in streams], draw, 256)


def _draw(rng: np.random.Generator, length: int, *, shape: tuple[int, ...], uniform: bool) -> Array:
    size = (length, *shape)
    return rng.random(size) if uniform else rng.standard_normal(size)


def _actions(space: spaces.Space[Any], noise: Array) -> Array:
    if isinstance(space, spaces.Discrete):
        return (noise * int(space.n)).astype(np.int64)
    assert isinstance(space, spaces.Box)
    if space.is_bounded():
        actions: Array = space.low + noise * (space.high - space.low)
        return actions
    return noise
