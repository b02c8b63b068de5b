"""The answer key of policies near a reference, recomputed step by step with dense arrays."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.near import penalised_optimum, penalised_return, solve_near
from rlkit.tabular.planning.soft import soft_value_iteration
from tests.tabular.planning.test_soft import dense, lake, reference_of
from tests.tabular.test_returns import random_mdp


def by_steps(
    mdp: TabularMDP, policy: np.ndarray, reference: np.ndarray, steps: int, discount: float = 1.0
) -> tuple[float, float]:
    """The expected return and divergence of the first steps, forwards in time."""
    matrix, reward = dense(mdp)
    kl = (policy * np.log(policy / reference)).sum(1)
    share, total, divergence = mdp.initial_distribution.copy(), 0.0, 0.0
    for t in range(steps):
        total += discount**t * share @ (policy * reward).sum(1)
        divergence += discount**t * share @ kl
        share = share @ np.einsum("sa,sat->st", policy, matrix)
    return total, divergence


@pytest.mark.parametrize("coef", [0.05, 2.0])
def test_return_and_divergence_are_those_of_all_steps(coef: float) -> None:
    for mdp, limit in ((lake(), 100), (random_mdp(1, 6, 3), 7), (random_mdp(2, 6, 3), None)):
        policy, reference = (0.9 * reference_of(mdp, i) + 0.1 / mdp.num_actions for i in (1, 2))
        known = penalised_return(mdp, policy, reference, kl_coef=coef, discount=0.9, limit=limit)
        steps, discount = (limit, 1.0) if limit is not None else (600, 0.9)
        total, kl = by_steps(mdp, policy, reference, steps, discount)
        assert known.kl == pytest.approx(kl, rel=1e-9)
        assert known.penalised_return == pytest.approx(total - coef * kl, rel=1e-9)
        assert known.gap > 0


def test_without_a_limit_the_plan_has_no_gap_and_with_one_hardly_any() -> None:
    for mdp, limit, most in ((random_mdp(3, 6, 3), None, 1e-8), (lake(), 100, 0.01)):
        reference = 0.9 * reference_of(mdp) + 0.1 / mdp.num_actions
        near = solve_near(mdp, reference, kl_coef=0.01, discount=0.99, limit=limit)
        assert -1e-9 <= near.of_plan.gap <= most
        alone = penalised_return(
            mdp, reference, reference, kl_coef=0.01, discount=0.99, limit=limit
        )
        assert near.of_reference == alone.penalised_return
        assert alone.kl == pytest.approx(0.0, abs=1e-12)
        assert alone.gap > near.of_plan.gap
        plan = soft_value_iteration(mdp, reference, kl_coef=0.01, discount=0.99)
        assert near.plan.start_value == plan.start_value


def test_a_known_optimum_is_not_computed_again() -> None:
    mdp = random_mdp(1, 4, 2)
    reference = reference_of(mdp)
    options = {"kl_coef": 0.3, "discount": 0.9, "limit": 5}
    optimum = penalised_optimum(mdp, reference, **options)
    known = penalised_return(mdp, reference, reference, **options)
    assert known.penalised_optimum == optimum
    given = penalised_return(mdp, reference, reference, **options, optimum=1.5)
    assert given.penalised_optimum == 1.5
