"""Value iteration and policy iteration."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantecon.markov import DiscreteDP

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.solvers import (
    NotConverged,
    gauss_seidel,
    policy_iteration,
    value_iteration,
)
from rlkit.tabular.policy_chain import NoFiniteReturn
from rlkit.tabular.returns import policy_value
from tests.tabular.models import (
    dense,
    forest,
    from_env,
    puterman_3_1,
    random_mdp,
    small,
    sutton_grid,
)

SOLVERS = [value_iteration, policy_iteration]
BELOW_ONE = [*SOLVERS, gauss_seidel, modified_policy_iteration]


@pytest.mark.parametrize("solver", BELOW_ONE)
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


@pytest.mark.trap("T37")
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
def test_all_solvers_agree_with_quantecon_on_random_mdps(seed: int, discount: float) -> None:
    mdp = random_mdp(seed)
    reward, transition = dense(mdp)
    peer = DiscreteDP(reward, transition, discount).solve(method="policy_iteration")
    for solver in BELOW_ONE:
        plan = solver(mdp, discount=discount)
        np.testing.assert_allclose(plan.values, peer.v[:-1], rtol=0, atol=1e-8)
        assert plan.policy.tolist() == peer.sigma[:-1].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id_", "options"),
    [
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
        ("CliffWalkingSlippery-v1", {}),
        ("FrozenLake-v1", {"desc": ["SFFH", "FFFF", "HFFG"], "success_rate": 0.8}),
    ],
)
def test_all_solvers_agree_with_quantecon_on_other_environments(
    id_: str, options: dict[str, Any]
) -> None:
    mdp = from_env(id_, **options)
    reward, transition = dense(mdp)
    peer = DiscreteDP(reward, transition, 0.97).solve(method="policy_iteration")
    for solver in BELOW_ONE:
        values = solver(mdp, discount=0.97).values
        np.testing.assert_allclose(values, peer.v[:-1], rtol=0, atol=1e-8)


def overwritten_duplicates(mdp: TabularMDP) -> TabularMDP:
    """The mistake `matrix[s, a, next_state] = probability`, the rest of the chance lost."""
    table = mdp.padded()
    num_states, num_actions, width = table.probability.shape
    kept = table.probability.copy()
    for s in range(num_states):
        for a in range(num_actions):
            for k in range(width):
                kept[s, a, k] *= table.next_state[s, a, k] not in table.next_state[s, a, k + 1 :]
    lost = 1 - kept.sum(axis=-1, keepdims=True)
    return TabularMDP.from_padded(
        probability=np.concatenate([kept, lost], axis=-1),
        next_state=np.concatenate([table.next_state, table.next_state[..., :1]], axis=-1),
        reward=np.concatenate([table.reward, np.zeros_like(lost)], axis=-1),
        terminated=np.concatenate([table.terminated, np.ones_like(lost, dtype=bool)], axis=-1),
        initial_distribution=mdp.initial_distribution,
    )


@pytest.mark.trap("T38")
def test_overwriting_duplicate_successors_would_be_noticed() -> None:
    mutant = overwritten_duplicates(from_env("FrozenLake-v1"))
    assert value_iteration(mutant, discount=0.99).values[0] == pytest.approx(0.385257, abs=5e-7)


def without_ends(mdp: TabularMDP) -> TabularMDP:
    table = mdp.padded()
    return TabularMDP.from_padded(
        probability=table.probability,
        next_state=table.next_state,
        reward=table.reward,
        terminated=np.zeros_like(table.terminated),
        initial_distribution=mdp.initial_distribution,
    )


@pytest.mark.trap("T37")
def test_a_missing_terminal_mask_would_be_noticed_on_cliff_walking_only() -> None:
    cliff, lake = from_env("CliffWalking-v1"), from_env("FrozenLake-v1")
    mutant = value_iteration(without_ends(cliff), discount=0.99)
    assert mutant.values[36] == pytest.approx(-100.0, abs=1e-8)
    blind = value_iteration(without_ends(lake), discount=0.99)
    assert blind.values[0] == pytest.approx(0.5420259320, abs=1e-9)


@pytest.mark.trap("T44")
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


@pytest.mark.trap("T44")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sweeps", [0, -1])
def test_a_number_of_sweeps_below_one_is_rejected(solver: Any, sweeps: int) -> None:
    with pytest.raises(ValueError, match="max_sweeps must be >= 1"):
        solver(puterman_3_1(), discount=0.9, max_sweeps=sweeps)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("discount", [-0.1, 1.0001, np.nan])
def test_discounts_outside_zero_to_one_are_rejected(solver: Any, discount: float) -> None:
    with pytest.raises(ValueError, match=r"discount must be in \[0, 1\]"):
        solver(puterman_3_1(), discount=discount)


@pytest.mark.parametrize("tolerance", [0, -1, np.nan])
def test_tolerances_that_are_not_positive_are_rejected(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be > 0"):
        value_iteration(puterman_3_1(), discount=0.9, tolerance=tolerance)


@pytest.mark.trap("T11")
def test_running_out_of_sweeps_at_discount_1_is_an_error_that_says_how_far_it_got() -> None:
    with pytest.raises(NotConverged, match="after 5 sweeps"):
        value_iteration(from_env("FrozenLake-v1"), discount=1.0, max_sweeps=5)


@pytest.mark.parametrize("solver", [value_iteration, gauss_seidel, modified_policy_iteration])
@pytest.mark.parametrize("max_sweeps", [1, 3, 12, 60])
def test_the_bounds_hold_whether_or_not_it_converged(solver: Any, max_sweeps: int) -> None:
    for seed in range(20):
        mdp = random_mdp(seed, num_states=30)
        exact = policy_iteration(mdp, discount=0.97)
        plan = solver(mdp, discount=0.97, tolerance=1e-10, max_sweeps=max_sweeps)
        assert plan.converged == (plan.error_bound <= 0.5e-10)
        # The exact values have an error of their own.
        assert (plan.lower <= exact.values + exact.error_bound).all()
        assert (plan.upper >= exact.values - exact.error_bound).all()
        assert max(plan.below, plan.above) == plan.error_bound
    if max_sweeps == 1:
        assert not plan.converged


def test_discount_zero_is_the_best_immediate_reward() -> None:
    for solver in BELOW_ONE:
        assert solver(small(), discount=0).values.tolist() == [10, 2]


@pytest.mark.slow
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


def test_ties_below_rounding_do_not_trap_the_agent_at_small_discounts() -> None:
    mdp = from_env("CliffWalking-v1")
    # At 0.05 the value 13 steps away differs by 1e-17 from that of never arriving.
    plan = value_iteration(mdp, discount=0.05)
    assert policy_value(mdp, plan.policy, discount=1.0)[36] == -13


@pytest.mark.parametrize("solver", BELOW_ONE)
@pytest.mark.parametrize(("reward", "discount"), [(1e305, 0.999999), (-1.7e308, 0.5)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_beyond_float64_are_an_error_and_not_infinite(
    solver: Any, reward: float, discount: float
) -> None:
    mdp = TabularMDP.from_arrays([[[1.0]]], [[reward]])
    with pytest.raises(NotConverged, match="more than float64 can hold; divide the rewards"):
        solver(mdp, discount=discount, max_sweeps=50)


@pytest.mark.parametrize("solver", BELOW_ONE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rewards_whose_squares_are_infinite_are_solved(solver: Any) -> None:
    small, scale = random_mdp(3, 4), 1e300
    large = dataclasses.replace(small, reward=small.reward * scale)
    plan, expected = solver(large, discount=0.9), solver(small, discount=0.9)
    np.testing.assert_allclose(plan.values / scale, expected.values, atol=1e-8)
    assert (plan.lower <= plan.upper).all()


def test_policy_iteration_states_a_value_of_nothing_beside_large_rewards() -> None:
    # The rounding of sums of 1e6 is beyond 1e-4 of the value 0, and small beside the rewards.
    mdp = TabularMDP.from_arrays(
        [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]], [[0.0, -1e6], [0.0, -1e6]],
        first_axis="state",
    )  # fmt: skip
    plan = policy_iteration(mdp, discount=0.999999)
    assert (plan.values == 0).all()
    assert 0 < plan.error_bound < 1e-2
