"""The Bellman operators and the greedy policy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.operators import action_values, bellman_optimality, bellman_policy, greedy
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.solvers import value_iteration
from tests.tabular.models import from_env, random_mdp


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_both_operators_are_monotone_contractions(seed: int, discount: float) -> None:
    mdp = random_mdp(seed)
    rng = np.random.default_rng(seed)
    low, gap = rng.normal(size=7) * 10, rng.random(7)
    policy = rng.dirichlet(np.ones(3), size=7)
    for apply in (
        lambda v: bellman_optimality(mdp, v, discount),
        lambda v: bellman_policy(mdp, policy, v, discount),
    ):
        difference = apply(low + gap) - apply(low)
        # Rounding of values near 10: far below 1e-12.
        assert (difference >= -1e-12).all()
        assert np.abs(difference).max() <= discount * gap.max() + 1e-12


def test_ties_go_to_the_lowest_action_whatever_the_rounding() -> None:
    transition = np.ones((1, 3, 1))
    noisy = TabularMDP.from_arrays(transition, [[1.0, 1.0 + 4e-16, 1.0 + 8e-16]])
    assert greedy(noisy, np.zeros(1), 0.9).tolist() == [0]
    real = TabularMDP.from_arrays(transition, [[1.0, 1.0 + 1e-6, 1.0]])
    assert greedy(real, np.zeros(1), 0.9).tolist() == [1]


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros(17), np.zeros((16, 1)), 0.0])
def test_values_of_another_shape_never_reach_a_kernel(values: Any) -> None:
    mdp = from_env("FrozenLake-v1")
    for function in (action_values, bellman_optimality, greedy):
        with pytest.raises(ValueError, match=r"expected the shape \[16\], got \["):
            function(mdp, values, 0.9)
    for solver in (value_iteration, modified_policy_iteration):
        with pytest.raises(ValueError, match=r"expected the shape \[16\], got \["):
            solver(mdp, discount=0.9, initial_values=values)


@pytest.mark.parametrize("discount", [1.9, -0.1, float("nan")])
def test_a_discount_out_of_range_is_rejected(discount: float) -> None:
    mdp, values = random_mdp(0), np.zeros(7)
    for apply in (action_values, bellman_optimality, greedy):
        with pytest.raises(ValueError, match=r"discount must be in \[0, 1\], got"):
            apply(mdp, values, discount)
    with pytest.raises(ValueError, match=r"discount must be in \[0, 1\], got"):
        bellman_policy(mdp, np.zeros(7, dtype=int), values, discount)


def test_no_policy_is_greedy_for_nan() -> None:
    with pytest.raises(ValueError, match="expected numbers to be greedy for, got NaN"):
        greedy(random_mdp(0), np.full(7, np.nan), 0.9)
