"""An agent that acts at random and learns nothing: the floor of every comparison."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import ActionMasks, Task, Transition
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import draw_allowed, split
from rlkit.seeding import NoiseBlocks, SeedStreams

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """The random agent has no options."""


class Random:
    """Acts uniformly in discrete and bounded parts of the space, and normally in unbounded ones."""

    Config = RandomConfig
    metrics: tuple[str, ...] = ()
    default_num_envs = 1
    takes_action_masks = True

    @staticmethod
    def depends_on_total_steps(config: RandomConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    def __init__(self, task: Task, config: RandomConfig) -> None:
        self._task, self._choice = task, RandomChoice(task.action_space)
        self._noise = self._choice.noise(task.streams, "action", task.num_envs)

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        return self._choice(self._noise.next(), action_masks)

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
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
        self._choice = RandomChoice(space)
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        self._part = part
        self._noise: dict[int, NoiseBlocks] = {}  # by the number of environments acted in

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        num_envs = obs.shape[1]
        if num_envs not in self._noise:
            key = (num_envs, *self._part)
            self._noise[num_envs] = self._choice.noise(self._streams, "exploration", num_envs, *key)
        return self._choice(self._noise[num_envs].next(), action_masks)

    def probabilities(self, obs: Array, action_masks: Array | None = None) -> Array:
        """Return the probability of each action, [S, M, A]."""
        assert isinstance(self._space, spaces.Discrete)
        if action_masks is not None:
            shares: Array = action_masks / action_masks.sum(axis=-1, keepdims=True)
            return shares
        return np.full((*obs.shape[:2], int(self._space.n)), 1.0 / int(self._space.n))


class RandomChoice:
    """Turns random numbers into actions of a space.

    Args:
        space: of the actions.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self._space, self._layout = space, ActionLayout(space)
        low, high = self._layout.bounds
        self._bounded = (self._layout.sizes > 0) | np.isfinite(high - low)
        # Where there are no bounds, the noise is the action.
        self._low = np.where(self._bounded, low, 0.0)
        self._range = np.where(self._bounded, high - low, 1.0)

    def noise(
        self, streams: Sequence[SeedStreams], purpose: str, num_envs: int, *key: int
    ) -> NoiseBlocks:
        """Return the random numbers of `num_envs` environments."""
        if isinstance(self._space, spaces.Box):
            uniform: bool | Array = bool(self._space.is_bounded())
        else:
            uniform = bool(self._bounded.all()) or self._bounded
        shape = (num_envs, *self._layout.shape)
        draw = functools.partial(_draw, shape=shape, uniform=uniform)
        return NoiseBlocks([stream.generator(purpose, *key) for stream in streams], draw, 256)

    def __call__(self, noise: Array, masks: Array | None) -> Array:
        """Return actions [S, N, ...], with masks [S, N, choices] only those that they allow."""
        space, layout = self._space, self._layout
        if isinstance(space, spaces.Discrete):
            if masks is not None:
                return draw_allowed(masks, noise)
            return (noise * int(space.n)).astype(np.int64)
        if isinstance(space, spaces.Box):
            if space.is_bounded():
                return _between(space, noise)
            return noise
        numbers = self._low + noise * self._range
        chosen = np.where(layout.sizes > 0, np.floor(noise * layout.sizes), numbers)
        if masks is not None:
            for k, part in enumerate(split(masks, layout)):
                if layout.sizes[k]:
                    chosen[..., k] = draw_allowed(part, noise[..., k])
        return chosen.astype(layout.dtype)


def _between(space: spaces.Box, noise: Array) -> Array:
    """Return numbers between the bounds of a Box, from numbers in [0, 1)."""
    low, high = space.low, space.high
    if low.dtype.kind in "iu":  # whose range its type need not hold: 255 is -1 in int8
        low, high = low.astype(np.float64), high.astype(np.float64)
    with np.errstate(over="ignore"):
        width = high - low
    if np.isfinite(width).all():
        actions: Array = low + noise * width
    else:
        actions = low * (1 - noise) + high * noise
    return actions


def _draw(
    rng: np.random.Generator, length: int, *, shape: tuple[int, ...], uniform: bool | Array
) -> Array:
    size = (length, *shape)
    if isinstance(uniform, np.ndarray):
        return np.where(uniform, rng.random(size), rng.standard_normal(size))
    return rng.random(size) if uniform else rng.standard_normal(size)
