"""n-step Sarsa (Sutton and Barto 2018, section 7.2) on a table.

For each seed, at each step:

1. Choose the action a' in s' by the exploring policy: epsilon-greedy or Boltzmann.
2. Where n steps wait, update by the oldest, of (s, a): the target is the n-step return
   r_1 + gamma r_2 + ... + gamma^(n-1) r_n + gamma^n Q(s', a').
3. Act, observe the reward, and let the step wait. Where the episode ended all waiting steps are
   updated, the oldest first, by the rewards that are left; after a truncation with the mean
   sum_b P(b | s') Q(s', b) after the last reward, after a termination with nothing.

With n = 1 it is Sarsa. The loop calls `learn` before the next `act`, so step 2 is made by the
`learn` of the next step, as in the book after a' was chosen. The waiting steps are part of the
state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.learning.learner import TableLearner
from rlkit.agents.tabular.learning.updates import Table, act, report, update, value_after
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part
from rlkit.options import require_whole

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class NStepSarsaConfig(TableConfig):
    """Options of tabular n-step Sarsa."""

    return_steps: int = 4  # n, rewards of a return before its bootstrap, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "return_steps", at_least=1)


class Waiting(NamedTuple):
    """The last steps of each environment, in a ring."""

    obs: Array  # [N, n]
    action: Array  # [N, n]
    reward: Array  # [N, n]
    oldest: Array  # [N], the place of the oldest
    number: Array  # [N], how many wait


class NStepState(NamedTuple):
    """n-step Sarsa of one seed."""

    table: Table
    waiting: Waiting


@part
def update_oldest(table: Table, waiting: Waiting, n: int, future: float) -> float:
    """Update by the step of environment n that waits longest, and remove it.

    Args:
        table: to be updated.
        waiting: at least one step.
        n: the environment.
        future: gamma times the value after the last reward.
    """
    size, oldest = waiting.reward.shape[1], waiting.oldest[n]
    target = future
    for i in range(waiting.number[n] - 1, -1, -1):
        discount = 1.0 if i == waiting.number[n] - 1 else table.discount
        target = waiting.reward[n, (oldest + i) % size] + discount * target
    error = update(table, waiting.obs[n, oldest], waiting.action[n, oldest], target)
    waiting.oldest[n] = (oldest + 1) % size
    waiting.number[n] -= 1
    return error


@part
def learn(state: NStepState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Update by the steps whose return is complete."""
    table, waiting = state.table, state.waiting
    errors, num_updates, size = 0.0, 0, waiting.reward.shape[1]
    for n in range(obs.shape[0]):
        s, a = obs[n], actions[n]
        if waiting.number[n] == size:
            errors += update_oldest(table, waiting, n, table.discount * table.q[s, a])
            num_updates += 1
        place = (waiting.oldest[n] + waiting.number[n]) % size
        waiting.obs[n, place], waiting.action[n, place] = s, a
        waiting.reward[n, place] = outcome.reward[n]
        waiting.number[n] += 1
        if outcome.terminated[n] or outcome.truncated[n]:
            while waiting.number[n] > 0:
                errors += update_oldest(table, waiting, n, value_after(table, outcome, n))
                num_updates += 1
    report(table, obs.shape[0], errors, num_updates, metrics)


class NStepSarsa(TableLearner):
    """n-step Sarsa for all seeds; the module's docstring has the numbered steps."""

    name = "n-step-sarsa"
    Config = NStepSarsaConfig
    kernels = Kernels(act, learn)

    def _numbers_per_seed(self) -> int:
        ring = 3 * self._config.return_steps * self._task.num_envs
        return super()._numbers_per_seed() + int(ring)

    def _initial_entries(self) -> dict[str, Array]:
        envs = self._pair_shape[:2]
        ring = (*envs, self._config.return_steps)
        return super()._initial_entries() | {
            "waiting_obs": np.zeros(ring, dtype=np.int64),
            "waiting_action": np.zeros(ring, dtype=np.int64),
            "waiting_reward": np.zeros(ring),
            "waiting_oldest": np.zeros(envs, dtype=np.int64),
            "num_waiting": np.zeros(envs, dtype=np.int64),
        }

    def _num_waiting(self, s: int) -> int:
        return int(self._entries["num_waiting"][s].sum())

    def _kernel_state(self, s: int, table: Table) -> NStepState:
        names = ("waiting_obs", "waiting_action", "waiting_reward", "waiting_oldest", "num_waiting")
        return NStepState(table, Waiting(*(self._entries[name][s] for name in names)))
