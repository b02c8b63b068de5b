"""Tables of action values: acting on them, and the environments that they fit.

Exploration is epsilon-greedy, or Boltzmann with P(a | s) proportional to exp(Q(s, a) / tau).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Task
from rlkit.environments.views.action_view import MOST_NUMBERED
from rlkit.environments.views.masks import draw_allowed
from rlkit.errors import UsageError
from rlkit.maths.compiled import part
from rlkit.seeding import SeedStreams

Array = NDArray[Any]


ExplorationKind = Literal["epsilon-greedy", "boltzmann"]


class Exploration(NamedTuple):
    """How the actions of training are chosen; its level is epsilon, or tau of Boltzmann."""

    boltzmann: bool
    start: float  # the level at the start
    end: float  # the level from `steps` on
    steps: int  # environment steps over which the level changes linearly


class TableActor:
    """A policy for a table of action values at one moment: epsilon-greedy or Boltzmann.

    Among equally good actions the greedy one is the first, so that the greedy policy is a function
    of the observation.

    Args:
        q: action values, [S, states, actions].
        epsilon: probability of a random action, in [0, 1].
        streams: the streams of each seed.
        temperature: tau > 0 of Boltzmann exploration, which takes the place of epsilon.
    """

    def __init__(
        self,
        q: Array,
        epsilon: float,
        streams: Sequence[SeedStreams],
        *,
        temperature: float | None = None,
    ) -> None:
        self._q, self._epsilon, self._temperature = q, epsilon, temperature
        self._rows = np.arange(len(q))[:, None]
        self._streams = streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        draws = self._temperature is not None or self._epsilon > 0.0
        streams = self._streams if draws else ()
        self._generators = [stream.generator("exploration", *part) for stream in streams]

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        actions: Array = self._masked_values(obs, action_masks).argmax(axis=-1)
        if self._temperature is not None or self._epsilon > 0.0:
            noise = np.stack([rng.random((2, obs.shape[1])) for rng in self._generators])
            if self._temperature is not None:
                cumulative = self.probabilities(obs, action_masks).cumsum(axis=-1)
                chosen = noise[:, 1, :, None] * cumulative[..., -1:] < cumulative
                return np.asarray(chosen.argmax(axis=-1))
            if action_masks is None:
                random = (noise[:, 1] * self._q.shape[-1]).astype(np.int64)
            else:
                random = draw_allowed(action_masks, noise[:, 1])
            actions = np.where(noise[:, 0] < self._epsilon, random, actions)
        return actions

    def probabilities(self, obs: Array, action_masks: Array | None = None) -> Array:
        """Return the probability of each action, [S, M, A]; 0 where a mask forbids it."""
        values = self._masked_values(obs, action_masks)
        if self._temperature is not None:
            weights = np.exp((values - values.max(axis=-1, keepdims=True)) / self._temperature)
            return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
        num_actions = self._q.shape[-1]
        greedy = one_hot(values.argmax(axis=-1), num_actions)
        if action_masks is not None:
            uniform = action_masks / action_masks.sum(axis=-1, keepdims=True)
            return np.asarray((1.0 - self._epsilon) * greedy + self._epsilon * uniform)
        probabilities: Array = (1.0 - self._epsilon) * greedy + self._epsilon / num_actions
        return probabilities

    def _masked_values(self, obs: Array, action_masks: Array | None) -> Array:
        values: Array = self._q[self._rows, obs]
        return values if action_masks is None else np.where(action_masks, values, -np.inf)

    def action_values(self, obs: Array) -> Array:
        """Return the value of each action, Q(s, a), [S, M, A]."""
        values: Array = self._q[self._rows, obs]
        return values

    def value(self, obs: Array) -> Array:
        """Return the value of the best action, max_a Q(s, a), [S, M]."""
        values: Array = self.action_values(obs).max(axis=-1)
        return values


def greedy_actions(q: Array, uniform: Array) -> Array:
    """Return the best action of each row, drawn uniformly among equally good ones.

    Args:
        q: action values, [..., A].
        uniform: numbers in [0, 1), [...].

    Returns:
        actions, [...]
    """
    best = q == q.max(axis=-1, keepdims=True)
    rank = best.cumsum(axis=-1)
    chosen = (uniform * rank[..., -1]).astype(np.int64) + 1
    actions: Array = (rank == chosen[..., None]).argmax(axis=-1)
    return actions


@part
def greedy_action(q: Array, s: int, uniform: float) -> int:
    """Return the best action in state s, drawn uniformly among equally good ones.

    Args:
        q: [states, actions]; a view of one row would cost more than the choice.
    """
    best, number = -np.inf, 0
    for a in range(q.shape[1]):
        if q[s, a] > best:
            best, number = q[s, a], 0
        if q[s, a] == best:
            number += 1
    chosen = int(uniform * number)
    for a in range(q.shape[1]):
        if q[s, a] == best:
            if chosen == 0:
                return a
            chosen -= 1
    return 0


@part
def best_value(q: Array, s: int) -> float:
    """Return the value of the best action in state s."""
    best = -np.inf
    for a in range(q.shape[1]):
        best = max(best, q[s, a])
    return best


@part
def level_now(exploration: Exploration, num_env_steps: int) -> float:
    """Return epsilon, or tau, after a number of environment steps."""
    progress = min(1.0, num_env_steps / exploration.steps)
    level: float = exploration.start + progress * (exploration.end - exploration.start)
    return level


@part
def explore(q: Array, s: int, boltzmann: bool, level: float, noise: Array, n: int) -> int:
    """Return the action of training in state s.

    Args:
        q: [states, actions].
        s: the state.
        boltzmann: whether `level` is tau, otherwise it is epsilon.
        level: of exploration.
        noise: numbers in [0, 1), [2 or more, N]: whether to explore, and what to choose.
        n: the column of the noise.
    """
    if boltzmann:
        return boltzmann_action(q, s, level, noise[1, n])
    if noise[0, n] < level:
        return int(noise[1, n] * q.shape[1])
    return greedy_action(q, s, noise[1, n])


@part
def boltzmann_action(q: Array, s: int, temperature: float, uniform: float) -> int:
    """Return an action with probability proportional to exp(Q(s, a) / tau)."""
    best, total = best_value(q, s), 0.0
    for a in range(q.shape[1]):
        total += np.exp((q[s, a] - best) / temperature)
    remaining = uniform * total
    for a in range(q.shape[1]):
        remaining -= np.exp((q[s, a] - best) / temperature)
        if remaining < 0.0:
            return a
    return int(q.shape[1]) - 1  # by rounding, or because of NaN


@part
def policy_value(q: Array, s: int, boltzmann: bool, level: float) -> float:
    """Return sum_a P(a | s) Q(s, a) under the policy of `explore`."""
    best, total = best_value(q, s), 0.0
    if boltzmann:
        weighted = 0.0
        for a in range(q.shape[1]):
            weight = np.exp((q[s, a] - best) / level)
            total += weight
            weighted += weight * q[s, a]
        return weighted / total
    for a in range(q.shape[1]):
        total += q[s, a]
    value: float = (1.0 - level) * best + level * (total / q.shape[1])
    return value


def one_hot(actions: Array, num_actions: int) -> Array:
    """Return float64 [..., A] with 1 at each action [...] and 0 elsewhere."""
    vectors = np.zeros((*actions.shape, num_actions))
    np.put_along_axis(vectors, actions[..., None], 1.0, axis=-1)
    return vectors


def require_tabular(agent: str, task: Task) -> tuple[int, int]:
    """Return the numbers of states and actions.

    Args:
        agent: its name, for the message.
        task: what the agent is built for.

    Raises:
        UsageError: observations or actions are not discrete, so a table cannot be used.
    """
    for kind, space in (("observations", task.observation_space), ("actions", task.action_space)):
        if not isinstance(space, spaces.Discrete):
            raise UsageError(
                f"{agent} keeps a table and needs discrete observations and actions, but the "
                f"{kind} are {space}. {_advice(kind, space)}"
            )
    assert isinstance(task.observation_space, spaces.Discrete)
    assert isinstance(task.action_space, spaces.Discrete)
    return int(task.observation_space.n), int(task.action_space.n)


def _advice(kind: str, space: spaces.Space[Any]) -> str:
    if kind == "observations" and isinstance(space, spaces.Box):
        return "Divide them into bins with --bins (bins=), or use ppo or reinforce."
    if kind == "actions" and not isinstance(space, spaces.Box):
        return (
            f"Combinations of discrete parts are numbered for it up to {MOST_NUMBERED:,}. Use ppo "
            "or reinforce there."
        )
    return "Use ppo or reinforce there."
