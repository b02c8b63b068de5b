"""Q-learning (Watkins 1989; Sutton and Barto 2018, section 6.5) on a table.

For each seed, at each step:

1. With probability epsilon act at random, else take argmax_a Q(s, a), ties broken at random; or
   draw the action from the Boltzmann distribution.
2. Observe r and s'. The target is r + gamma max_a' Q(s', a'), and r alone where s' is terminal;
   a truncated episode bootstraps like any other step.
3. Q(s, a) <- Q(s, a) + alpha [target - Q(s, a)], with a constant alpha, one that is linear in time,
   or alpha = n(s, a)^-omega for the n-th visit of the pair, which converges for omega in (1/2, 1]
   (Even-Dar, Mansour 2003).

With lambda > 0 it is Watkins's Q(lambda) (Sutton and Barto 1998, section 7.6): step 3 moves every
pair by its trace times the error. Traces decay by gamma lambda per step, that of (s, a) becomes 1
or grows by 1, and all are cut before an action that is not greedy and after an episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

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
from rlkit.agents.tabular.learning.updates import Table, act, best_after, best_before, report
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class QLearningConfig(TraceConfig):
    """Options of tabular Q-learning."""


class QState(NamedTuple):
    """Q-learning of one seed."""

    table: Table
    traces: Traces


@part
def learn(state: QState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Update the table by the transitions of one seed; write the metrics."""
    table, traces, errors = state.table, state.traces, 0.0
    for n in range(obs.shape[0]):  # one after another: they may share a pair
        s, a = obs[n], actions[n]
        if table.q[s, a] < best_before(table, s, n):
            clear_traces(traces, n)
        future = 0.0
        if not outcome.terminated[n]:
            future = table.discount * best_after(table, outcome.next_obs[n], n)
        errors += update_traced(table, traces, n, s, a, outcome.reward[n] + future)
        if outcome.terminated[n] or outcome.truncated[n]:
            clear_traces(traces, n)
    report(table, obs.shape[0], errors, obs.shape[0], metrics)


class QLearning(TableLearner):
    """Q-learning for all seeds; the module's docstring has the numbered steps."""

    name = "q-learning"
    Config = QLearningConfig
    kernels = Kernels(act, learn)

    def _initial_entries(self) -> dict[str, Array]:
        return super()._initial_entries() | trace_entries(self._config, self._pair_shape)

    def _derive(self) -> None:
        list_traces(self._entries)

    def _kernel_state(self, s: int, table: Table) -> QState:
        return QState(table, traces_of(self._entries, s, self._config))
