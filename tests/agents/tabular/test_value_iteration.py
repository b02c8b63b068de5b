"""Value iteration as an agent."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.agents.tabular.value_iteration import ValueIteration, ValueIterationConfig
from rlkit.environments.resolve import find_environment
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.evaluation import exact_returns
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP

STREAMS = tuple(SeedStreams(0, index) for index in range(2))


def planner(mdp: TabularMDP, **options: Any) -> ValueIteration:
    task = Task(
        spaces.Discrete(mdp.num_states), spaces.Discrete(mdp.num_actions), STREAMS, 3, 100, mdp
    )
    return ValueIteration(task, ValueIterationConfig(**options))


def random_mdp(seed: int) -> TabularMDP:
    rng = np.random.default_rng(seed)
    shape = (4, 2, 3)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(3), size=shape[:2]),
        next_state=rng.integers(4, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.2,
        initial_distribution=np.full(4, 0.25),
    )


def value_of(mdp: TabularMDP, policy: Any, discount: float) -> Any:
    """Solves (I - discount P) v = r for a deterministic policy, written out."""
    rows = np.arange(4), np.asarray(policy)
    p, r = mdp.padded().probability[rows], mdp.padded().reward[rows]
    matrix = np.zeros((4, 4))
    for s, k in product(range(4), range(3)):
        if not mdp.padded().terminated[rows][s, k]:
            matrix[s, mdp.padded().next_state[rows][s, k]] += p[s, k]
    return np.linalg.solve(np.eye(4) - discount * matrix, (p * r).sum(axis=1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("discount", [0.5, 0.9, 0.99])
def test_it_acts_by_the_best_of_all_policies(seed: int, discount: float) -> None:
    mdp = random_mdp(seed)
    best = max(
        (value_of(mdp, policy, discount) for policy in product(range(2), repeat=4)), key=np.sum
    )
    obs = np.tile(np.arange(4), (2, 1))
    actions = planner(mdp, discount=discount).act(obs)
    for row in actions:
        np.testing.assert_allclose(value_of(mdp, row, discount), best, rtol=1e-7, atol=1e-7)


@pytest.mark.trap("T39")
@pytest.mark.slow
def test_it_reaches_the_known_success_rate_on_frozen_lake() -> None:
    mdp = find_environment("FrozenLake-v1").mdp
    assert mdp is not None
    exact = exact_returns(planner(mdp, discount=0.999).actor(), mdp, 2)
    assert exact is not None
    # Gymnasium's registry states 0.74 for 100 steps.
    np.testing.assert_allclose(exact.returns, 0.740165, atol=1e-6)


@pytest.mark.slow
def test_at_discount_1_the_policy_reaches_the_goal_of_a_certain_lake() -> None:
    # Every state has value 1 there, and the first of the best actions walks into the wall for ever.
    mdp = find_environment("FrozenLake-v1", {"is_slippery": False}).mdp
    assert mdp is not None
    exact = exact_returns(planner(mdp, discount=1.0).actor(), mdp, 2)
    assert exact is not None
    assert (exact.returns == 1.0).all()


@pytest.mark.slow
def test_it_knows_that_nothing_follows_an_end() -> None:
    # The shortest way on the cliff costs 13 steps: -(1 - 0.99^13) / 0.01 = -12.2479.
    mdp = find_environment("CliffWalking-v1").mdp
    assert mdp is not None
    exact = exact_returns(planner(mdp, discount=0.99).actor(), mdp, 2)
    assert exact is not None
    np.testing.assert_allclose(exact.returns, -13.0)


def test_it_takes_part_in_the_loop_and_changes_nothing() -> None:
    mdp = random_mdp(0)
    agent = planner(mdp)
    before = agent.state_dict()["policy"].tobytes()
    env = TabularBatchEnv(mdp, STREAMS, 3)
    for transition, metrics in interact(agent, env, 20):
        assert metrics == {}
        assert (transition.action == agent.act(transition.obs)).all()
    assert agent.state_dict()["policy"].tobytes() == before
    assert agent.actor().probabilities(np.zeros((2, 5), dtype=int)).shape == (2, 5, 2)


def test_without_a_model_it_is_rejected_naming_what_to_use() -> None:
    task = Task(spaces.Discrete(3), spaces.Discrete(2), STREAMS, 1, 100, None)
    with pytest.raises(UsageError, match="q-learning"):
        ValueIteration(task, ValueIterationConfig())


def test_at_discount_1_an_endless_reward_is_rejected() -> None:
    table = [[[(1.0, 0, 1.0, False)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0])
    with pytest.raises(UsageError, match="discount"):
        planner(mdp, discount=1.0)
