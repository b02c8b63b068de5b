"""Tasks and transitions of bandits, for the tests of their agents."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from rlkit.agent import Task, Transition
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP


def bandit_task(
    num_seeds: int = 2, num_envs: int = 1, arms: int = 2, mdp: TabularMDP | None = None
) -> Task:
    streams = tuple(SeedStreams(0, index) for index in range(num_seeds))
    return Task(spaces.Discrete(1), spaces.Discrete(arms), streams, num_envs, 1000, mdp)


def pulls(arms: Any, rewards: Any, ends: Any = False) -> Transition:
    """One pull in every environment [S, N]."""
    action = np.asarray(arms)
    state, no = np.zeros(action.shape, dtype=np.int64), np.zeros(action.shape, dtype=bool)
    reward = np.asarray(rewards, dtype=np.float64)
    return Transition(state, action, reward, no, no | ends, state, state)


def bandit_mdp(means: list[float], rewards: tuple[float, float] = (1.0, 0.0)) -> TabularMDP:
    table = [[[(p, 0, rewards[0], False), (1 - p, 0, rewards[1], False)] for p in means]]
    return TabularMDP.from_successors(table, initial_distribution=[1.0], time_limit=7)
