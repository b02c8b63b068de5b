"""Sarsa and expected Sarsa on a table.

Sarsa (Rummery, Niranjan 1994; Sutton and Barto 2018, section 6.4), for each seed, at each step:

1. Choose the action a' in s' by the exploring policy: epsilon-greedy or Boltzmann.
2. Update by the step before, of (s, a, r, s', a'): the target is r + gamma Q(s', a').
3. Act and observe the reward. Where the episode ended there is no next action: the target is r
   after a termination, and r + gamma sum_b P(b | s') Q(s', b) after a truncation.

The loop calls `learn` before the next `act`, so the update of a step is made by the `learn` of the
next one, as in the book after a' was chosen. The step that waits is part of the state.

Expected Sarsa (van Seijen et al. 2009; section 6.6) needs no next action, so its updates do not
wait: the target is r + gamma sum_b P(b | s') Q(s', b), and r alone where s' is terminal. It learns
the same values without the noise of the next action; with epsilon = 0 it is Q-learning.

With lambda > 0 they are Sarsa(lambda) and expected Sarsa(lambda) (sections 12.7 and 12.8): every
pair moves by its trace times the error. Traces decay by gamma lambda per step, that of (s, a)
becomes 1 or grows by 1, and an episode's end removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.learning.config import TraceConfig
from rlkit.agents.tabular.learning.learner import TableLearner
from rlkit.agents.tabular.learning.traces import (
    Traces,
    clear_traces,
    list_traces,
    trace_entries,
    traces_of,
    update_traced,
)
from rlkit.agents.tabular.learning.updates import Table, act, report, value_after
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SarsaConfig(TraceConfig):
    """Options of tabular Sarsa, expected or not."""


class Waiting(NamedTuple):
    """The step of each environment that waits for the next action."""

    there: Array  # [N], whether one waits
    obs: Array  # [N]
    action: Array  # [N]
    reward: Array  # [N]


class SarsaState(NamedTuple):
    """Sarsa of one seed."""

    table: Table
    traces: Traces
    waiting: Waiting


@part
def learn(state: SarsaState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Update by the steps that waited for these actions, and by those that ended an episode."""
    table, traces, waiting = state.table, state.traces, state.waiting
    errors, num_updates = 0.0, 0
    for n in range(obs.shape[0]):
        s, a = obs[n], actions[n]
        if waiting.there[n]:
            target = waiting.reward[n] + table.discount * table.q[s, a]
            before, taken = waiting.obs[n], waiting.action[n]
            errors += update_traced(table, traces, n, before, taken, target)
            num_updates += 1
        ended = outcome.terminated[n] or outcome.truncated[n]
        if ended:
            future = value_after(table, outcome, n)
            errors += update_traced(table, traces, n, s, a, outcome.reward[n] + future)
            num_updates += 1
            clear_traces(traces, n)
        waiting.there[n] = not ended
        waiting.obs[n], waiting.action[n], waiting.reward[n] = s, a, outcome.reward[n]
    report(table, obs.shape[0], errors, num_updates, metrics)


class Sarsa(TableLearner):
    """Sarsa for all seeds; see the module's docstring."""

    name = "sarsa"
    Config = SarsaConfig
    kernels = Kernels(act, learn)

    def _initial_entries(self) -> dict[str, Array]:
        shape = self._pair_shape[:2]
        entries = super()._initial_entries() | trace_entries(self._config, self._pair_shape)
        return entries | {
            "waiting": np.zeros(shape, dtype=np.bool_),
            "waiting_obs": np.zeros(shape, dtype=np.int64),
            "waiting_action": np.zeros(shape, dtype=np.int64),
            "waiting_reward": np.zeros(shape),
        }

    def _num_waiting(self, s: int) -> int:
        return self._task.num_envs

    def _derive(self) -> None:
        list_traces(self._entries)

    def _kernel_state(self, s: int, table: Table) -> SarsaState:
        names = ("waiting", "waiting_obs", "waiting_action", "waiting_reward")
        waiting = Waiting(*(self._entries[name][s] for name in names))
        return SarsaState(table, traces_of(self._entries, s, self._config), waiting)


class ExpectedSarsaState(NamedTuple):
    """Expected Sarsa of one seed."""

    table: Table
    traces: Traces


@part
def learn_expected(
    state: ExpectedSarsaState, obs: Array, actions: Array, outcome: Outcome, metrics: Array
) -> None:
    """Update the table by the transitions of one seed; write the metrics."""
    table, traces, errors = state.table, state.traces, 0.0
    for n in range(obs.shape[0]):  # one after another: they may share a pair
        target = outcome.reward[n] + value_after(table, outcome, n)
        errors += update_traced(table, traces, n, obs[n], actions[n], target)
        if outcome.terminated[n] or outcome.truncated[n]:
            clear_traces(traces, n)
    report(table, obs.shape[0], errors, obs.shape[0], metrics)


class ExpectedSarsa(TableLearner):
    """Expected Sarsa for all seeds; see the module's docstring."""

    name = "expected-sarsa"
    Config = SarsaConfig
    kernels = Kernels(act, learn_expected)

    def _initial_entries(self) -> dict[str, Array]:
        return super()._initial_entries() | trace_entries(self._config, self._pair_shape)

    def _derive(self) -> None:
        list_traces(self._entries)

    def _kernel_state(self, s: int, table: Table) -> ExpectedSarsaState:
        return ExpectedSarsaState(table, traces_of(self._entries, s, self._config))
