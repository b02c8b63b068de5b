"""Bellman operators, value iteration and policy iteration."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantecon.markov import DiscreteDP

from rlkit.tabular import solvers as planning
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.operators import action_values, bellman_optimality, bellman_policy, greedy
from rlkit.tabular.policy_chain import NoFiniteReturn
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.returns import optimal_return_under_limit, policy_value, return_under_limit
from rlkit.tabular.solvers import NotConverged, best_total_return, policy_iteration, value_iteration

SOLVERS = [value_iteration, policy_iteration]


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
    return TabularMDP(
        probability=probability,
        next_state=rng.integers(num_states, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.2,
        initial_distribution=rng.dirichlet(np.ones(num_states)),
    )


def dense(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and transitions with one extra absorbing state for the end, entry by entry."""
    num_states, num_actions, width = mdp.probability.shape
    transition = np.zeros((num_states + 1, num_actions, num_states + 1))
    reward = np.zeros((num_states + 1, num_actions))
    transition[-1, :, -1] = 1
    for s in range(num_states):
        for a in range(num_actions):
            for k in range(width):
                p = mdp.probability[s, a, k]
                to = -1 if mdp.terminated[s, a, k] else mdp.next_state[s, a, k]
                transition[s, a, to] += p
                reward[s, a] += p * mdp.reward[s, a, k]
    return reward, transition


def from_env(id_: str, **options: Any) -> TabularMDP:
    return mdp_from_env(lambda: gym.make(id_, **options))


# --- known answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("mdp", "discount", "values", "policy"),
    [
        (puterman_3_1(), 0.95, [-60 / 7, -20], [0, 0]),
        (small(), 0.9, [42.4418604651163, 36.0465116279070], [1, 0]),
        (forest(), 0.9, [26.244, 29.484, 33.484], [0, 0, 0]),
    ],
    ids=["Puterman 3.1", "small", "forest"],
)
def test_textbook_problems_have_their_textbook_answers(
    solver: Any, mdp: TabularMDP, discount: float, values: list[float], policy: list[int]
) -> None:
    plan = solver(mdp, discount=discount)
    # 1e-9 is the tolerance of value iteration; the printed digits go further.
    np.testing.assert_allclose(plan.values, values, rtol=0, atol=1e-9)
    assert plan.policy.tolist() == policy


@pytest.mark.parametrize("solver", SOLVERS)
def test_sutton_and_bartos_grid_has_the_printed_first_row(solver: Any) -> None:
    plan = solver(sutton_grid(), discount=0.9)
    printed = [21.9775, 24.4194, 21.9775, 19.4194, 17.4775]
    np.testing.assert_allclose(plan.values[:5], printed, atol=5e-5)  # four decimals are printed


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("id_", "discount", "answer"),
    [
        ("FrozenLake-v1", 0.99, 0.5420259320),
        ("FrozenLake-v1", 1.0, 14 / 17),
        ("FrozenLake8x8-v1", 0.99, 0.4146403618),
        ("CliffWalking-v1", 0.99, -12.2478977001),
        ("CliffWalking-v1", 1.0, -13),
    ],
)
def test_gymnasiums_tables_have_their_known_start_values(
    solver: Any, id_: str, discount: float, answer: float
) -> None:
    mdp = from_env(id_)
    start = mdp.initial_distribution @ solver(mdp, discount=discount).values
    # Half the asked tolerance of 1e-9, and half a unit of the tenth printed digit.
    assert start == pytest.approx(answer, abs=5e-10 + 5e-11)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("discount", [0.5, 0.95, 0.999])
def test_both_solvers_agree_with_quantecon_on_random_mdps(seed: int, discount: float) -> None:
    mdp = random_mdp(seed)
    reward, transition = dense(mdp)
    peer = DiscreteDP(reward, transition, discount).solve(method="policy_iteration")
    for solver in SOLVERS:
        plan = solver(mdp, discount=discount)
        np.testing.assert_allclose(plan.values, peer.v[:-1], rtol=0, atol=1e-8)
        assert plan.policy.tolist() == peer.sigma[:-1].tolist()


@pytest.mark.parametrize(
    ("id_", "options"),
    [
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
        ("CliffWalkingSlippery-v1", {}),
        ("FrozenLake-v1", {"desc": ["SFFH", "FFFF", "HFFG"], "success_rate": 0.8}),
    ],
)
def test_both_solvers_agree_with_quantecon_on_other_environments(
    id_: str, options: dict[str, Any]
) -> None:
    mdp = from_env(id_, **options)
    reward, transition = dense(mdp)
    peer = DiscreteDP(reward, transition, 0.97).solve(method="policy_iteration")
    for solver in SOLVERS:
        values = solver(mdp, discount=0.97).values
        np.testing.assert_allclose(values, peer.v[:-1], rtol=0, atol=1e-8)


def overwritten_duplicates(mdp: TabularMDP) -> TabularMDP:
    """The mistake `matrix[s, a, next_state] = probability`, the rest of the chance lost."""
    num_states, num_actions, width = mdp.probability.shape
    kept = mdp.probability.copy()
    for s in range(num_states):
        for a in range(num_actions):
            for k in range(width):
                kept[s, a, k] *= mdp.next_state[s, a, k] not in mdp.next_state[s, a, k + 1 :]
    lost = 1 - kept.sum(axis=-1, keepdims=True)
    return TabularMDP(
        probability=np.concatenate([kept, lost], axis=-1),
        next_state=np.concatenate([mdp.next_state, mdp.next_state[..., :1]], axis=-1),
        reward=np.concatenate([mdp.reward, np.zeros_like(lost)], axis=-1),
        terminated=np.concatenate([mdp.terminated, np.ones_like(lost, dtype=bool)], axis=-1),
        initial_distribution=mdp.initial_distribution,
    )


def test_overwriting_duplicate_successors_would_be_noticed() -> None:
    mutant = overwritten_duplicates(from_env("FrozenLake-v1"))
    assert value_iteration(mutant, discount=0.99).values[0] == pytest.approx(0.385257, abs=5e-7)


def without_ends(mdp: TabularMDP) -> TabularMDP:
    return TabularMDP(
        probability=mdp.probability,
        next_state=mdp.next_state,
        reward=mdp.reward,
        terminated=np.zeros_like(mdp.terminated),
        initial_distribution=mdp.initial_distribution,
    )


def test_a_missing_terminal_mask_would_be_noticed_on_cliff_walking_only() -> None:
    cliff, lake = from_env("CliffWalking-v1"), from_env("FrozenLake-v1")
    mutant = value_iteration(without_ends(cliff), discount=0.99)
    assert mutant.values[36] == pytest.approx(-100.0, abs=1e-8)
    blind = value_iteration(without_ends(lake), discount=0.99)
    assert blind.values[0] == pytest.approx(0.5420259320, abs=1e-9)


# --- guarantees ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [10, 1, 1e-2, 1e-6, 1e-9, 1e-11])
def test_value_iteration_stops_within_half_the_tolerance(tolerance: float) -> None:
    plan = value_iteration(puterman_3_1(), discount=0.95, tolerance=tolerance)
    error = np.abs(plan.values - [-60 / 7, -20]).max()
    # 1e-14 is the rounding of the closed form itself.
    assert error <= plan.error_bound + 1e-14
    assert plan.error_bound <= tolerance / 2


def test_value_iteration_sweeps_no_more_than_its_promise_needs() -> None:
    # c_n = 0.95^(n-1) * 10 on this MDP at most: the promise holds after at most this many sweeps.
    needed = 1 + np.log(1e-6 / 2 * 0.05 / (0.95 * 10)) / np.log(0.95)
    assert value_iteration(puterman_3_1(), discount=0.95, tolerance=1e-6).sweeps <= needed + 1


def test_below_the_precision_of_float64_the_error_bound_says_what_was_reached() -> None:
    mdp = TabularMDP.from_arrays([[[1.0]]], [[1e6]])
    plan = value_iteration(mdp, discount=0.99, tolerance=1e-9)
    assert plan.error_bound > 1e-9
    assert abs(plan.values[0] - 1e8) <= plan.error_bound < 1e-4


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sweeps", [0, -1])
def test_a_number_of_sweeps_below_one_is_refused(solver: Any, sweeps: int) -> None:
    with pytest.raises(ValueError, match="max_sweeps must be >= 1"):
        solver(puterman_3_1(), discount=0.9, max_sweeps=sweeps)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("discount", [-0.1, 1.0001, np.nan])
def test_discounts_outside_zero_to_one_are_refused(solver: Any, discount: float) -> None:
    with pytest.raises(ValueError, match=r"discount must be in \[0, 1\]"):
        solver(puterman_3_1(), discount=discount)


@pytest.mark.parametrize("tolerance", [0, -1, np.nan])
def test_tolerances_that_are_not_positive_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be > 0"):
        value_iteration(puterman_3_1(), discount=0.9, tolerance=tolerance)


@pytest.mark.parametrize("discount", [0.99, 1.0])
def test_running_out_of_sweeps_is_an_error_that_says_how_far_it_got(discount: float) -> None:
    with pytest.raises(NotConverged, match="after 5 sweeps"):
        value_iteration(from_env("FrozenLake-v1"), discount=discount, max_sweeps=5)


def test_discount_zero_is_the_best_immediate_reward() -> None:
    for solver in SOLVERS:
        assert solver(small(), discount=0).values.tolist() == [10, 2]


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


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.9, 0.99, 1.0]))
def test_value_and_policy_iteration_agree(seed: int, discount: float) -> None:
    mdp = random_mdp(seed)
    try:
        exact = policy_iteration(mdp, discount=discount)
    except NoFiniteReturn as reason:  # some of these pay for going round for ever
        with pytest.raises(NoFiniteReturn, match=str(reason)[:40]):
            value_iteration(mdp, discount=discount)
        return
    plan = value_iteration(mdp, discount=discount)
    # Either is within its bound of V*.
    assert np.abs(plan.values - exact.values).max() <= plan.error_bound + exact.error_bound
    for policy in (plan.policy, exact.policy):
        achieved = policy_value(mdp, policy, discount=discount)
        # The policy may give away 2 * error_bound and ties of 1e-9 over 100 steps.
        np.testing.assert_allclose(achieved, exact.values, rtol=0, atol=1e-6)


# --- ties and discount 1 ------------------------------------------------------------------------


def test_ties_go_to_the_lowest_action_whatever_the_rounding() -> None:
    transition = np.ones((1, 3, 1))
    noisy = TabularMDP.from_arrays(transition, [[1.0, 1.0 + 4e-16, 1.0 + 8e-16]])
    assert greedy(noisy, np.zeros(1), 0.9).tolist() == [0]
    real = TabularMDP.from_arrays(transition, [[1.0, 1.0 + 1e-6, 1.0]])
    assert greedy(real, np.zeros(1), 0.9).tolist() == [1]


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


def test_ties_below_rounding_do_not_trap_the_agent_at_small_discounts() -> None:
    mdp = from_env("CliffWalking-v1")
    # At 0.05 the value 13 steps away differs by 1e-17 from that of never arriving.
    plan = value_iteration(mdp, discount=0.05)
    assert policy_value(mdp, plan.policy, discount=1.0)[36] == -13


def cycle(*rewards: float, exits: tuple[float, ...] = ()) -> TabularMDP:
    """Action 0 goes round in a circle; action 1 leaves it, where there are exits."""
    n = len(rewards)
    table = [[[(1.0, (s + 1) % n, r, False)]] for s, r in enumerate(rewards)]
    for s, reward in enumerate(exits):
        table[s].append([(1.0, s, reward, True)])
    return TabularMDP.from_successors(table, initial_distribution=np.ones(n) / n)


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
def test_resting_for_ever_counts_as_zero(solver: Any) -> None:
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
def test_a_pit_that_pays_for_ever_is_avoided_and_has_no_undiscounted_value(solver: Any) -> None:
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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_undiscounted_optimum_is_the_limit_of_long_time_limits(seed: int) -> None:
    """Rewards <= 0 and every state may end: then both exist and must agree."""
    base = random_mdp(seed)
    terminated = base.terminated.copy()
    terminated[..., 0] = True
    probability = 0.9 * base.probability
    probability[..., 0] += 0.1
    mdp = TabularMDP(
        probability=probability,
        next_state=base.next_state,
        reward=-np.abs(base.reward),
        terminated=terminated,
        initial_distribution=base.initial_distribution,
    )
    long = optimal_return_under_limit(mdp, 400)  # 0.9^400 < 1e-18 are still going
    for solver in SOLVERS:
        np.testing.assert_allclose(solver(mdp, discount=1.0).values, long.values[0], atol=1e-9)


def walled_walk(n: int) -> TabularMDP:
    """Cells in a line: one step to either side with chance 0.9, -1 a step, the last ends it."""
    cells = np.arange(n)
    left, right = np.maximum(cells - 1, 0), np.minimum(cells + 1, n - 1)
    next_state = np.stack([np.stack([left, right], -1), np.stack([right, left], -1)], axis=1)
    return TabularMDP(
        probability=np.broadcast_to([0.9, 0.1], (n, 2, 2)),
        next_state=next_state,
        reward=np.full((n, 2, 2), -1.0),
        terminated=next_state == n - 1,
        initial_distribution=np.eye(1, n)[0],
    )


def test_a_head_start_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = walled_walk(200)
    plain = policy_iteration(mdp, discount=1.0)
    monkeypatch.setattr(planning, "_LARGE", 1)
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
