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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.tables import (
    TableActor,
    best_value,
    greedy_action,
    greedy_actions,
    require_tabular,
)
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part
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


MOST_STEP_SIZES = 1 << 24  # in a table, 128 MiB


class QState(NamedTuple):
    """Q-learning of one seed, for the compiled loop."""

    q: Array  # [states, actions]
    visits: Array  # [states, actions]
    num_env_steps: Array  # [1]
    step_sizes: Array  # alpha by the number of visits, from 0; [1] for a constant alpha
    discount: float
    epsilon_start: float
    epsilon_end: float
    epsilon_steps: int


@part
def epsilon_now(state: QState) -> float:
    """Return the probability of a random action."""
    progress = min(1.0, state.num_env_steps[0] / state.epsilon_steps)
    epsilon: float = state.epsilon_start + progress * (state.epsilon_end - state.epsilon_start)
    return epsilon


@part
def act(state: QState, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of `QLearning.act`."""
    epsilon = epsilon_now(state)
    num_actions = state.q.shape[1]
    for n in range(obs.shape[0]):
        if noise[0, n] < epsilon:
            actions[n] = int(noise[1, n] * num_actions)
        else:
            actions[n] = greedy_action(state.q, obs[n], noise[1, n])


@part
def learn(state: QState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Update the table as `QLearning.learn` does; write its metrics."""
    metrics[0] = epsilon_now(state)
    errors, num_envs = 0.0, obs.shape[0]
    for n in range(num_envs):
        s, a = obs[n], actions[n]
        future = 0.0
        if not outcome.terminated[n]:
            future = state.discount * best_value(state.q, outcome.next_obs[n])
        state.visits[s, a] += 1
        constant = state.step_sizes.shape[0] == 1
        alpha = state.step_sizes[0 if constant else state.visits[s, a]]
        error = outcome.reward[n] + future - state.q[s, a]
        state.q[s, a] += alpha * error
        errors += abs(error)
    state.num_env_steps[0] += num_envs
    metrics[1] = errors / num_envs


class QLearning:
    """Q-learning for all seeds; the module's docstring has the numbered steps."""

    Config = QLearningConfig
    metrics = ("epsilon", "td_error")
    kernels = Kernels(act, learn)
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
        self._num_env_steps = np.zeros(num_seeds, dtype=np.int64)
        self._step_sizes = np.empty(1)
        self.noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            functools.partial(_uniform_pairs, num_envs=task.num_envs),
            block_length=256,
        )
        self._rows = np.arange(num_seeds)

    @property
    def epsilon(self) -> float:
        """The probability of a random action after the environment steps of a seed so far."""
        config = self._config
        progress = min(1.0, int(self._num_env_steps[0]) / config.epsilon_steps)
        return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

    def act(self, obs: Array) -> Array:
        explore, choose = np.moveaxis(self.noise.next(), 1, 0)
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
            "num_env_steps": self._num_env_steps.copy(),
            "noise": self.noise.state(),
        }

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._q[...], self._visits[...] = state["q"], state["visits"]
        self._num_env_steps[...] = state["num_env_steps"]
        self.noise.load(state["noise"])

    def kernel_state(self, s: int, num_steps: int) -> QState | None:
        """Return the state of one seed for the compiled loop; its arrays are views.

        None where the table of step sizes would be too large, after millions of visits to a pair.
        """
        config = self._config
        most = int(self._visits[s].max()) + num_steps * self._task.num_envs
        if config.step_size is None and most > MOST_STEP_SIZES:
            return None
        return QState(
            q=self._q[s],
            visits=self._visits[s],
            num_env_steps=self._num_env_steps[s : s + 1],
            step_sizes=self._table_of_step_sizes(most),
            discount=config.discount,
            epsilon_start=config.epsilon_start,
            epsilon_end=config.epsilon_end,
            epsilon_steps=config.epsilon_steps,
        )

    def _table_of_step_sizes(self, most: int) -> Array:
        """Return alpha by the number of visits, up to `most` of them."""
        config = self._config
        if config.step_size is not None:
            return np.array([config.step_size])
        if len(self._step_sizes) <= most:
            visits = np.arange(1, 2 * most)  # the table grows seldom
            alpha = visits ** -float(config.step_size_power)
            self._step_sizes = np.concatenate([[np.nan], alpha])
        return self._step_sizes


def _uniform_pairs(rng: np.random.Generator, length: int, *, num_envs: int) -> Array:
    """Draw two numbers in [0, 1) for each decision: whether to explore, and what to choose."""
    return rng.random((length, 2, num_envs))
