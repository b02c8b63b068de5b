"""One call from an environment to its exact answers."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import UnknownModel, mdp_from_env
from rlkit.tabular.solution import solve

# Ten digits are known; the start value is asked for within 5e-10.
DIGITS = 5.6e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id_", "limit", "start", "greedy", "optimal"),
    [
        ("FrozenLake-v1", 100, 0.5420259320, 0.7401648978, 0.7441902878),
        ("FrozenLake8x8-v1", 200, 0.4146403618, 0.8629553800, 0.9132201502),
        ("CliffWalking-v1", None, -12.2478977001, -13, -13),
    ],
)
def test_gymnasiums_tables_have_their_known_answers(
    id_: str, limit: int | None, start: float, greedy: float, optimal: float
) -> None:
    solution = solve(lambda: gym.make(id_))
    assert solution.time_limit == limit
    assert solution.discount == 0.99
    assert solution.start_value == pytest.approx(start, abs=DIGITS)
    assert solution.greedy_return_under_limit == pytest.approx(greedy, abs=DIGITS)
    assert solution.optimal_return_under_limit == pytest.approx(optimal, abs=DIGITS)
    assert solution.sweeps > 0
    assert solution.seconds > 0
    assert solution.values.shape == solution.policy.shape


@pytest.mark.slow
def test_at_discount_one_the_start_value_ignores_the_limit_and_the_returns_do_not() -> None:
    solution = solve(lambda: gym.make("FrozenLake-v1"), discount=1.0)
    assert solution.start_value == pytest.approx(14 / 17, abs=DIGITS)
    assert solution.greedy_return_under_limit == pytest.approx(0.7401648978, abs=DIGITS)
    assert solution.optimal_return_under_limit == pytest.approx(0.7441902878, abs=DIGITS)


@pytest.mark.slow
def test_taxi_is_solved_in_the_distance_to_drive() -> None:
    solution = solve(lambda: gym.make("Taxi-v4"))
    env = gym.make("Taxi-v4")
    start, returns = env.unwrapped.initial_state_distrib, {}
    for state in np.flatnonzero(start):
        env.reset()
        env.unwrapped.s = int(state)
        total, over, current = 0.0, False, int(state)
        while not over:
            current, reward, terminated, truncated, _ = env.step(int(solution.policy[current]))
            total, over = total + float(reward), terminated or truncated
        returns[state] = total
    env.close()
    driven = sum(start[state] * value for state, value in returns.items())
    # 300 sums of small integers.
    assert solution.greedy_return_under_limit == pytest.approx(driven, abs=1e-12)
    # Nothing here is random, so the best policy need not look at the clock.
    assert solution.optimal_return_under_limit == pytest.approx(driven, abs=1e-12)


def test_a_small_discount_does_not_blur_the_policy_into_ties() -> None:
    """Far from the goal the values are below the tolerance; their order still decides."""
    mdp = mdp_from_env(lambda: gym.make("FrozenLake8x8-v1", is_slippery=False))
    solution = solve(mdp, discount=0.4)
    assert solution.start_value < 1e-5
    assert solution.greedy_return_under_limit == pytest.approx(1, abs=1e-12)
    coarse = solve(mdp, discount=0.4, tolerance=1e-3)
    assert coarse.policy.tolist() == solution.policy.tolist()


def test_without_a_limit_returns_that_are_not_finite_are_none() -> None:
    forever = TabularMDP.from_arrays([[[1.0]]], [[1.0]])
    solution = solve(forever, discount=0.5)
    assert solution.start_value == pytest.approx(2, abs=1e-9)
    assert solution.greedy_return_under_limit is None
    assert solution.optimal_return_under_limit is None

    # Walking on pays 1 less a step than leaving pays once: below discount 1 one walks for ever.
    table = [[[(1.0, 0, -1.0, False)], [(1.0, 0, -100.0, True)]]]
    walker = TabularMDP.from_successors(table, initial_distribution=[1.0])
    solution = solve(walker, discount=0.9)
    assert solution.policy.tolist() == [0]
    assert solution.greedy_return_under_limit is None
    assert solution.optimal_return_under_limit == -100


def test_an_environment_without_a_table_is_rejected() -> None:
    with pytest.raises(UnknownModel, match="model of CartPole-v1"):
        solve(lambda: gym.make("CartPole-v1"))


def test_solving_imports_no_torch() -> None:
    code = "import sys, rlkit.tabular.solution; print({'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("method", ["value-iteration", "gauss-seidel", "modified-policy-iteration"])
@pytest.mark.parametrize(
    ("id_", "start"), [("FrozenLake-v1", 0.542025932), ("CliffWalking-v1", -12.2478977001)]
)
def test_the_bounds_at_the_start_hold_after_any_number_of_sweeps(
    id_: str, start: float, method: str
) -> None:
    """On the lake values rise towards the optimum, along the cliff they fall."""
    mdp = mdp_from_env(lambda: gym.make(id_))
    for max_sweeps in (1, 5, 25):
        solution = solve(mdp, method=method, max_sweeps=max_sweeps, history=True)
        assert solution.lower - DIGITS <= start <= solution.upper + DIGITS  # of the known answer
        assert solution.history[-1] == (solution.sweeps, solution.below, solution.above)
        assert solution.build_seconds == 0.0


def test_an_unknown_method_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown method 'q-learning'; choose auto or one of val"):
        solve(TabularMDP.from_arrays([[[1.0]]], [[1.0]]), method="q-learning")
