"""Least-squares policy iteration (Lagoudakis and Parr 2003).

For each seed:

1. With probability epsilon act at random, else take argmax_a phi(s) . w_a, ties broken at random.
2. Keep the latest transitions (s, a, r, s'), at most `capacity` of them.
3. Every `steps_per_update` steps iterate, from the present weights w:
   a. a' = argmax phi(s') . w_a in every successor;
   b. LSTD-Q: solve A w = b, with one block of features per action,
          A = sum phi(s, a) (phi(s, a) - gamma phi(s', a'))^T + ridge I,  b = sum phi(s, a) r,
      and phi(s', a') = 0 where s' is terminal;
   until no a' changes, or after `max_iterations`.

With one-hot features an iteration evaluates the policy exactly in the model that has the
frequencies of the samples, so this is policy iteration in that model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State, Task, Transition
from rlkit.agents.linear.features import Features, Kind, make_features
from rlkit.agents.linear.lstdq import LSTDQ
from rlkit.agents.linear.samples import Samples
from rlkit.agents.tabular.tables import greedy_actions, one_hot
from rlkit.errors import Diverged, UsageError
from rlkit.options import require_choice, require_range, require_types, require_whole
from rlkit.seeding import NoiseBlocks, SeedStreams, uniform_rows

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LSPIConfig:
    """Options of least-squares policy iteration."""

    discount: float = 0.99  # gamma, in [0, 1]
    # auto: one-hot for discrete observations; for a Box fourier if it is bounded, else polynomial
    features: Kind = "auto"
    order: int | None = None  # of polynomial (None = 2) or fourier features (None = 3), >= 1
    # limits between which the numbers of a Box are scaled; none = the bounds of the space
    feature_low: tuple[float, ...] = ()
    feature_high: tuple[float, ...] = ()  # the upper ones
    ridge: float = 1e-3  # added to the diagonal of A, which is a sum over samples, > 0
    steps_per_update: int = 1_000  # environment steps of a seed between updates, >= 1
    max_iterations: int = 20  # policy iterations per update, >= 1
    capacity: int = 50_000  # the latest transitions that are kept, >= 1
    epsilon_start: float = 1.0  # probability of a random action at the start, in [0, 1]
    epsilon_end: float = 0.1  # the same from epsilon_steps on, in [0, 1]
    epsilon_steps: int = 10_000  # environment steps over which epsilon falls linearly, >= 1

    def __post_init__(self) -> None:
        require_range(self, "discount", "epsilon_start", "epsilon_end", low=0, high=1)
        require_range(self, "ridge", low=0, open_low=True)
        require_choice(self, "features", among=Kind)
        require_whole(
            self,
            *("order", "steps_per_update", "max_iterations", "capacity", "epsilon_steps"),
            at_least=1,
        )
        require_types(self)


class LinearActor:
    """An epsilon-greedy policy for linear action values at one moment.

    Args:
        features: of observations.
        weights: [S, features, actions].
        epsilon: probability of a random action, in [0, 1].
        streams: the streams of each seed.
    """

    def __init__(
        self, features: Features, weights: Array, epsilon: float, streams: Sequence[SeedStreams]
    ) -> None:
        self._features, self._weights = features, weights
        self._epsilon, self._streams = epsilon, streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        self._generators = [stream.generator("exploration", *part) for stream in self._streams]

    def act(self, obs: Array) -> Array:
        values = self.action_values(obs)
        actions: Array = values.argmax(axis=-1)
        if self._epsilon > 0.0:
            noise = np.stack([rng.random((2, obs.shape[1])) for rng in self._generators])
            random = (noise[:, 1] * values.shape[-1]).astype(np.int64)
            actions = np.where(noise[:, 0] < self._epsilon, random, actions)
        return actions

    def action_values(self, obs: Array) -> Array:
        """Return the value of each action, phi(s) . w_a, [S, M, A]."""
        return self._features.values(obs, self._weights)

    def value(self, obs: Array) -> Array:
        """Return the value of the best action, [S, M]."""
        values: Array = self.action_values(obs).max(axis=-1)
        return values

    def probabilities(self, obs: Array) -> Array:
        """Return the probability of each action, [S, M, A]."""
        values = self.action_values(obs)
        greedy = one_hot(values.argmax(axis=-1), values.shape[-1])
        shares: Array = (1.0 - self._epsilon) * greedy + self._epsilon / values.shape[-1]
        return shares


class LSPI:
    """Least-squares policy iteration for all seeds; the module's docstring has the steps."""

    Config = LSPIConfig
    metrics = ("epsilon", "iterations", "bellman_error", "num_samples")
    default_num_envs = 1
    needs_discrete_actions = True

    @staticmethod
    def depends_on_total_steps(config: LSPIConfig) -> bool:
        """Return False: the schedules have lengths of their own."""
        return False

    @staticmethod
    def why_no_update(task: Task, config: LSPIConfig) -> str:
        """Return the steps that an update needs, for a seed that ended without one."""
        return f"an update takes {config.steps_per_update:,} environment steps (steps_per_update)"

    def __init__(self, task: Task, config: LSPIConfig) -> None:
        if not isinstance(task.action_space, spaces.Discrete):
            raise UsageError(
                f"lspi chooses among discrete actions, but the actions are {task.action_space}. "
                "Use ppo or reinforce there."
            )
        self._task, self._config = task, config
        self._features = make_features(
            task.observation_space, config.features, config.order,
            config.feature_low, config.feature_high,
        )  # fmt: skip
        self._num_actions = int(task.action_space.n)
        self._weights = np.zeros((task.num_seeds, self._features.size, self._num_actions))
        self._num_env_steps = np.zeros(task.num_seeds, dtype=np.int64)
        self._samples = Samples(task.num_seeds, config.capacity, task.observation_space)
        self._noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            uniform_rows(2, task.num_envs),  # whether to explore, and what to choose
            block_length=256,
        )

    @property
    def epsilon(self) -> float:
        """The probability of a random action after the environment steps of a seed so far."""
        config = self._config
        progress = min(1.0, int(self._num_env_steps[0]) / config.epsilon_steps)
        return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

    def act(self, obs: Array) -> Array:
        explore, choose = np.moveaxis(self._noise.next(), 1, 0)
        greedy = greedy_actions(self._features.values(obs, self._weights), choose)
        random = (choose * self._num_actions).astype(np.int64)
        return np.where(explore < self.epsilon, random, greedy)

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        num_seeds, every = self._task.num_seeds, self._config.steps_per_update
        metrics = {"epsilon": np.full(num_seeds, self.epsilon)}
        self._samples.add(transition)
        before = int(self._num_env_steps[0]) // every
        self._num_env_steps += self._task.num_envs
        if int(self._num_env_steps[0]) // every == before:
            return metrics
        updates = [self._update(s) for s in range(num_seeds)]
        for i, name in enumerate(self.metrics[1:]):
            metrics[name] = np.array([update[i] for update in updates])
        metrics["num_gradient_steps"] = np.zeros(num_seeds, dtype=np.int64)
        return metrics

    def _update(self, s: int) -> tuple[float, float, float]:
        """Step 3 for one seed; return its metrics."""
        config = self._config
        system = LSTDQ(
            self._features, self._samples.of(s), self._num_actions,
            discount=config.discount, ridge=config.ridge,
        )  # fmt: skip
        weights, iterations, previous = self._weights[s], 0, np.zeros(0)
        actions = system.greedy(weights)
        while iterations < config.max_iterations and not np.array_equal(previous, actions):
            weights, iterations = system.solve(actions), iterations + 1
            previous, actions = actions, system.greedy(weights)
        if not np.isfinite(weights).all():
            raise Diverged(
                self._task.streams[s].index,
                f"lspi diverged at step {int(self._num_env_steps[s])}: weights are no longer "
                "finite; try a larger ridge",
            )
        self._weights[s] = weights
        return float(iterations), system.error(weights, actions), float(len(actions))

    def actor(self, *, greedy: bool = True) -> LinearActor:
        epsilon = 0.0 if greedy else self.epsilon
        return LinearActor(self._features, self._weights.copy(), epsilon, self._task.streams)

    def state_dict(self) -> State:
        return {
            "weights": self._weights.copy(),
            "num_env_steps": self._num_env_steps.copy(),
            "noise": self._noise.state(),
            **self._samples.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self._weights[...] = state["weights"]
        self._num_env_steps[...] = state["num_env_steps"]
        self._noise.load(np.asarray(state["noise"]))
        self._samples.load_state_dict(state)
