"""Everything about one policy, against dense linear algebra."""

import math
from typing import Any

import numpy as np
import pytest

from rlkit import tabular
from rlkit.tabular.evaluation.evaluate import evaluate
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn
from tests.tabular.evaluation.by_hand import NAMES, TABLES, Dense, random_policy, table
from tests.tabular.models import from_env


@pytest.mark.parametrize("horizon", [None, 1, 37, "auto"])
@pytest.mark.parametrize("case", range(len(TABLES)), ids=NAMES)
def test_every_quantity_agrees_with_a_dense_solve(case: int, horizon: Any) -> None:
    mdp = table(case)
    policy = random_policy(mdp)
    result, dense = evaluate(mdp, policy, discount=0.9, horizon=horizon), Dense(mdp, policy)
    limit = mdp.time_limit if horizon == "auto" else horizon
    visits = dense.visits(limit)
    any_end = not dense.rewarded.any()
    values = np.linalg.solve(np.eye(mdp.num_states) - 0.9 * dense.going, dense.gain)
    close = {"rtol": 1e-8, "atol": 1e-8}
    assert result.horizon == limit
    np.testing.assert_allclose(result.values, values, **close)
    np.testing.assert_allclose(result.start_value, dense.start @ values, **close)
    np.testing.assert_allclose(result.visits, visits, **close)
    np.testing.assert_allclose(result.expected_length, visits.sum(), **close)
    np.testing.assert_allclose(result.expected_return, visits @ dense.gain, **close)
    ends = dense.ending if any_end else dense.rewarded
    np.testing.assert_allclose(result.success_probability, visits @ ends, **close)
    np.testing.assert_allclose(result.long_run, dense.long_run(), **close)
    np.testing.assert_allclose(result.share_of_time, visits / visits.sum(), **close)


def test_success_on_the_lake_is_reaching_the_goal() -> None:
    mdp = from_env("FrozenLake-v1")
    plan = tabular.solve(mdp)
    result = evaluate(mdp, plan.policy)
    # Only the goal pays, and it pays 1, so the known return under the limit is the probability.
    assert result.success_probability == pytest.approx(0.7401648978, abs=1e-9)
    assert result.expected_return == pytest.approx(0.7401648978, abs=1e-9)
    assert result.start_value == pytest.approx(0.5420259320, abs=1e-9)
    assert evaluate(mdp, plan.policy, horizon=None).success_probability == pytest.approx(14 / 17)


def test_success_on_the_cliff_is_any_ending_as_no_ending_pays() -> None:
    mdp = from_env("CliffWalking-v1")
    to_goal = np.full(48, 1)
    to_goal[36], to_goal[11::12] = 0, 2
    result = evaluate(mdp, to_goal)
    assert (result.success_probability, result.expected_length) == (1.0, 13.0)
    assert evaluate(mdp, to_goal, horizon=12).success_probability == 0.0
    np.testing.assert_array_equal(np.flatnonzero(result.visits), [*range(24, 37)])


def test_a_policy_in_each_of_its_forms_is_the_same_policy() -> None:
    mdp = from_env("FrozenLake-v1")
    values = tabular.action_values(mdp, tabular.solve(mdp).values, 0.99)
    actions = values.argmax(axis=1)

    class Actor:
        def probabilities(self, obs: np.ndarray) -> np.ndarray:
            return np.eye(4, dtype=np.float32)[actions[obs]]

    class Deployed:
        def policy_table(self) -> np.ndarray:
            return np.eye(4)[actions]

    forms: list[tuple[Any, bool]] = [
        *((actions, False), (actions.tolist(), False), (np.eye(4)[actions], False)),
        *((values, True), (Actor(), False), (Deployed(), False)),
    ]
    lengths = {evaluate(mdp, form, action_values=q).expected_length for form, q in forms}
    assert len(lengths) == 1


def test_among_equal_action_values_the_first_is_taken() -> None:
    mdp = from_env("FrozenLake-v1")
    first = evaluate(mdp, np.zeros(16, dtype=int))
    zeros = evaluate(mdp, np.zeros((16, 4)), action_values=True)
    np.testing.assert_array_equal(zeros.visits, first.visits)


def endless(chance: float = 0.25) -> TabularMDP:
    """State 0 ends with `chance`, moves on with the same and stays otherwise; 1, 2 alternate."""
    rows = [
        [(chance, 0, 1.0, True), (chance, 1, 0.0, False), (1 - 2 * chance, 0, 0.0, False)],
        [(1.0, 2, 0.0, False)],
        [(1.0, 1, 0.0, False)],
        [(1.0, 3, 0.0, False)],
    ]
    start = [1.0, 0.0, 0.0, 0.0]
    return TabularMDP.from_successors([[row] for row in rows], initial_distribution=start)


def test_an_episode_that_may_never_end_has_infinite_length_and_finite_answers_otherwise() -> None:
    result = evaluate(endless(), [0, 0, 0, 0])
    np.testing.assert_array_equal(result.visits, [2.0, math.inf, math.inf, 0.0])
    assert result.expected_length == math.inf
    assert result.success_probability == 0.5
    assert result.expected_return == 0.5  # the endless part is without rewards
    assert result.long_run is not None
    np.testing.assert_allclose(result.long_run, [0, 0.5, 0.5, 0], atol=1e-14)
    np.testing.assert_array_equal(result.share_of_time, result.long_run)
    limited = evaluate(endless(), [0, 0, 0, 0], horizon=2)
    assert limited.expected_length == 1.75  # a quarter of the episodes ends at once
    np.testing.assert_array_equal(limited.visits, [1.5, 0.25, 0.0, 0.0])


def test_a_long_horizon_of_a_chain_at_rest_needs_no_loop() -> None:
    rows = [[[(1.0, 0, 0.0, False)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1.0])
    result = evaluate(mdp, [0], horizon=10**15)
    assert result.visits.tolist() == [10**15]
    assert result.success_probability is None  # nothing ever terminates


def test_where_the_long_run_depends_on_chance_there_is_none() -> None:
    rows = [[[(1.0, s, 0.0, False)]] for s in range(2)]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[0.5, 0.5])
    result = evaluate(mdp, [0, 0])
    assert result.long_run is None
    assert result.share_of_time is None
    assert result.visits.tolist() == [math.inf, math.inf]


def test_at_discount_one_rewards_without_end_are_an_error() -> None:
    mdp = TabularMDP.from_successors([[[(1.0, 0, 1.0, False)]]], initial_distribution=[1.0])
    with pytest.raises(NoFiniteReturn, match="choose a discount below 1"):
        evaluate(mdp, [0], discount=1.0)
    assert evaluate(mdp, [0], discount=0.5).expected_return is None


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (np.zeros((16, 4)), {}, "sum to 1.*pass action_values=True"),
        (np.zeros(15, dtype=int), {}, r"actions of shape \[16\].*got shape \[15\]"),
        (np.full((2, 16, 4), 0.25), {}, r"got shape \[2, 16, 4\]"),
        (np.full((16, 4), np.nan), {"action_values": True}, "without NaN"),
        (np.zeros(16, dtype=int), {"horizon": 0}, "whole number of steps >= 1, got 0"),
        (np.zeros(16, dtype=int), {"horizon": "long"}, 'expected "auto", None or a number'),
        (np.zeros(16, dtype=int), {"discount": 1.5}, r"discount must be in \[0, 1\]"),
        (np.full(16, 4), {}, r"actions must be in \[0, 4\)"),
    ],
)
def test_bad_input_is_one_sentence(policy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(from_env("FrozenLake-v1"), policy, **options)


def test_an_actor_of_several_seeds_is_rejected() -> None:
    class Actor:
        def probabilities(self, obs: np.ndarray) -> np.ndarray:
            return np.full((3, 16, 4), 0.25)

    with pytest.raises(ValueError, match=r"actor of one seed.*run\.actor\(seed\)"):
        evaluate(from_env("FrozenLake-v1"), Actor())


def test_an_end_too_unlikely_for_float64_is_one_sentence() -> None:
    table = [[[(1.0, 0, -1.0, False), (1e-17, 1, 0.0, True)]], [[(1.0, 1, 0.0, True)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    with pytest.raises(NoFiniteReturn, match="too small for float64"):
        evaluate(mdp, [0, 0], discount=0.9)
    assert evaluate(mdp, [0, 0], discount=0.9, horizon=5).expected_length == 5


def test_a_run_in_place_of_its_actor_is_explained() -> None:
    class Run:
        def actor(self, seed: int) -> None: ...

    with pytest.raises(ValueError, match=r"choose one, as in run\.actor\(0\)"):
        evaluate(TabularMDP.from_arrays([[[1.0]]], [[1.0]]), Run())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_a_table_of_zeros_and_ones_is_one_policy(dtype: type) -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(4), (4, 4))  # as many actions as states
    mdp = TabularMDP.from_arrays(transition, rng.random((4, 4)), first_axis="state")
    actions = np.array([1, 2, 3, 0])
    chosen = evaluate(mdp, np.eye(4, dtype=dtype)[actions], discount=0.9)
    np.testing.assert_array_equal(chosen.values, evaluate(mdp, actions, discount=0.9).values)
