"""What `rlkit.solve` takes."""

from typing import Any

import gymnasium as gym
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.solving import model_of
from rlkit.tabular.mdp import TabularMDP


def leave_or_stay() -> TabularMDP:
    table = [[[(1.0, 0, 1.0, False)], [(1.0, 0, 3.0, True)]]]
    return TabularMDP.from_successors(table, initial_distribution=[1.0], time_limit=4)


def test_a_model_is_solved() -> None:
    solution = rlkit.solve(leave_or_stay(), discount=0.5)
    assert solution.policy.tolist() == [1]
    assert solution.start_value == pytest.approx(3, abs=1e-9)
    assert solution.optimal_return_under_limit == 6  # stay three times, then leave


def test_a_model_takes_no_arguments_of_an_environment() -> None:
    with pytest.raises(UsageError, match=r"solving a TabularMDP: it has no env_args, got .*map"):
        rlkit.solve(leave_or_stay(), env_args={"map_name": "8x8"})


@pytest.mark.parametrize("other", [3, None, {"P": 1}, [[0.5, 0.5]], gym.make("FrozenLake-v1")])
def test_anything_else_is_rejected_with_the_accepted_forms(other: Any) -> None:
    with pytest.raises(UsageError, match="solve: expected a TabularMDP, or an environment's id"):
        rlkit.solve(other)


def test_a_model_without_a_finite_optimum_is_named() -> None:
    forever = TabularMDP.from_arrays([[[1.0]]], [[1.0]])
    with pytest.raises(UsageError, match="solving a TabularMDP of 1 states: planning at discount"):
        rlkit.solve(forever, discount=1.0)


@pytest.mark.slow
def test_a_table_that_step_does_not_follow_is_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"solving Taxi-v4: .* table P is not used"):
        rlkit.solve("Taxi-v4", env_args={"fickle_passenger": True})


def test_the_model_of_whatever_can_be_solved_is_found() -> None:
    lake = model_of("FrozenLake-v1", {"is_slippery": False})
    assert lake.num_entries == 64
    assert model_of(lake) is lake
    with pytest.raises(UsageError, match="solving CartPole-v1: looking for the exact model"):
        model_of("CartPole-v1")
