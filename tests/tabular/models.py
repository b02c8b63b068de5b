"""Finite MDPs that several tests solve."""

from typing import Any

import gymnasium as gym
import numpy as np

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import mdp_from_env


def puterman_3_1() -> TabularMDP:
    """Two states; the second has one action, here given twice."""
    transition = [[[0.5, 0.5], [0, 1]], [[0, 1], [0, 1]]]
    return TabularMDP.from_arrays(transition, [[5.0, 10.0], [-1.0, -1.0]], first_axis="state")


def small() -> TabularMDP:
    by_action = np.array([[[0.5, 0.5], [0.8, 0.2]], [[0.0, 1.0], [0.1, 0.9]]])
    return TabularMDP.from_arrays(by_action, [[5.0, 10.0], [-1.0, 2.0]], first_axis="action")


def forest() -> TabularMDP:
    """Wait for the trees to grow (fire with chance 0.1), or cut."""
    transition = np.zeros((3, 2, 3))
    for s in range(3):
        transition[s, 0, min(s + 1, 2)] += 0.9
        transition[s, 0, 0] += 0.1
        transition[s, 1, 0] = 1
    return TabularMDP.from_arrays(transition, [[0.0, 0.0], [0.0, 1.0], [4.0, 2.0]])


def sutton_grid() -> TabularMDP:
    """Sutton and Barto, example 3.5: two cells that pay and teleport, -1 for leaving the grid."""
    transition, reward = np.zeros((25, 4, 25)), np.zeros((25, 4))
    for s in range(25):
        row, column = divmod(s, 5)
        for a, (down, right) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
            to = (row + down, column + right)
            if s in (1, 3):
                transition[s, a, {1: 21, 3: 13}[s]] = 1
                reward[s, a] = {1: 10, 3: 5}[s]
            elif 0 <= to[0] < 5 and 0 <= to[1] < 5:
                transition[s, a, to[0] * 5 + to[1]] = 1
            else:
                transition[s, a, s] = 1
                reward[s, a] = -1
    return TabularMDP.from_arrays(transition, reward)


def random_mdp(seed: int, num_states: int = 7, num_actions: int = 3) -> TabularMDP:
    """Sparse transitions, some of them ending the episode, rewards of both signs."""
    rng = np.random.default_rng(seed)
    shape = (num_states, num_actions, 4)
    # No chance below 0.1, so that undiscounted episodes that can end do so before long.
    probability = 0.1 + 0.6 * rng.dirichlet(np.full(4, 0.5), size=shape[:2])
    return TabularMDP.from_padded(
        probability=probability,
        next_state=rng.integers(num_states, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.2,
        initial_distribution=rng.dirichlet(np.ones(num_states)),
    )


def dense(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and transitions with one extra absorbing state for the end, entry by entry."""
    table = mdp.padded()
    num_states, num_actions, width = table.probability.shape
    transition = np.zeros((num_states + 1, num_actions, num_states + 1))
    reward = np.zeros((num_states + 1, num_actions))
    transition[-1, :, -1] = 1
    for s in range(num_states):
        for a in range(num_actions):
            for k in range(width):
                p = table.probability[s, a, k]
                to = -1 if table.terminated[s, a, k] else table.next_state[s, a, k]
                transition[s, a, to] += p
                reward[s, a] += p * table.reward[s, a, k]
    return reward, transition


_TABLES: dict[str, TabularMDP] = {}


def from_env(id_: str, **options: Any) -> TabularMDP:
    """Read the table of an environment, once; its arrays cannot be changed."""
    key = f"{id_} {sorted(options.items())}"
    if key not in _TABLES:
        _TABLES[key] = mdp_from_env(lambda: gym.make(id_, **options))
    return _TABLES[key]
