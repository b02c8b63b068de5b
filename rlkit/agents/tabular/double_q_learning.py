"""Double Q-learning (van Hasselt 2010; Sutton and Barto 2018, section 6.7) on two tables.

For each seed, at each step:

1. Act by the exploring policy for (Q1 + Q2) / 2.
2. Observe r and s'. With probability 1/2 the table to update is Q1, else the two change roles.
3. The target is r + gamma Q2(s', a*) with a* = argmax_a Q1(s', a), the first of the best, and r
   alone where s' is terminal; a truncated episode bootstraps like any other step.
4. Q1(s, a) <- Q1(s, a) + alpha [target - Q1(s, a)]; visits are counted per table.

One table chooses the action and the other says what it is worth, so noise in one of them is not
mistaken for value, as it is by the maximum in Q-learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.learning.learner import TableLearner
from rlkit.agents.tabular.learning.updates import (
    Table,
    best_action_after,
    choose_actions,
    report,
    update,
)
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class DoubleQLearningConfig(TableConfig):
    """Options of tabular double Q-learning."""


class DoubleState(NamedTuple):
    """Double Q-learning of one seed."""

    table: Table  # the mean of both
    first: Table
    second: Table
    coins: Array  # [N], numbers in [0, 1) that choose the table to update


@part
def act(state: DoubleState, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of training; keep the coins for `learn`."""
    choose_actions(state.table, obs, noise, actions)
    for n in range(obs.shape[0]):
        state.coins[n] = noise[2, n]


@part
def update_one(one: Table, other: Table, s: int, a: int, outcome: Outcome, n: int) -> float:
    """Update one of two tables by the value that the other gives to its best action."""
    future = 0.0
    if not outcome.terminated[n]:
        after = outcome.next_obs[n]
        best = best_action_after(one, after, n)
        future = one.discount * other.q[after, best]
    return update(one, s, a, outcome.reward[n] + future)


@part
def learn(state: DoubleState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Update one of the tables by each transition of one seed; write the metrics."""
    first, second, errors = state.first, state.second, 0.0
    for n in range(obs.shape[0]):  # one after another: they may share a pair
        s, a = obs[n], actions[n]
        if state.coins[n] < 0.5:
            errors += update_one(first, second, s, a, outcome, n)
        else:
            errors += update_one(second, first, s, a, outcome, n)
        state.table.q[s, a] = 0.5 * (first.q[s, a] + second.q[s, a])
    report(state.table, obs.shape[0], errors, obs.shape[0], metrics)


class DoubleQLearning(TableLearner):
    """Double Q-learning for all seeds; the module's docstring has the numbered steps."""

    name = "double-q-learning"
    Config = DoubleQLearningConfig
    kernels = Kernels(act, learn)

    def _noise_rows(self) -> int:
        return 3

    def _numbers_per_seed(self) -> int:
        return super()._numbers_per_seed() + 3 * self._pair_shape[2]

    def _initial_entries(self) -> dict[str, Array]:
        entries = super()._initial_entries()
        both = {name: np.stack([entries[name]] * 2, axis=1) for name in ("q", "visits")}
        coins = np.empty(self._pair_shape[:2])
        return entries | both | {"_mean": entries["q"], "_coins": coins}

    def _derive(self) -> None:
        q = self._entries["q"]
        self._entries["_mean"][...] = 0.5 * (q[:, 0] + q[:, 1])

    def _action_values(self) -> Array:
        return self._entries["_mean"]

    def _kernel_state(self, s: int, table: Table) -> DoubleState:
        q, visits = self._entries["q"][s], self._entries["visits"][s]
        first, second = (table._replace(q=q[i], visits=visits[i]) for i in range(2))
        mean = table._replace(visits=visits[0])
        return DoubleState(mean, first, second, self._entries["_coins"][s])
