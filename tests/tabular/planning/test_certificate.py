"""The bounds of one sweep against the optimum, found by a dense solve for the best policy."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.certificate import UNKNOWN, Certificate, Certifier
from rlkit.tabular.planning.plan import Plan
from rlkit.tabular.planning.solvers import policy_iteration, value_iteration
from tests.tabular.models import dense, random_mdp

SIZE = 5


def optimum(seed: int, discount: float) -> np.ndarray:
    """The largest value over all policies, state by state."""
    reward, transition = dense(random_mdp(seed, SIZE))
    rows = np.arange(SIZE)
    best = np.full(SIZE, -np.inf)
    for policy in itertools.product(range(reward.shape[1]), repeat=SIZE):
        matrix = np.eye(SIZE) - discount * transition[rows, policy, :-1]
        best = np.maximum(best, np.linalg.solve(matrix, reward[rows, policy]))
    return best


def sweep(seed: int, discount: float, values: np.ndarray) -> np.ndarray:
    reward, transition = dense(random_mdp(seed, SIZE))
    return (reward + discount * transition @ np.append(values, 0.0))[:-1].max(axis=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [-3.0, 0.0, 3.0])
def test_the_optimum_is_within_the_bounds_and_they_are_not_loose(seed: int, offset: float) -> None:
    discount = 0.8
    best = optimum(seed, discount)
    before = best + offset + np.random.default_rng(seed).normal(scale=0.1, size=SIZE)
    values = sweep(seed, discount, before)
    change = values - before
    certifier = Certifier(random_mdp(seed, SIZE), discount, 1e-6)
    certificate = certifier.certify(values, change.min(), change.max())
    assert (values - certificate.below <= best).all()
    assert (best <= values + certificate.above).all()
    # A side on which no value changes is bounded by rounding alone.
    assert (certificate.below < 1e-12) == (change.min() >= 0)
    assert (certificate.above < 1e-12) == (change.max() <= 0)
    largest = max(0.0, -change.min(), change.max())
    assert certificate.error == pytest.approx(discount / (1 - discount) * largest)


def test_one_sweep_of_a_state_that_never_ends_gives_its_value() -> None:
    # One state that pays 1: from v = 0 a sweep gives 1, and V* = 1 + 0.9 * 1 / (1 - 0.9) = 10.
    certifier = Certifier(TabularMDP.from_arrays([[[1.0]]], [[1.0]]), 0.9, 1e-6)
    certificate = certifier.certify(np.array([1.0]), 1.0, 1.0)
    assert 1.0 + certificate.shift == pytest.approx(10.0, abs=1e-12)
    assert certificate.error < 1e-12


def never_ending(seed: int, row_sum: float = 1.0) -> tuple[TabularMDP, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(SIZE), size=(SIZE, 2)) * row_sum
    reward = rng.normal(size=(SIZE, 2))
    return TabularMDP.from_arrays(transition, reward, first_axis="state"), transition, reward


@pytest.mark.parametrize("row_sum", [1.0, 1 + 9e-9, 1 - 9e-9])
@pytest.mark.parametrize("discount", [0.0, 0.9, 0.999, 1 - 1e-7])
def test_bounds_hold_where_no_episode_ends(discount: float, row_sum: float) -> None:
    for seed in range(5):
        mdp, transition, reward = never_ending(seed, row_sum)
        best = np.full(SIZE, -np.inf)
        rows = np.arange(SIZE)
        for policy in itertools.product(range(2), repeat=SIZE):
            matrix = np.eye(SIZE) - discount * transition[rows, policy]
            best = np.maximum(best, np.linalg.solve(matrix, reward[rows, policy]))
        before = np.random.default_rng(seed).normal(size=SIZE)
        values = (reward + discount * transition @ before).max(axis=1)
        change = values - before
        certificate = Certifier(mdp, discount, 1e-6).certify(values, change.min(), change.max())
        slack = 1e-13 * np.abs(best).max() / (1 - discount)  # of the dense solve
        assert (values + certificate.shift - certificate.below <= best + slack).all()
        assert (best - slack <= values + certificate.shift + certificate.above).all()


def test_where_no_episode_ends_few_sweeps_are_enough() -> None:
    mdp, *_ = never_ending(0)
    plan = value_iteration(mdp, discount=0.9999, tolerance=1e-6)
    assert plan.converged
    assert plan.sweeps < 100  # the values themselves take a hundred thousand
    exact = policy_iteration(mdp, discount=0.9999)
    assert np.abs(plan.values - exact.values).max() <= plan.error_bound + exact.error_bound


def test_sweeps_continue_below_the_bound_on_rounding_while_they_help() -> None:
    certifier = Certifier(random_mdp(0, SIZE), 0.5, 1e-3)
    resolved = Certificate(1.0, 1.0, 1e-16, 1e-15)
    assert certifier.suffices(resolved)
    assert not certifier.ends(resolved)  # no later sweep has failed to improve
    certifier._falls = False
    assert certifier.ends(resolved)
    assert not certifier.ends(UNKNOWN)


def test_half_the_tolerance_suffices_and_so_does_all_that_float64_resolves() -> None:
    certifier = Certifier(random_mdp(0, SIZE), 0.5, 1e-3)
    assert certifier.suffices(Certificate(4e-4, 5e-4, 1.0, 0.0))
    assert not certifier.suffices(Certificate(4e-4, 6e-4, 1.0, 0.0))
    assert certifier.suffices(Certificate(1.0, 1.0, 1e-16, 1e-15))
    assert not certifier.suffices(UNKNOWN)


@pytest.mark.parametrize("solver", [value_iteration, policy_iteration])
def test_rows_that_sum_to_a_little_more_than_one_are_bounded_too(
    solver: Callable[..., Plan],
) -> None:
    # State 0 pays 1 and stays with "probability" 1 + 9e-10; state 1 ends. At this discount that
    # adds 900 to the value, which one sweep is far from.
    more, discount = 1 + 9e-10, 0.999999
    mdp = TabularMDP(
        probability=np.array([more, 1.0]),
        next_state=np.array([0, 1]),
        reward=np.array([1.0, 0.0]),
        terminated=np.array([False, True]),
        row_start=np.array([0, 1, 2]),
        num_actions=1,
        initial_distribution=np.array([1.0, 0.0]),
    )
    plan = solver(mdp, discount=discount, max_sweeps=1 if solver is value_iteration else 9)
    value = more / (1 - discount * more)
    assert value > 1_000_900
    assert plan.lower[0] <= value * (1 + 1e-9)
    assert value * (1 - 1e-9) <= plan.upper[0]
