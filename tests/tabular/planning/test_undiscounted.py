"""Both solvers at discount 1."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.operators import action_values
from rlkit.tabular.planning import undiscounted
from rlkit.tabular.planning.solvers import policy_iteration, value_iteration
from rlkit.tabular.planning.undiscounted import best_total_return
from rlkit.tabular.policy_chain import NoFiniteReturn
from rlkit.tabular.returns import optimal_return_under_limit, policy_value, return_under_limit
from tests.tabular.models import from_env, random_mdp

SOLVERS = [value_iteration, policy_iteration]


def cycle(*rewards: float, exits: tuple[float, ...] = ()) -> TabularMDP:
    """Action 0 goes round in a circle; action 1 leaves it, where there are exits."""
    n = len(rewards)
    table = [[[(1.0, (s + 1) % n, r, False)]] for s, r in enumerate(rewards)]
    for s, reward in enumerate(exits):
        table[s].append([(1.0, s, reward, True)])
    return TabularMDP.from_successors(table, initial_distribution=np.ones(n) / n)


def walled_walk(n: int) -> TabularMDP:
    """Cells in a line: one step to either side with chance 0.9, -1 a step, the last ends it."""
    cells = np.arange(n)
    left, right = np.maximum(cells - 1, 0), np.minimum(cells + 1, n - 1)
    next_state = np.stack([np.stack([left, right], -1), np.stack([right, left], -1)], axis=1)
    return TabularMDP.from_padded(
        probability=np.broadcast_to([0.9, 0.1], (n, 2, 2)),
        next_state=next_state,
        reward=np.full((n, 2, 2), -1.0),
        terminated=next_state == n - 1,
        initial_distribution=np.eye(1, n)[0],
    )


@pytest.mark.trap("T40")
def test_undiscounted_greedy_on_frozen_lake_without_slipping_reaches_the_goal() -> None:
    mdp = from_env("FrozenLake-v1", is_slippery=False)
    for solver in SOLVERS:
        plan = solver(mdp, discount=1.0)
        assert plan.values[0] == pytest.approx(1, abs=1e-9)
        assert return_under_limit(mdp, plan.policy)[0] == pytest.approx(1, abs=1e-12)
    # The trap: the lowest action among equals walks into the wall for ever.
    naive = action_values(mdp, plan.values, 1.0).argmax(axis=1)
    assert return_under_limit(mdp, naive)[0] == 0.0


@pytest.mark.parametrize("id_", ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalkingSlippery-v1"])
def test_the_undiscounted_policy_earns_the_undiscounted_value(id_: str) -> None:
    mdp = from_env(id_)
    for solver in SOLVERS:
        plan = solver(mdp, discount=1.0)
        achieved = policy_value(mdp, plan.policy, discount=1.0)
        # Two linear solves of a chain that lasts ~1e2 steps.
        np.testing.assert_allclose(achieved, plan.values, atol=1e-8)


@pytest.mark.trap("T11")
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_undiscounted_circle_that_pays_is_an_error_not_a_number(solver: Any) -> None:
    with pytest.raises(NoFiniteReturn, match="no policy is sure to end"):
        solver(cycle(1.0, 1.0), discount=1.0)
    with pytest.raises(NoFiniteReturn, match="no policy is sure to end"):
        solver(cycle(-1.0, -1.0), discount=1.0)
    with pytest.raises(NoFiniteReturn, match="no upper bound"):
        solver(cycle(1.0, 1.0, exits=(5.0, 5.0)), discount=1.0)
    with pytest.raises(NoFiniteReturn, match="no upper bound"):
        solver(cycle(2.0, -1.0, exits=(5.0, 5.0)), discount=1.0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_undiscounted_circle_that_costs_is_left_in_the_best_place(solver: Any) -> None:
    plan = solver(cycle(-1.0, -2.0, -3.0, exits=(-9.0, -9.0, -1.0)), discount=1.0)
    # Small integers are exact.
    assert plan.values.tolist() == [-4, -3, -1]
    assert plan.policy.tolist() == [0, 0, 1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_undiscounted_circle_that_gains_nothing_is_not_worth_walking(solver: Any) -> None:
    mdp = cycle(1.0, -1.0, exits=(0.5, 0.5))
    plan = solver(mdp, discount=1.0)
    # From 0: take 1, then leave for 0.5. From 1: leave at once, or go round for -1 + 1.5: equal.
    np.testing.assert_allclose(plan.values, [1.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(policy_value(mdp, plan.policy, discount=1.0), [1.5, 0.5], atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_resting_endlessly_counts_as_zero(solver: Any) -> None:
    """Staying costs nothing and leaving costs 1: the best return is 0, as under any time limit."""
    stay_or_pay = [[[(1.0, 0, -1.0, True)], [(1.0, 0, 0.0, False)]]]
    mdp = TabularMDP.from_successors(stay_or_pay, initial_distribution=[1.0])
    plan = solver(mdp, discount=1.0)
    assert plan.values.tolist() == [0]
    assert plan.policy.tolist() == [1]
    assert optimal_return_under_limit(mdp, 1000).expected_return == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_absorbing_states_without_reward_end_an_undiscounted_episode(solver: Any) -> None:
    """The random walk of Sutton and Barto, example 6.2, with its ends as absorbing states."""
    transition, reward = np.zeros((7, 1, 7)), np.zeros((7, 1, 7))
    transition[0, 0, 0] = transition[6, 0, 6] = 1
    for s in range(1, 6):
        transition[s, 0, s - 1] = transition[s, 0, s + 1] = 0.5
    reward[5, 0, 6] = 1
    for terminal in ((), (0, 6)):
        mdp = TabularMDP.from_arrays(transition, reward, terminal_states=terminal)
        plan = solver(mdp, discount=1.0)
        # Within the tolerance of value iteration.
        np.testing.assert_allclose(plan.values[1:6], np.arange(1, 6) / 6, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_pit_that_pays_endlessly_is_avoided_and_has_no_undiscounted_value(solver: Any) -> None:
    table = [
        [[(0.5, 1, 9.0, False), (0.5, 0, 0.0, True)], [(1.0, 0, 1.0, True)]],
        [[(1.0, 1, -1.0, False)], [(1.0, 1, -2.0, False)]],
    ]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    plan = solver(mdp, discount=1.0)
    assert plan.values.tolist() == [1, -np.inf]
    assert plan.policy[0] == 1
    inside = TabularMDP.from_successors(table, initial_distribution=[0.5, 0.5])
    with pytest.raises(NoFiniteReturn, match="from state 1, where episodes may start"):
        solver(inside, discount=1.0)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_undiscounted_optimum_is_the_limit_of_long_time_limits(seed: int) -> None:
    """Rewards <= 0 and every state may end: then both exist and must agree."""
    base = random_mdp(seed)
    terminated = base.padded().terminated.copy()
    terminated[..., 0] = True
    probability = 0.9 * base.padded().probability
    probability[..., 0] += 0.1
    mdp = TabularMDP.from_padded(
        probability=probability,
        next_state=base.padded().next_state,
        reward=-np.abs(base.padded().reward),
        terminated=terminated,
        initial_distribution=base.initial_distribution,
    )
    long = optimal_return_under_limit(mdp, 400)  # 0.9^400 < 1e-18 are still going
    for solver in SOLVERS:
        np.testing.assert_allclose(solver(mdp, discount=1.0).values, long.values[0], atol=1e-9)


def test_a_head_start_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = walled_walk(200)
    plain = policy_iteration(mdp, discount=1.0)
    monkeypatch.setattr(undiscounted, "_LARGE", 1)
    ahead = policy_iteration(mdp, discount=1.0)
    np.testing.assert_array_equal(plain.policy[:-1], ahead.policy[:-1])
    np.testing.assert_allclose(plain.values, ahead.values, rtol=1e-12)
    assert ahead.sweeps <= plain.sweeps
    endless = TabularMDP.from_successors(
        [[[(1.0, 0, 1.0, False)], [(1.0, 0, 0.0, True)]]], initial_distribution=[1.0]
    )
    with pytest.raises(NoFiniteReturn, match="no upper bound"):
        policy_iteration(endless, discount=1.0)


def test_the_best_total_return_is_none_where_there_is_none() -> None:
    assert best_total_return(from_env("CliffWalking-v1")) == pytest.approx(-13, abs=1e-9)
    for reward in (1.0, -1.0):
        forever = TabularMDP.from_arrays([[[1.0]]], [[reward]])
        assert best_total_return(forever) is None


@pytest.mark.parametrize(("reward", "endless"), [(2.0, True), (-2.0, False)])
def test_a_trap_that_pays_without_end_has_no_optimum_and_one_that_costs_is_avoided(
    reward: float, endless: bool
) -> None:
    # From state 0 one may end with 0, or enter state 1 and stay there.
    table = [[[(1.0, 0, 0.0, True)], [(1.0, 1, -1.0, False)]], [[(1.0, 1, reward, False)]] * 2]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    for solver in (value_iteration, policy_iteration):
        if endless:
            with pytest.raises(NoFiniteReturn, match="can reach state 1"):
                solver(mdp, discount=1.0)
        else:
            assert solver(mdp, discount=1.0).values.tolist() == [0.0, -np.inf]
