"""Policy iteration in dense arrays against value iteration on the sparse model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.operators import action_values
from rlkit.tabular.planning.dense import dense_action_values
from rlkit.tabular.planning.solvers import value_iteration


def random_model(seed: int, n: int, num_actions: int) -> tuple[Any, Any]:
    """Probabilities of the states and of the end, and rewards; some rows are sparse."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(n + 1, 0.2), size=(n, num_actions))
    return transition, rng.normal(size=(n, num_actions))


def best(transition: Any, reward: Any, discount: float) -> Any:
    n = len(reward)
    padded = np.broadcast_to(np.append(np.arange(n), 0), transition.shape)
    ends = np.broadcast_to(np.arange(n + 1) == n, transition.shape)
    mdp = TabularMDP.from_padded(
        transition,
        padded,
        np.broadcast_to(reward[..., None], transition.shape),
        ends,
        initial_distribution=np.full(n, 1 / n),
    )
    values = value_iteration(mdp, discount=discount, tolerance=1e-11).values
    return action_values(mdp, values, discount)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 0.999])
@pytest.mark.parametrize(("n", "num_actions"), [(1, 1), (2, 3), (17, 4), (40, 2)])
def test_the_action_values_are_the_optimal_ones(n: int, num_actions: int, discount: float) -> None:
    for seed in range(5):
        transition, reward = random_model(seed, n, num_actions)
        expected = best(transition, reward, discount)
        policy = np.random.default_rng(seed).integers(num_actions, size=n)
        q = dense_action_values(transition, reward, discount, policy)
        np.testing.assert_allclose(q, expected, atol=1e-9)
        assert (expected[np.arange(n), policy] >= expected.max(axis=1) - 1e-9).all()


def test_a_state_without_an_end_is_worth_the_geometric_series() -> None:
    transition = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    q = dense_action_values(transition, np.array([[1.0, 5.0]]), 0.9, np.array([1]))
    np.testing.assert_allclose(q, [[10.0, 5.0]], rtol=1e-12)


def test_equally_good_actions_end_the_iteration() -> None:
    transition = np.zeros((3, 2, 3))
    transition[:, :, 1] = 1.0
    policy = np.array([1, 0, 1])
    q = dense_action_values(transition, np.ones((3, 2)), 0.9, policy)
    np.testing.assert_allclose(q, 10.0, rtol=1e-12)
    assert policy.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("transition", "policy", "discount", "expected"),
    [
        (np.zeros((2, 3, 1)), [0, 0], 0.9, "expected transition"),
        (np.zeros((2, 2, 2)), [0, 0], 0.9, "expected transition"),
        (np.zeros((2, 3, 2)), [0], 0.9, "expected transition"),
        (np.zeros((2, 3, 2)), [0, 3], 0.9, r"actions in \[0, 3\)"),
        (np.zeros((2, 3, 2)), [0, -1], 0.9, r"actions in \[0, 3\)"),
        (np.zeros((2, 3, 2)), [0, 0], 1.0, r"discount in \[0, 1\)"),
    ],
)
def test_arrays_that_do_not_fit_never_reach_the_kernel(
    transition: np.ndarray, policy: list[int], discount: float, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        dense_action_values(transition, np.zeros((2, 3)), discount, np.array(policy))
