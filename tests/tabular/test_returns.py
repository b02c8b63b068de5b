"""Exact values and returns of policies."""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.tabular import returns
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn
from rlkit.tabular.returns import (
    LimitTooLong,
    best_return_under_limit,
    optimal_return_under_limit,
    policy_value,
    return_under_limit,
    total_return,
)
from tests.tabular.models import from_env


def random_mdp(seed: int, num_states: int = 4, num_actions: int = 2) -> TabularMDP:
    rng = np.random.default_rng(seed)
    shape = (num_states, num_actions, 3)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(3), size=shape[:2]),
        next_state=rng.integers(num_states, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.2,
        initial_distribution=rng.dirichlet(np.ones(num_states)),
    )


def random_policies(mdp: TabularMDP, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(mdp.num_actions, 0.5), size=(n, mdp.num_states))


def value_by_recursion(mdp: TabularMDP, act: Any, s: int, t: int, limit: int) -> float:
    """Expected return from state s at step t, one successor at a time; act(s, t) -> {a: chance}."""
    if t == limit:
        return 0.0
    total = 0.0
    for a, chance in act(s, t).items():
        row = s * mdp.num_actions + a
        for k in range(mdp.row_start[row], mdp.row_start[row + 1]):
            future = 0.0
            if not mdp.terminated[k]:
                future = value_by_recursion(mdp, act, int(mdp.next_state[k]), t + 1, limit)
            total += chance * mdp.probability[k] * (mdp.reward[k] + future)
    return total


def dense_return(mdp: TabularMDP, policy: Any) -> float:
    """The total reward from the start by a dense solve, written out one successor at a time."""
    table = mdp.padded()
    going, gain = np.zeros((mdp.num_states, mdp.num_states)), np.zeros(mdp.num_states)
    for s, a, k in np.ndindex(table.probability.shape):
        chance = policy[s, a] * table.probability[s, a, k]
        gain[s] += chance * table.reward[s, a, k]
        if not table.terminated[s, a, k]:
            going[s, table.next_state[s, a, k]] += chance
    value, *_ = np.linalg.lstsq(np.eye(mdp.num_states) - going, gain, rcond=None)
    return float(mdp.initial_distribution @ value)


# --- policy_value -------------------------------------------------------------------------------


def test_the_random_policy_on_sutton_and_bartos_grid_has_the_printed_first_row() -> None:
    transition, reward = np.zeros((25, 4, 25)), np.zeros((25, 4))
    for s, (a, move) in itertools.product(range(25), enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)])):
        row, column = s // 5 + move[0], s % 5 + move[1]
        stays = not (0 <= row < 5 and 0 <= column < 5)
        to, gain = (s, -1) if stays else (row * 5 + column, 0)
        to, gain = {1: (21, 10), 3: (13, 5)}.get(s, (to, gain))
        transition[s, a, to], reward[s, a] = 1, gain
    mdp = TabularMDP.from_arrays(transition, reward)
    values = policy_value(mdp, np.full((25, 4), 0.25), discount=0.9)
    printed = [3.3090, 8.7893, 4.4276, 5.3224, 1.4922]
    np.testing.assert_allclose(values[:5], printed, atol=5e-5)  # four decimals are printed


def test_the_random_walk_ends_on_the_right_in_proportion_to_the_distance() -> None:
    transition, reward = np.zeros((7, 2, 7)), np.zeros((7, 2, 7))
    for s, a in itertools.product(range(7), range(2)):
        transition[s, a, np.clip(s + 2 * a - 1, 0, 6)] = 1
    reward[5, 1, 6] = 1
    mdp = TabularMDP.from_arrays(transition, reward, terminal_states=[0, 6])
    values = policy_value(mdp, np.full((7, 2), 0.5), discount=1.0)
    np.testing.assert_allclose(values[1:6], np.arange(1, 6) / 6, atol=1e-14)  # a 5x5 solve


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_the_value_of_a_policy_is_the_fixed_point_of_its_operator(
    seed: int, discount: float
) -> None:
    mdp = random_mdp(seed)
    policy = random_policies(mdp, 1, seed)[0]
    try:
        values = policy_value(mdp, policy, discount=discount)
    except NoFiniteReturn:
        assert discount == 1.0
        return
    known, table = ~np.isnan(values), mdp.padded()
    for s in np.flatnonzero(known):
        right = sum(
            policy[s, a]
            * table.probability[s, a, k]
            * (
                table.reward[s, a, k]
                + (0 if table.terminated[s, a, k] else discount * values[table.next_state[s, a, k]])
            )
            for a in range(2)
            for k in range(3)
        )
        # The rounding of a solve of values up to ~1e3.
        assert values[s] == pytest.approx(right, rel=1e-9, abs=1e-9)


def test_a_policy_that_never_ends_and_never_earns_is_worth_nothing() -> None:
    mdp = from_env("FrozenLake-v1", is_slippery=False)
    always_left = np.zeros(16, dtype=int)
    assert policy_value(mdp, always_left, discount=1.0)[0] == 0


def test_a_policy_that_pays_endlessly_has_no_undiscounted_value() -> None:
    mdp = from_env("CliffWalking-v1")
    always_up = np.zeros(48, dtype=int)
    with pytest.raises(NoFiniteReturn, match="from state 36, where episodes may start"):
        policy_value(mdp, always_up, discount=1.0)
    # Below discount 1 it is -1 / (1 - discount).
    assert policy_value(mdp, always_up, discount=0.9)[36] == pytest.approx(-10, abs=1e-12)


def test_random_play_on_the_cliff_costs_what_a_dense_solve_says() -> None:
    mdp = from_env("CliffWalking-v1")
    uniform = np.full((48, 4), 0.25)
    expected = dense_return(mdp, uniform)
    assert expected == pytest.approx(-65_375, abs=1)
    # A dense solve of 48 equations whose solution is of the size 1e5.
    assert total_return(mdp, uniform) == pytest.approx(expected, rel=1e-9)
    # The first 1,000 steps, which were once taken for the whole, are a seventh of it.
    assert return_under_limit(mdp, uniform, 1000)[0] == pytest.approx(-9_512, abs=1)


def test_a_return_is_none_where_the_policy_may_continue_endlessly_and_earns() -> None:
    mdp = from_env("CliffWalking-v1")
    assert total_return(mdp, np.zeros(48, dtype=int)) is None


def test_states_that_are_never_visited_may_lack_a_value() -> None:
    table = [[[(1.0, 0, 3.0, True)]], [[(1.0, 1, 1.0, False)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    values = policy_value(mdp, [0, 0], discount=1.0)
    assert values[0] == 3
    assert np.isnan(values[1])


# --- under a time limit -------------------------------------------------------------------------


@pytest.mark.trap("T39")
@pytest.mark.parametrize(
    ("id_", "optimal"), [("FrozenLake-v1", 0.7441902878), ("FrozenLake8x8-v1", 0.9132201502)]
)
def test_the_best_clock_watching_policy_has_its_known_return(id_: str, optimal: float) -> None:
    plan = optimal_return_under_limit(from_env(id_))
    assert plan.expected_return == pytest.approx(optimal, abs=5.1e-11)  # ten digits are known


def test_the_random_policy_on_frozen_lake_has_its_known_return() -> None:
    mdp = from_env("FrozenLake-v1")
    uniform = return_under_limit(mdp, np.full((16, 4), 0.25))
    assert uniform.shape == (1,)
    assert uniform[0] == pytest.approx(0.0139397960, abs=5.1e-11)


@pytest.mark.trap("T45")
def test_the_same_policy_scores_differently_under_the_two_limits_of_the_8x8_map() -> None:
    short, long = from_env("FrozenLake-v1", map_name="8x8"), from_env("FrozenLake8x8-v1")
    assert (short.time_limit, long.time_limit) == (100, 200)
    policy = random_policies(short, 1)
    assert return_under_limit(short, policy)[0] < return_under_limit(long, policy)[0]
    assert return_under_limit(short, policy)[0] == return_under_limit(long, policy, limit=100)[0]


def test_putermans_inventory_is_ordered_as_in_the_book() -> None:
    """Puterman 3.2: up to 3 units in stock, an order of a costs 4 + 2a, holding costs 1 a unit."""
    demand, revenue = [0.25, 0.5, 0.25], [0, 6, 8, 8]
    transition, reward = np.zeros((4, 4, 4)), np.zeros((4, 4))
    for s, a in itertools.product(range(4), range(4)):
        stock = s + a
        if stock > 3:  # does not fit
            transition[s, a, s], reward[s, a] = 1, -1e6
            continue
        reward[s, a] = revenue[stock] - (4 + 2 * a if a else 0) - stock
        for sold, chance in enumerate(demand):
            transition[s, a, max(stock - sold, 0)] += chance
    mdp = TabularMDP.from_arrays(transition, reward, first_axis="state")
    plan = optimal_return_under_limit(mdp, 3)
    # Sixteenths are exact in float64.
    assert plan.values[0].tolist() == [67 / 16, 129 / 16, 194 / 16, 227 / 16]
    assert plan.policy[0].tolist() == [3, 0, 0, 0]
    assert plan.policy.shape == (3, 4)
    assert plan.values.shape == (4, 4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_return_under_a_limit_is_the_sum_over_all_paths(seed: int, limit: int) -> None:
    mdp = random_mdp(seed)
    policies = random_policies(mdp, 2, seed)
    for policy, result in zip(policies, return_under_limit(mdp, policies, limit), strict=True):
        brute = sum(
            start
            * value_by_recursion(mdp, lambda s, t, p=policy: dict(enumerate(p[s])), s, 0, limit)
            for s, start in enumerate(mdp.initial_distribution)
        )
        assert result == pytest.approx(brute, abs=1e-12)  # a few thousand roundings


@pytest.mark.parametrize("seed", range(4))
def test_no_clock_watching_policy_of_all_there_are_beats_backward_induction(seed: int) -> None:
    mdp, limit = random_mdp(seed, num_states=2), 3
    returns = {}
    for table in itertools.product(range(2), repeat=2 * limit):
        plan = np.reshape(table, (limit, 2))
        returns[table] = sum(
            start * value_by_recursion(mdp, lambda s, t, p=plan: {int(p[t, s]): 1.0}, s, 0, limit)
            for s, start in enumerate(mdp.initial_distribution)
        )
    best = optimal_return_under_limit(mdp, limit)
    assert best.expected_return == pytest.approx(max(returns.values()), abs=1e-13)
    chosen = returns[tuple(int(a) for a in best.policy.ravel())]
    assert chosen == pytest.approx(max(returns.values()), abs=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id_", "options"),
    [
        ("FrozenLake-v1", {"desc": generate_random_map(5, seed=4), "max_episode_steps": 15}),
        ("CliffWalkingSlippery-v1", {"max_episode_steps": 20}),
        ("Taxi-v4", {"is_rainy": True, "max_episode_steps": 20}),
    ],
)
def test_real_episodes_score_what_was_computed(id_: str, options: dict[str, Any]) -> None:
    mdp = from_env(id_, **options)
    # Half the way from random to the best, so that rewards, ends and cut-offs all happen.
    plan = optimal_return_under_limit(mdp)
    policy = 0.5 * np.eye(mdp.num_actions)[plan.policy[0]] + 0.5 / mdp.num_actions
    expected = return_under_limit(mdp, policy)[0]
    env, rng = gym.make(id_, **options), np.random.default_rng(0)
    returns = []
    for episode in range(1500):
        state, _ = env.reset(seed=0 if episode == 0 else None)
        total, over = 0.0, False
        while not over:
            action = int(np.searchsorted(policy[state].cumsum(), rng.random()))
            state, reward, terminated, truncated, _ = env.step(min(action, mdp.num_actions - 1))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    # Five standard errors; the draw is seeded, so it cannot fail by chance later.
    standard_error = np.std(returns) / np.sqrt(len(returns))
    assert standard_error > 0
    assert abs(np.mean(returns) - expected) < 5 * standard_error


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 60))
def test_a_policys_return_has_the_same_bytes_alone_and_in_any_batch(
    seed: int, n_policies: int, limit: int
) -> None:
    mdp = random_mdp(seed, num_states=9, num_actions=5)
    policies = random_policies(mdp, n_policies, seed)
    policies[seed % n_policies] = np.eye(5)[0]
    together = return_under_limit(mdp, policies, limit)
    alone = [return_under_limit(mdp, policy, limit)[0] for policy in policies]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], return_under_limit(mdp, policies[::-1], limit))
    columns = np.asfortranarray(policies)
    np.testing.assert_array_equal(together, return_under_limit(mdp, columns, limit))


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_batch_on_real_environments() -> None:
    for id_ in ("FrozenLake8x8-v1", "Taxi-v4"):
        mdp = from_env(id_)
        policies = random_policies(mdp, 30)
        together = return_under_limit(mdp, policies)
        for member in (0, 7, 29):
            np.testing.assert_array_equal(
                together[member], return_under_limit(mdp, policies[member])[0]
            )
        np.testing.assert_array_equal(together[3:20], return_under_limit(mdp, policies[3:20]))


def test_stopping_early_at_a_fixed_point_changes_nothing() -> None:
    mdp = from_env("CliffWalking-v1")
    to_goal = np.full(48, 1)
    to_goal[36], to_goal[11::12] = 0, 2
    assert return_under_limit(mdp, to_goal, limit=10**7)[0] == -13
    assert optimal_return_under_limit(mdp, 13).expected_return == -13
    # With 12 steps the goal is out of reach and each step costs 1.
    assert optimal_return_under_limit(mdp, 12).expected_return == -12


def test_the_best_return_alone_is_that_of_the_best_plan() -> None:
    for id_ in ("FrozenLake-v1", "Taxi-v4"):
        mdp = from_env(id_)
        assert best_return_under_limit(mdp) == optimal_return_under_limit(mdp).expected_return


def test_without_a_limit_the_limit_must_be_given() -> None:
    mdp = from_env("CliffWalking-v1")
    for function in (
        optimal_return_under_limit,
        lambda m: return_under_limit(m, np.zeros(48, int)),
    ):
        with pytest.raises(ValueError, match="no time limit and none was given"):
            function(mdp)
    with pytest.raises(ValueError, match="whole number of steps >= 1, got 0"):
        optimal_return_under_limit(mdp, 0)


def test_a_limit_that_takes_hours_is_rejected_unless_nothing_changes_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, cliff = from_env("FrozenLake-v1"), from_env("CliffWalking-v1")
    assert best_return_under_limit(lake, 10**12) == pytest.approx(14 / 17, abs=1e-9)
    monkeypatch.setattr(returns, "_longest", lambda num_entries: 50)
    assert best_return_under_limit(cliff, 10**12) == -13
    up = np.zeros(48, dtype=np.int64)  # never ends, and each step costs 1
    with pytest.raises(LimitTooLong, match=r"1,000,000 steps: after 50 steps it still changes"):
        return_under_limit(cliff, up, 10**6)
    assert return_under_limit(cliff, up, 50)[0] == -50
    with pytest.raises(LimitTooLong):
        best_return_under_limit(TabularMDP.from_arrays([[[1.0]]], [[1.0]]), 51)


def test_a_plan_for_more_steps_than_memory_holds_is_rejected_first() -> None:
    with pytest.raises(ValueError, match=r"a plan for each step would need 2\.6e"):
        optimal_return_under_limit(from_env("FrozenLake-v1"), 10**12)
