"""Q-learning (Watkins 1989; Sutton and Barto 2018, section 6.5) on a table.

For each seed, at each step:

1. With probability epsilon act at random, else take argmax_a Q(s, a), ties broken at random.
2. Observe r and s'. The target is r + gamma max_a' Q(s', a'), and r alone where s' is terminal;
   a truncated episode bootstraps like any other step.
3. Q(s, a) <- Q(s, a) + alpha [target - Q(s, a)], with a constant alpha, or alpha = n(s, a)^-omega
   for the n-th visit of the pair, which converges for omega in (1/2, 1] (Even-Dar, Mansour 2003).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.agents.tables import TableActor, greedy_actions, require_tabular
from rlkit.options import require_range, require_whole
from rlkit.seeding import NoiseBlocks

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class QLearningConfig:
    """Options of tabular Q-learning."""

    discount: float = 0.99  # gamma, in [0, 1]
    step_size: float | None = None  # alpha, constant, in (0, 1]; None = visits^-step_size_power
    step_size_power: float = 0.6  # omega of alpha = visits^-omega, in [0, 1]
    initial_value: float = 0.0  # initial Q(s, a) of every pair
    epsilon_start: float = 1.0  # probability of a random action at the start, in [0, 1]
    epsilon_end: float = 0.05  # the same from epsilon_steps on, in [0, 1]
    epsilon_steps: int = 100_000  # environment steps over which epsilon falls linearly, >= 1

    def __post_init__(self) -> None:
        require_range(self, "discount", "epsilon_start", "epsilon_end", low=0, high=1)
        require_range(self, "step_size", low=0, high=1, open_low=True)
        require_range(self, "step_size_power", low=0, high=1)
        require_range(self, "initial_value", low=-np.inf)
        require_whole(self, "epsilon_steps", at_least=1)


class QLearning:
    """Q-learning for all seeds; the module's docstring has the numbered steps."""

    Config = QLearningConfig
    metrics = ("epsilon", "td_error")
    default_num_envs = 1

    @staticmethod
    def depends_on_total_steps(config: QLearningConfig) -> bool:
        """Return False: the schedules have lengths of their own."""
        return False

    def __init__(self, task: Task, config: QLearningConfig) -> None:
        num_states, num_actions = require_tabular("q-learning", task)
        self._task, self._config = task, config
        num_seeds = task.num_seeds
        table = (num_seeds, num_states, num_actions)
        self._q = np.full(table, config.initial_value)
        self._visits = np.zeros(table, dtype=np.int64)
        self._num_env_steps = 0
        self._noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            functools.partial(_uniform_pairs, num_envs=task.num_envs),
            block_length=256,
        )
        self._rows = np.arange(num_seeds)

    @property
    def epsilon(self) -> float:
        """The probability of a random action after the environment steps of a seed so far."""
        config = self._config
        progress = min(1.0, self._num_env_steps / config.epsilon_steps)
        return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

    def act(self, obs: Array) -> Array:
        explore, choose = np.moveaxis(self._noise.next(), 1, 0)
        greedy = greedy_actions(self._q[self._rows[:, None], obs], choose)
        random = (choose * self._q.shape[-1]).astype(np.int64)
        return np.where(explore < self.epsilon, random, greedy)

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        config, rows = self._config, self._rows
        epsilon, errors = self.epsilon, np.zeros(len(rows))
        for n in range(transition.obs.shape[1]):  # one after another: they may share a pair
            s, a = transition.obs[:, n], transition.action[:, n]
            best_next = self._q[rows, transition.next_obs[:, n]].max(axis=-1)
            future = np.where(transition.terminated[:, n], 0.0, config.discount * best_next)
            self._visits[rows, s, a] += 1
            visits = self._visits[rows, s, a]
            constant = config.step_size
            alpha = visits ** -float(config.step_size_power) if constant is None else constant
            error = transition.reward[:, n] + future - self._q[rows, s, a]
            self._q[rows, s, a] += alpha * error
            errors += np.abs(error)
        self._num_env_steps += transition.obs.shape[1]
        return {
            "epsilon": np.full(len(rows), epsilon),
            "td_error": errors / transition.obs.shape[1],
        }

    def actor(self, *, greedy: bool = True) -> TableActor:
        return TableActor(self._q.copy(), 0.0 if greedy else self.epsilon, self._task.streams)

    def state_dict(self) -> dict[str, Array]:
        return {
            "q": self._q.copy(),
            "visits": self._visits.copy(),
            "num_env_steps": np.full(len(self._rows), self._num_env_steps),
            "noise": self._noise.state(),
        }

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._q[...], self._visits[...] = state["q"], state["visits"]
        self._num_env_steps = int(state["num_env_steps"][0])
        self._noise.load(state["noise"])


def _uniform_pairs(rng: np.random.Generator, length: int, *, num_envs: int) -> Array:
    """Draw two numbers in [0, 1) for each decision: whether to explore, and what to choose."""
    return rng.random((length, 2, num_envs))
