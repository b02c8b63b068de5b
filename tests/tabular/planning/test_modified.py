"""Modified policy iteration: right on large models, and when its evaluations go wrong."""

from typing import Any

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning import modified, sweeps
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.solvers import policy_iteration, value_iteration
from tests.tabular.models import from_env, puterman_3_1, random_mdp


def walk(size: int) -> TabularMDP:
    """A square with four directions, a step aside with chance 0.2; one corner pays and ends it."""
    cells = np.arange(size * size)
    row, column = np.divmod(cells, size)
    steps = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    to = np.stack(
        [
            np.clip(row + down, 0, size - 1) * size + np.clip(column + right, 0, size - 1)
            for down, right in steps
        ],
        axis=1,
    )
    next_state = np.stack([to, np.roll(to, 1, axis=1)], axis=-1)
    return TabularMDP.from_padded(
        probability=np.broadcast_to([0.8, 0.2], next_state.shape),
        next_state=next_state,
        reward=(next_state == cells[-1]) - 0.01,
        terminated=next_state == cells[-1],
        initial_distribution=np.eye(1, cells.size)[0],
    )


@pytest.mark.parametrize("discount", [0.9, 0.99, 0.999])
def test_a_grid_has_the_values_of_value_iteration(discount: float) -> None:
    mdp = walk(30)
    plan = modified_policy_iteration(mdp, discount=discount, tolerance=1e-8)
    exact = policy_iteration(mdp, discount=discount)
    assert plan.converged
    assert plan.error_bound <= 0.5e-8
    assert np.abs(plan.values - exact.values).max() <= plan.error_bound + exact.error_bound
    slow = value_iteration(mdp, discount=discount, tolerance=1e-8)
    assert plan.sweeps < slow.sweeps / 2


def garbage(chain: Any, values: Any, groups: Any, **options: Any) -> int:
    values += np.random.default_rng(values.size).normal(size=values.shape)
    return 1


def not_finite(chain: Any, values: Any, groups: Any, **options: Any) -> int:
    values[0] = np.nan
    return 1


def far_away(chain: Any, values: Any, groups: Any, **options: Any) -> int:
    with np.errstate(over="ignore"):
        values *= 1e200
    return 1


@pytest.mark.parametrize("wrong", [garbage, not_finite, far_away])
def test_evaluations_that_go_wrong_cost_time_and_nothing_else(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modified, "improve", wrong)
    for mdp in (walk(8), from_env("FrozenLake-v1"), random_mdp(0)):
        plan = modified_policy_iteration(mdp, discount=0.97, tolerance=1e-8)
        exact = policy_iteration(mdp, discount=0.97)
        assert plan.converged
        assert np.abs(plan.values - exact.values).max() <= 0.5e-8 + exact.error_bound


def test_the_best_values_are_returned_where_sweeps_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modified, "improve", garbage)
    mdp = walk(8)
    plan = modified_policy_iteration(mdp, discount=0.97, tolerance=1e-8, max_sweeps=40)
    exact = policy_iteration(mdp, discount=0.97)
    assert not plan.converged
    assert (plan.lower <= exact.values).all()
    assert (plan.upper >= exact.values).all()
    assert plan.error_bound < 1.0  # that of the values before the first evaluation


def test_the_result_does_not_depend_on_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeps, "_PART", 100)
    mdp = walk(25)
    plans = []
    for number in (1, 2, 5):
        monkeypatch.setattr(sweeps, "num_threads", lambda number=number: number)
        plans.append(modified_policy_iteration(mdp, discount=0.99, tolerance=1e-8))
    for plan in plans[1:]:
        assert plan.values.tobytes() == plans[0].values.tobytes()
        assert plan.policy.tobytes() == plans[0].policy.tobytes()


def test_it_starts_from_given_values_and_leaves_them_alone() -> None:
    mdp = walk(20)
    exact = policy_iteration(mdp, discount=0.99)
    start = exact.values.copy()
    plan = modified_policy_iteration(mdp, discount=0.99, tolerance=1e-6, initial_values=start)
    assert plan.sweeps <= 21
    assert start.tobytes() == exact.values.tobytes()


def test_discount_1_is_rejected_with_the_solvers_that_take_it() -> None:
    with pytest.raises(ValueError, match="must be below 1; at 1 use value_iteration"):
        modified_policy_iteration(puterman_3_1(), discount=1.0)
