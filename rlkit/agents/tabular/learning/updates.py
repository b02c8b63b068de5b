"""The update of one action value, its step size, and what every step of a learner does."""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.tables import (
    Exploration,
    best_value,
    explore,
    level_now,
    policy_value,
)
from rlkit.environments.table_kernels import Outcome
from rlkit.maths.compiled import part

Array = NDArray[Any]


class StepSizes(NamedTuple):
    """Step sizes of one run: by the number of visits, or linear in time."""

    table: Array  # alpha by the number of visits, from 0; [1] where alpha is linear in time
    power: float  # beyond the table alpha = visits^-power
    start: float
    end: float
    steps: int


class Table(NamedTuple):
    """The action values of one seed and how they change; the arrays are views of the agent's."""

    q: Array  # [states, actions]
    visits: Array  # [states, actions], updates by real steps
    num_env_steps: Array  # [1]
    discount: float
    step_sizes: StepSizes
    exploration: Exploration
    masks: Array  # bool [N, actions], of the observations acted on; [0, actions] without masks
    next_masks: Array  # of their successors


@part
def choose_actions(table: Table, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of training."""
    level = level_now(table.exploration, table.num_env_steps[0])
    boltzmann = table.exploration.boltzmann
    for n in range(obs.shape[0]):
        actions[n] = choose(table, obs[n], boltzmann, level, noise, n)


@part
def act(state: Any, obs: Array, noise: Array, actions: Array) -> None:
    """Write the actions of a learner whose state has a `table`."""
    choose_actions(state.table, obs, noise, actions)


@part
def report(table: Table, num_envs: int, errors: float, num_updates: int, metrics: Array) -> None:
    """Write the metrics of a step, of which `errors` is the sum of |TD error|; count the step."""
    epsilon = level_now(table.exploration, table.num_env_steps[0])
    metrics[0] = np.nan if table.exploration.boltzmann else epsilon
    metrics[1] = errors / num_updates if num_updates else np.nan
    table.num_env_steps[0] += num_envs


@part
def step_size(table: Table, s: int, a: int) -> float:
    """Return alpha of a pair at its present number of visits."""
    sizes = table.step_sizes
    if sizes.table.shape[0] > 1:
        visits = max(1, table.visits[s, a])
        beyond = visits >= sizes.table.shape[0]
        alpha: float = float(visits) ** -sizes.power if beyond else sizes.table[visits]
        return alpha
    progress: float = min(1.0, table.num_env_steps[0] / sizes.steps)
    return sizes.start + progress * (sizes.end - sizes.start)


@part
def update(table: Table, s: int, a: int, target: float) -> float:
    """Move Q(s, a) towards a target by a visit of the pair; return the absolute error."""
    table.visits[s, a] += 1
    error: float = target - table.q[s, a]
    table.q[s, a] += step_size(table, s, a) * error
    return abs(error)


@part
def value_after(table: Table, outcome: Outcome, n: int) -> float:
    """Return gamma times the value of the exploring policy after a step; 0 if it terminated."""
    if outcome.terminated[n]:
        return 0.0
    level = level_now(table.exploration, table.num_env_steps[0])
    boltzmann, after = table.exploration.boltzmann, outcome.next_obs[n]
    return table.discount * mean_after(table, after, boltzmann, level, n)


# --- choices among all actions; `masks.py` has the same among the allowed ones ---


@part
def choose(table: Table, s: int, boltzmann: bool, level: float, noise: Array, n: int) -> int:
    """Return the action of training in state s of environment n; see `explore`."""
    return explore(table.q, s, boltzmann, level, noise, n)


@part
def mean_after(table: Table, s: int, boltzmann: bool, level: float, n: int) -> float:
    """Return sum_a P(a | s) Q(s, a) under the exploring policy in s, where environment n came."""
    return policy_value(table.q, s, boltzmann, level)


@part
def best_before(table: Table, s: int, n: int) -> float:
    """Return the value of the best action in s, where environment n was acted in."""
    return best_value(table.q, s)


@part
def best_after(table: Table, s: int, n: int) -> float:
    """Return the value of the best action in s, where environment n came."""
    return best_value(table.q, s)


@part
def best_kept(table: Table, s: int, masks: Array, of: tuple[int, int, int]) -> float:
    """Return the value of the best action in s, where a kept outcome led.

    Args:
        table: of one seed.
        s: the state.
        masks: which actions are allowed after each outcome that is kept, bool [states, actions,
            memory, actions].
        of: state, action and place of the outcome.
    """
    return best_value(table.q, s)


@part
def best_action_after(table: Table, s: int, n: int) -> int:
    """Return the first of the best actions in s, where environment n came."""
    best = 0
    for a in range(1, table.q.shape[1]):
        if table.q[s, a] > table.q[s, best]:
            best = a
    return best


MOST_STEP_SIZES = 1 << 21  # in a table, 16 MiB


class StepSizeTable:
    """Makes `StepSizes`; the table grows with the number of visits, up to `MOST_STEP_SIZES`."""

    def __init__(self, config: TableConfig) -> None:
        start, end = config.step_size, config.step_size_end
        self._power = np.nan if start is not None else float(config.step_size_power)
        start = np.nan if start is None else start
        end = start if end is None else end
        steps = 1 if np.isnan(start) else config.step_size_steps
        self._sizes = StepSizes(np.full(1, np.nan), self._power, start, end, steps)

    @property
    def by_visits(self) -> bool:
        """Whether a step size depends on the number of visits of its pair."""
        return not np.isnan(self._power)

    def up_to(self, visits: int) -> StepSizes:
        """Return step sizes for up to this many visits of a pair; the same until they grow."""
        visits = min(visits, MOST_STEP_SIZES)
        if self.by_visits and len(self._sizes.table) <= visits:
            known = self._sizes.table  # [1] before the first growth
            table = np.frombuffer(mmap.mmap(-1, 8 * (min(2 * visits, MOST_STEP_SIZES) + 1)))
            table[: len(known)] = known
            new = table[len(known) :]
            new[:] = 1.0
            np.cumsum(new, out=new)  # 1, 2, ...: all in place, in memory that goes back when freed
            new += len(known) - 1.0
            np.power(new, -self._power, out=new)
            self._sizes = self._sizes._replace(table=table)
        return self._sizes
