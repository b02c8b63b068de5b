"""The exact answers about a policy by dense linear algebra, written out one successor at a time."""

from typing import Any

import gymnasium as gym
import numpy as np

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.published import read_table
from tests.tabular.models import from_env

TABLES: list[tuple[str, dict[str, Any]]] = [
    ("FrozenLake-v1", {}),
    ("FrozenLake8x8-v1", {}),
    ("CliffWalking-v1", {}),
    ("CliffWalkingSlippery-v1", {}),
    ("Taxi-v4", {}),
    ("Taxi-v4", {"is_rainy": True}),
    ("Taxi-v4", {"fickle_passenger": True}),
]
NAMES = [f"{name} {' '.join(options)}".strip() for name, options in TABLES]


def table(case: int) -> TabularMDP:
    name, options = TABLES[case]
    if "fickle_passenger" in options:
        # Its passenger does not follow the table that it publishes; the table is a model as well.
        return read_table(gym.make(name, **options))
    return from_env(name, **options)


def random_policy(mdp: TabularMDP, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(mdp.num_actions, 0.7), mdp.num_states)


class Dense:
    """The chain of a stochastic policy, dense."""

    def __init__(self, mdp: TabularMDP, policy: np.ndarray) -> None:
        n = mdp.num_states
        self.start = np.array(mdp.initial_distribution)
        self.going, self.gain = np.zeros((n, n)), np.zeros(n)
        self.ending, self.rewarded = np.zeros(n), np.zeros(n)
        successors = mdp.padded()
        for s, a, k in np.ndindex(successors.probability.shape):
            chance = policy[s, a] * successors.probability[s, a, k]
            reward = successors.reward[s, a, k]
            self.gain[s] += chance * reward
            if successors.terminated[s, a, k]:
                self.ending[s] += chance
                self.rewarded[s] += chance * (reward > 0)
            else:
                self.going[s, successors.next_state[s, a, k]] += chance

    def visits(self, limit: int | None) -> np.ndarray:
        n = len(self.start)
        if limit is None:
            return np.linalg.solve((np.eye(n) - self.going).T, self.start)
        row, total = self.start, np.zeros(n)
        for _ in range(limit):
            total = total + row
            row = row @ self.going
        return total

    def restarting(self) -> np.ndarray:
        return self.going + np.outer(self.ending, self.start)

    def reached(self) -> np.ndarray:
        seen, edges, before = self.start > 0, self.going > 0, None
        while before is None or (seen != before).any():
            before, seen = seen, seen | edges[seen].any(axis=0)
        return np.flatnonzero(seen)

    def long_run(self) -> np.ndarray:
        """d (M - I) = 0 and sum d = 1, by least squares on the states that are reached."""
        states = self.reached()
        matrix = self.restarting()[np.ix_(states, states)]
        equations = np.vstack([(matrix - np.eye(len(states))).T, np.ones(len(states))])
        right = np.append(np.zeros(len(states)), 1.0)
        result = np.zeros(len(self.start))
        result[states] = np.linalg.lstsq(equations, right, rcond=None)[0]
        return result
