"""UCB1 (Auer, Cesa-Bianchi and Fischer 2002) for bandits with rewards in [0, 1].

For each environment, at each step:

1. Pull an arm that was not pulled yet, if there is one; else one with the largest upper bound
   mean_k + sqrt(c ln(t) / n_k), after t pulls in all and n_k of arm k. Ties are broken at random.
2. Observe r: n_k <- n_k + 1, and mean_k becomes the mean of all rewards of arm k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.bandits import Bandits, Grouping, remarks_on_evaluation, require_bandit
from rlkit.agents.tabular.tables import TableActor, greedy_action, greedy_actions
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part
from rlkit.options import require_choice, require_range
from rlkit.seeding import NoiseBlocks, uniform_rows

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class UCBConfig:
    """Options of UCB1."""

    exploration: float = 2.0  # c of the bonus sqrt(c ln(t) / n), >= 0
    # new: each episode is another bandit, at whose end all is forgotten; same: all are one bandit;
    # auto: the same where the model is known
    bandits: Bandits = "auto"

    def __post_init__(self) -> None:
        require_range(self, "exploration", low=0)
        require_choice(self, "bandits", among=Bandits)


class UCBState(NamedTuple):
    """UCB1 of one seed, for the compiled loop."""

    sums: Array  # [groups, K], of rewards
    pulls: Array  # [groups, K]
    bounds: Array  # [1, K], to work in
    logs: Array  # c ln(t) by t, from 0
    forgets: bool


@part
def act(state: UCBState, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of `UCB.act`."""
    num_groups, num_arms = state.pulls.shape
    for n in range(obs.shape[0]):
        group = n % num_groups
        total = 0
        for k in range(num_arms):
            total += state.pulls[group, k]
        for k in range(num_arms):
            pulls = state.pulls[group, k]
            state.bounds[0, k] = np.inf
            if pulls:
                mean = state.sums[group, k] / pulls
                state.bounds[0, k] = mean + np.sqrt(state.logs[total] / pulls)
        actions[n] = greedy_action(state.bounds, 0, noise[n])


@part
def learn(state: UCBState, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    """Count as `UCB.learn` does; write its metrics."""
    num_groups, num_arms = state.pulls.shape
    bonuses, num_envs = 0.0, obs.shape[0]
    for n in range(num_envs):
        group, k = n % num_groups, actions[n]
        state.sums[group, k] += outcome.reward[n]
        state.pulls[group, k] += 1
        total = 0
        for other in range(num_arms):
            total += state.pulls[group, other]
        bonuses += np.sqrt(state.logs[total] / state.pulls[group, k])
    if state.forgets:
        for n in range(num_envs):
            if outcome.terminated[n] or outcome.truncated[n]:
                for k in range(num_arms):
                    state.sums[n, k], state.pulls[n, k] = 0.0, 0
    metrics[0] = bonuses / num_envs


class UCB:
    """UCB1 for all seeds; the module's docstring has the numbered steps."""

    Config = UCBConfig
    metrics = ("bonus",)
    kernels = Kernels(act, learn)
    default_num_envs = 1
    needs_discrete_observations = True
    needs_discrete_actions = True

    @staticmethod
    def depends_on_total_steps(config: UCBConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    @staticmethod
    def remarks(task: Task, config: UCBConfig) -> Sequence[str]:
        """Return a sentence on evaluation where bandits are drawn."""
        return remarks_on_evaluation("ucb", task)

    def __init__(self, task: Task, config: UCBConfig) -> None:
        num_arms = require_bandit("ucb", task)
        self._task, self._config = task, config
        self._groups = Grouping(task, config.bandits)
        shape = (task.num_seeds, self._groups.num_groups, num_arms)
        self._sums, self._pulls = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self._logs = np.empty(0)
        draw = uniform_rows(task.num_envs)
        generators = [stream.generator("action") for stream in task.streams]
        self.noise = NoiseBlocks(generators, draw, block_length=256)

    def act(self, obs: Array) -> Array:
        uniform = self.noise.next()
        bounds = self._bounds(self._sums, self._pulls)
        return greedy_actions(np.broadcast_to(bounds, (*uniform.shape, bounds.shape[-1])), uniform)

    def _bounds(self, sums: Array, pulls: Array) -> Array:
        """Return the upper bound of each arm, infinite before its first pull, `[S, groups, K]`."""
        logs = self._table_of_logs(1)[pulls.sum(axis=-1, keepdims=True)]
        number = np.maximum(pulls, 1)
        bounds: Array = np.where(pulls > 0, sums / number + np.sqrt(logs / number), np.inf)
        return bounds

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        rows = np.arange(self._task.num_seeds)
        num_envs = transition.reward.shape[1]
        logs, bonuses = self._table_of_logs(num_envs), np.zeros(len(rows))
        for n in range(num_envs):  # one after another: they may share a group
            arm, group = transition.action[:, n], self._groups.of(n)
            self._sums[rows, group, arm] += transition.reward[:, n]
            self._pulls[rows, group, arm] += 1
            total = self._pulls[:, group].sum(axis=-1)
            bonuses += np.sqrt(logs[total] / self._pulls[rows, group, arm])
        ended = transition.terminated | transition.truncated
        self._groups.forget(ended, self._sums, self._pulls)
        return {"bonus": bonuses / num_envs}

    def actor(self, *, greedy: bool = True) -> TableActor:
        """Return the arm with the largest mean, or with the largest upper bound.

        Environments that learned for themselves are taken together.
        """
        sums, pulls = (each.sum(axis=1, keepdims=True) for each in (self._sums, self._pulls))
        means = sums / np.maximum(pulls, 1)
        return TableActor(means if greedy else self._bounds(sums, pulls), 0.0, self._task.streams)

    def state_dict(self) -> dict[str, Array]:
        return {
            "sums": self._sums.copy(),
            "pulls": self._pulls.copy(),
            "noise": self.noise.state(),
        }

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._sums[...], self._pulls[...] = state["sums"], state["pulls"]
        self.noise.load(state["noise"])

    def kernel_state(self, s: int, num_steps: int) -> UCBState:
        """Return the state of one seed for the compiled loop; its arrays are views."""
        more = num_steps * self._task.num_envs
        return UCBState(
            sums=self._sums[s],
            pulls=self._pulls[s],
            bounds=np.empty((1, self._pulls.shape[-1])),
            logs=self._table_of_logs(more),
            forgets=self._groups.forgets,
        )

    def _table_of_logs(self, more: int) -> Array:
        """Return c ln(t) by t, up to so many pulls more than there were."""
        most = int(self._pulls.sum(axis=(1, 2)).max()) + more
        if len(self._logs) <= most:
            logs = np.log(np.arange(1, 2 * most + 1))  # the table grows seldom
            self._logs = np.concatenate([[np.nan], self._config.exploration * logs])
        return self._logs
