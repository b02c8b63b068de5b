"""On-policy Monte-Carlo control (Sutton and Barto 2018, section 5.4) on a table.

For each seed:

1. Act by the exploring policy, epsilon-greedy or Boltzmann, and keep the episode.
2. At its end go back from the last step with the return G <- r + gamma G; it begins with 0 after a
   termination, and with sum_b P(b | s') Q(s', b) after a truncation, which is no end.
3. At the first visit of each pair in the episode, or at every visit, Q(s, a) <- Q(s, a) +
   alpha [G - Q(s, a)]. With alpha = 1 / visits that is the mean of all returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import State, Task
from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.learning.learner import TableLearner
from rlkit.agents.tabular.learning.updates import Table, act, report, update, value_after
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part
from rlkit.options import require_choice

Array = NDArray[Any]
Visits = Literal["first", "every"]


@dataclass(frozen=True, kw_only=True)
class MonteCarloConfig(TableConfig):
    """Options of Monte-Carlo control."""

    visit: Visits = "first"  # the visits of a pair in an episode whose returns count

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self, "visit", among=Visits)


class History(NamedTuple):
    """The running episodes of one seed; a pair is state * num_actions + action."""

    pairs: Array  # [N, capacity]
    rewards: Array  # [N, capacity]
    length: Array  # [N], steps so far
    first: Array  # [pairs], -1; to work in: the step at which a pair was visited first


class MonteCarloState(NamedTuple):
    """Monte-Carlo control of one seed."""

    table: Table
    history: History
    first_visit: bool


@part
def learn(
    state: MonteCarloState, obs: Array, actions: Array, outcome: Outcome, metrics: Array
) -> None:
    """Add the transitions to their episodes, and learn from the episodes that ended."""
    table, history = state.table, state.history
    errors, num_updates, num_actions = 0.0, 0, table.q.shape[1]
    for n in range(obs.shape[0]):
        length = history.length[n]
        history.pairs[n, length] = obs[n] * num_actions + actions[n]
        history.rewards[n, length] = outcome.reward[n]
        history.length[n] = length + 1
        if not (outcome.terminated[n] or outcome.truncated[n]):
            continue
        if state.first_visit:
            for t in range(length, -1, -1):
                history.first[history.pairs[n, t]] = t
        returns = value_after(table, outcome, n)
        for t in range(length, -1, -1):
            returns = history.rewards[n, t] + (returns if t == length else table.discount * returns)
            pair = history.pairs[n, t]
            if not state.first_visit or history.first[pair] == t:
                errors += update(table, pair // num_actions, pair % num_actions, returns)
                num_updates += 1
        history.length[n] = 0
    report(table, obs.shape[0], errors, num_updates, metrics)
    if num_updates == 0:
        metrics[0] = np.nan


class MonteCarlo(TableLearner):
    """Monte-Carlo control for all seeds; the module's docstring has the numbered steps."""

    name = "monte-carlo"
    Config = MonteCarloConfig
    kernels = Kernels(act, learn)

    @staticmethod
    def why_no_update(task: Task, config: MonteCarloConfig) -> str:
        """Return what an update needs."""
        return "an episode that ends, by termination or by a time limit"

    def _initial_entries(self) -> dict[str, Array]:
        shape = self._pair_shape
        return super()._initial_entries() | {
            "num_history": np.zeros(shape[:2], dtype=np.int64),
            "_pairs": np.zeros((*shape[:2], 0), dtype=np.int64),
            "_rewards": np.zeros((*shape[:2], 0)),
            "_first": np.full((shape[0], shape[2]), -1),
        }

    def _num_waiting(self, s: int) -> int:
        return int(self._entries["num_history"][s].sum())

    def _capacity(self, num_steps: int) -> int:
        return int(self._entries["num_history"].max()) + num_steps

    def _num_bytes(self, num_steps: int) -> int:
        return 16 * self._capacity(num_steps) * self._entries["num_history"].size

    def _make_room(self, num_steps: int) -> None:
        old, capacity = self._entries["_pairs"].shape[-1], self._capacity(num_steps)
        if capacity <= old:
            return
        for name in ("_pairs", "_rewards"):
            before = self._entries[name]
            larger = np.zeros((*before.shape[:2], capacity), dtype=before.dtype)
            larger[..., :old] = before
            self._entries[name] = larger
        self._made.clear()

    def _kernel_state(self, s: int, table: Table) -> MonteCarloState:
        names = ("_pairs", "_rewards", "num_history", "_first")
        history = History(*(self._entries[name][s] for name in names))
        return MonteCarloState(table, history, self._config.visit == "first")

    def state_dict(self) -> State:
        state = super().state_dict()
        for name in ("pairs", "rewards"):  # of each seed as long as its longest running episode
            longest = self._entries["num_history"].max(axis=1)
            arrays = self._entries[f"_{name}"]
            state[f"history_{name}"] = [
                array[:, :length].copy() for array, length in zip(arrays, longest, strict=True)
            ]
        return state

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._make_room(0)
        for name in ("pairs", "rewards"):
            for array, part_ in zip(
                self._entries[f"_{name}"], state[f"history_{name}"], strict=True
            ):
                array[:, : part_.shape[1]] = part_
