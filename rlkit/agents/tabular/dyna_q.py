"""Dyna-Q (Sutton 1990; Sutton and Barto 2018, section 8.2) on a table.

For each seed, at each step:

1. Act by the exploring policy and update by r and s' as Q-learning does.
2. Model(s, a) keeps (r, s', whether it terminated): the last one, as in the book, or the last few.
3. Repeat `planning_steps` times: draw a state that was visited, an action that was taken in it, and
   one of the outcomes that its model keeps; update by them as if they had just happened.
   With action masks, an outcome is kept with those of its successor.

A planned update uses the step size of the pair's real visits, and is not counted as one.
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
    best_after,
    best_kept,
    choose_actions,
    report,
    step_size,
    update,
)
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part
from rlkit.options import require_whole

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class DynaQConfig(TableConfig):
    """Options of tabular Dyna-Q."""

    planning_steps: int = 5  # planned updates per environment step, >= 0
    # the last outcomes of each pair from which planning draws, >= 1; 1 suits deterministic
    # environments
    model_memory: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "planning_steps", at_least=0)
        require_whole(self, "model_memory", at_least=1)


class Model(NamedTuple):
    """What one seed has seen."""

    states: Array  # [states], those visited, in the order of their first visits
    num_states: Array  # [1]
    actions: Array  # [states, actions], those taken in each state, in the same order
    num_actions: Array  # [states]
    reward: Array  # [states, actions, memory], a ring
    next_obs: Array  # [states, actions, memory]
    terminated: Array  # [states, actions, memory]
    next_masks: Array  # bool [states, actions, memory, actions]; [..., 0] without action masks


class DynaState(NamedTuple):
    """Dyna-Q of one seed."""

    table: Table
    model: Model
    draws: Array  # [3 planning_steps, N], numbers in [0, 1) for planning


@part
def act(state: DynaState, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of training; keep the numbers for planning."""
    choose_actions(state.table, obs, noise, actions)
    for i in range(state.draws.shape[0]):
        for n in range(obs.shape[0]):
            state.draws[i, n] = noise[2 + i, n]


@part
def remember(table: Table, model: Model, s: int, a: int, outcome: Outcome, n: int) -> None:
    """Put a transition in the model, after its visit was counted."""
    # The bounds hold in every state that a run stores; a made-up one must not write elsewhere.
    if table.visits[s, a] == 1 and model.num_actions[s] < model.actions.shape[1]:
        if model.num_actions[s] == 0 and model.num_states[0] < model.states.shape[0]:
            model.states[model.num_states[0]] = s
            model.num_states[0] += 1
        model.actions[s, model.num_actions[s]] = a
        model.num_actions[s] += 1
    place = (table.visits[s, a] - 1) % model.reward.shape[2]
    model.reward[s, a, place] = outcome.reward[n]
    model.next_obs[s, a, place] = outcome.next_obs[n]
    model.terminated[s, a, place] = outcome.terminated[n]
    for b in range(model.next_masks.shape[3]):
        model.next_masks[s, a, place, b] = table.next_masks[n, b]


@part
def plan(table: Table, model: Model, draws: Array, n: int) -> None:
    """Update by outcomes that are drawn from the model."""
    for i in range(0, draws.shape[0], 3):
        s = model.states[int(draws[i, n] * model.num_states[0])]
        a = model.actions[s, int(draws[i + 1, n] * model.num_actions[s])]
        k = int(draws[i + 2, n] * min(table.visits[s, a], model.reward.shape[2]))
        target = model.reward[s, a, k]
        if not model.terminated[s, a, k]:
            after = model.next_obs[s, a, k]
            target += table.discount * best_kept(table, after, model.next_masks, (s, a, k))
        table.q[s, a] += step_size(table, s, a) * (target - table.q[s, a])


@part
def learn(state: DynaState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Learn from the transitions of one seed, and plan after each."""
    table, errors = state.table, 0.0
    for n in range(obs.shape[0]):  # one after another: they may share a pair
        s, a = obs[n], actions[n]
        future = 0.0
        if not outcome.terminated[n]:
            future = table.discount * best_after(table, outcome.next_obs[n], n)
        errors += update(table, s, a, outcome.reward[n] + future)
        remember(table, state.model, s, a, outcome, n)
        plan(table, state.model, state.draws, n)
    report(table, obs.shape[0], errors, obs.shape[0], metrics)


class DynaQ(TableLearner):
    """Dyna-Q for all seeds; the module's docstring has the numbered steps."""

    name = "dyna-q"
    Config = DynaQConfig
    kernels = Kernels(act, learn)

    def _noise_rows(self) -> int:
        return 2 + 3 * int(self._config.planning_steps)

    def _numbers_per_seed(self) -> int:
        outcomes = self._config.model_memory * self._pair_shape[2]
        masks = outcomes * self._num_actions / 8 if self._task.action_masks else 0
        return super()._numbers_per_seed() + int(2 * outcomes + masks)

    def _initial_entries(self) -> dict[str, Array]:
        entries = super()._initial_entries()
        num_seeds, num_states, num_actions = entries["q"].shape
        outcomes = (num_seeds, num_states, num_actions, self._config.model_memory)
        masks = np.zeros((*outcomes, num_actions if self._task.action_masks else 0), dtype=np.bool_)
        draws = (num_seeds, 3 * self._config.planning_steps, self._task.num_envs)
        return entries | {
            "model_states": np.zeros((num_seeds, num_states), dtype=np.int64),
            "num_model_states": np.zeros((num_seeds, 1), dtype=np.int64),
            "model_actions": np.zeros(outcomes[:3], dtype=np.int64),
            "num_model_actions": np.zeros((num_seeds, num_states), dtype=np.int64),
            "model_reward": np.zeros(outcomes),
            "model_next_obs": np.zeros(outcomes, dtype=np.int64),
            "model_terminated": np.zeros(outcomes, dtype=np.bool_),
            self._masks_entry: masks,
            "_draws": np.empty(draws),
        }

    @property
    def _masks_entry(self) -> str:
        """The name of the masks of the model, which are not stored where there are none."""
        return "model_next_masks" if self._task.action_masks else "_model_next_masks"

    def _kernel_state(self, s: int, table: Table) -> DynaState:
        names = ("model_states", "num_model_states", "model_actions", "num_model_actions")
        outcomes = ("model_reward", "model_next_obs", "model_terminated", self._masks_entry)
        model = Model(*(self._entries[name][s] for name in (*names, *outcomes)))
        return DynaState(table, model, self._entries["_draws"][s])
