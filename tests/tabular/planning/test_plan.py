"""Policy improvement against the best of all policies, and the bounds of a plan."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rlkit.tabular.operators import bellman_optimality
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.plan import (
    NotConverged,
    Plan,
    check_tolerance,
    improve_until_greedy,
    rounding,
)
from rlkit.tabular.planning.solvers import value_iteration
from tests.tabular.models import dense, random_mdp

SIZE, GAMMA = 5, 0.9


class Exact:
    """Evaluates policies of a random model by dense solves."""

    def __init__(self, seed: int) -> None:
        self.reward, self.transition = dense(random_mdp(seed, SIZE))

    def __call__(self, policy: np.ndarray) -> tuple[np.ndarray, float]:
        rows = np.arange(SIZE)
        matrix = np.eye(SIZE) - GAMMA * self.transition[rows, policy, :-1]
        return np.linalg.solve(matrix, self.reward[rows, policy]), 1 / (1 - GAMMA)

    def best(self) -> np.ndarray:
        policies = itertools.product(range(self.reward.shape[1]), repeat=SIZE)
        return np.max([self(np.array(policy))[0] for policy in policies], axis=0)


def worst(exact: Exact) -> np.ndarray:
    return exact.reward[:-1].argmin(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_improvement_ends_at_the_best_of_all_policies(seed: int) -> None:
    exact, reports = Exact(seed), []
    plan, policy = improve_until_greedy(
        random_mdp(seed, SIZE), worst(exact), exact, discount=GAMMA, max_sweeps=50,
        report=lambda *report: reports.append(report),
    )  # fmt: skip
    best = exact.best()
    assert (np.abs(plan.values - best) <= plan.error_bound).all()
    assert plan.error_bound < 1e-12
    np.testing.assert_allclose(exact(policy)[0], best, rtol=0, atol=1e-12)
    assert [number for number, _, _ in reports] == list(range(1, plan.sweeps + 1))
    # Each report bounds the error of its policy: the last one that of the plan.
    assert reports[-1][1:] == (plan.below, plan.above)
    first = float(np.abs(exact(worst(exact))[0] - best).max())
    assert reports[0][1] >= first > 1e-3


def test_running_out_of_policies_is_an_error() -> None:
    exact = Exact(0)
    with pytest.raises(NotConverged, match="still improving after 1 policies; raise max_sweeps"):
        improve_until_greedy(random_mdp(0, SIZE), worst(exact), exact, discount=GAMMA, max_sweeps=1)


def test_an_evaluation_too_long_for_float64_is_an_error() -> None:
    exact = Exact(0)
    with pytest.raises(NotConverged, match="take about 1e\\+15 steps"):
        improve_until_greedy(
            random_mdp(0, SIZE), worst(exact), lambda policy: (exact(policy)[0], 1e15),
            discount=GAMMA, max_sweeps=50,
        )  # fmt: skip


def test_rounding_bounds_the_difference_from_exact_arithmetic() -> None:
    mdp = random_mdp(1, 30)
    values = np.random.default_rng(0).normal(scale=1e3, size=30)
    table, backup = mdp.padded(), bellman_optimality(mdp, values, GAMMA)
    largest = Fraction(0)
    for s in range(30):
        actions = []
        for a in range(mdp.num_actions):
            terms = zip(*(field[s, a].tolist() for field in table), strict=True)
            actions.append(
                sum(
                    Fraction(p)
                    * (Fraction(r) + (0 if end else Fraction(GAMMA) * Fraction(values[t])))
                    for p, t, r, end in terms
                )
            )
        largest = max(largest, abs(max(actions) - Fraction(float(backup[s]))))
    assert 0 < largest <= rounding(mdp, values, GAMMA)
    # States without a finite value do not count.
    values[3] = -np.inf
    assert np.isfinite(rounding(mdp, values, GAMMA))


def test_the_bounds_of_a_plan_are_on_their_sides() -> None:
    plan = Plan(
        values=np.array([1.0, 2.0]), policy=np.zeros(2, int), sweeps=1, below=0.25, above=0.5
    )
    assert plan.error_bound == 0.5
    assert plan.lower.tolist() == [0.75, 1.75]
    assert plan.upper.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("tolerance", "max_sweeps", "message"),
    [(0.0, 1, "tolerance must be > 0, got 0.0"), (np.nan, 1, "tolerance"), (1.0, 0, "max_sweeps")],
)
def test_a_tolerance_or_a_limit_without_sense_is_rejected(
    tolerance: float, max_sweeps: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_tolerance(tolerance, max_sweeps)


@pytest.mark.parametrize("solve", [value_iteration, modified_policy_iteration])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_first_values_that_are_not_finite_are_rejected(solve: Any, value: float) -> None:
    with pytest.raises(ValueError, match="initial_values: expected a finite number"):
        solve(random_mdp(0), discount=0.9, initial_values=np.full(7, value))
