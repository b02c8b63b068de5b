"""The compiled return under a limit has the bytes of the sparse product."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import policy_chain
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.return_kernels import values_under_limit

Array = NDArray[Any]


def slow_twin(mdp: TabularMDP, policy: Array, limit: int) -> Array:
    chain, reward = policy_chain(mdp, policy[None])
    values = np.zeros_like(reward)
    for _ in range(limit):
        values = reward + chain @ values
    return values


def fast(mdp: TabularMDP, policy: Array, limit: int) -> Array:
    model = (mdp.continuation.indptr, mdp.continuation.indices, mdp.continuation.data)
    values: Array = values_under_limit(policy, *model, mdp.expected_reward, limit)
    return values


def random_mdp(seed: int) -> TabularMDP:
    """Return a model in which actions share successors, so that their sums have an order."""
    rng = np.random.default_rng(seed)
    shape = (7, 3, 4)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(4), size=shape[:2]),
        next_state=rng.integers(7, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.2,
        initial_distribution=rng.dirichlet(np.ones(7)),
    )


def policies(mdp: TabularMDP, rng: np.random.Generator) -> list[Array]:
    shape = (mdp.num_states, mdp.num_actions)
    some = rng.dirichlet(np.ones(shape[1]), size=shape[0])
    some[rng.random(shape) < 0.4] = 0.0
    some[some.sum(axis=1) == 0.0, 0] = 1.0
    return [
        np.eye(shape[1])[rng.integers(shape[1], size=shape[0])],
        rng.dirichlet(np.ones(shape[1]), size=shape[0]),
        np.ascontiguousarray(some / some.sum(axis=1, keepdims=True)),
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", [0, 1, 2, 60, 1000])
def test_values_are_those_of_the_sparse_product(seed: int, limit: int) -> None:
    mdp = random_mdp(seed)
    for policy in policies(mdp, np.random.default_rng(seed)):
        assert fast(mdp, policy, limit).tobytes() == slow_twin(mdp, policy, limit).tobytes()


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1"])
def test_values_of_gymnasiums_tables_are_those_of_the_sparse_product(name: str) -> None:
    mdp = mdp_from_env(lambda: gym.make(name))
    for policy in policies(mdp, np.random.default_rng(0)):
        assert fast(mdp, policy, 200).tobytes() == slow_twin(mdp, policy, 200).tobytes()
