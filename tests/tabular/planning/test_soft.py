"""The optimum of a return that is penalised by the divergence from a reference policy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from rlkit import tabular
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.plan import NotConverged
from tests.tabular.models import from_env
from tests.tabular.test_returns import random_mdp, random_policies

COEFS = (0.01, 0.3, 10.0)


def lake() -> TabularMDP:
    return from_env("FrozenLake-v1")


def reference_of(mdp: TabularMDP, seed: int = 0) -> np.ndarray:
    return random_policies(mdp, 1, seed)[0]


def dense(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    """P(s' and not terminated | s, a) [S, A, S] and E[R | s, a] [S, A], entry by entry."""
    successors, shape = mdp.padded(), (mdp.num_states, mdp.num_actions)
    matrix, reward = np.zeros((*shape, mdp.num_states)), np.zeros(shape)
    for s, a, k in np.ndindex(successors.probability.shape):
        chance = successors.probability[s, a, k]
        reward[s, a] += chance * successors.reward[s, a, k]
        if not successors.terminated[s, a, k]:
            matrix[s, a, successors.next_state[s, a, k]] += chance
    return matrix, reward


def by_newton(mdp: TabularMDP, reference: np.ndarray, coef: float, discount: float) -> np.ndarray:
    """Evaluate a policy by a dense solve, improve it, and repeat until nothing changes."""
    matrix, reward = dense(mdp)
    policy, values = reference.copy(), np.full(mdp.num_states, -np.inf)
    while True:
        kl = np.where(
            policy > 0, policy * (np.log(np.maximum(policy, 1e-300)) - np.log(reference)), 0
        )
        inside = np.einsum("sa,sat->st", policy, matrix)
        gain = (policy * reward).sum(1) - coef * kl.sum(1)
        before, values = values, np.linalg.solve(np.eye(len(gain)) - discount * inside, gain)
        if np.abs(values - before).max() < 1e-13 * max(1, np.abs(values).max()):
            return values
        logits = np.log(reference) + (reward + discount * matrix @ values) / coef
        policy = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))


@pytest.mark.parametrize("coef", COEFS)
def test_it_equals_a_dense_solve(coef: float) -> None:
    models = [(random_mdp(seed, 6, 3), discount) for seed in range(5) for discount in (0.5, 0.95)]
    for mdp, discount in [*models, (lake(), 0.99)]:
        reference = 0.9 * reference_of(mdp) + 0.1 / mdp.num_actions
        plan = tabular.soft_value_iteration(
            mdp, reference, kl_coef=coef, discount=discount, tolerance=1e-11
        )
        np.testing.assert_allclose(
            plan.values, by_newton(mdp, reference, coef, discount), atol=1e-10
        )
        value = tabular.penalised_value(
            mdp, plan.policy, reference, kl_coef=coef, discount=discount
        )
        np.testing.assert_allclose(value, plan.values, atol=1e-10)
        assert plan.error_bound <= 1e-11
        assert plan.start_value == pytest.approx(mdp.initial_distribution @ plan.values, rel=1e-14)


def test_no_other_policy_is_better() -> None:
    mdp, coef = random_mdp(3, 5, 3), 0.3
    reference = reference_of(mdp)
    plan = tabular.soft_value_iteration(mdp, reference, kl_coef=coef, discount=0.9)
    near = [0.99 * plan.policy + 0.01 * other for other in random_policies(mdp, 50, 7)]
    for policy in [reference, *random_policies(mdp, 50, 1), *near]:
        value = tabular.penalised_value(mdp, policy, reference, kl_coef=coef, discount=0.9)
        assert (value <= plan.values + 1e-9).all()
        assert (value < plan.values - 1e-7).any()


def test_a_small_penalty_leads_to_the_optimum_and_a_large_one_to_the_reference() -> None:
    mdp = lake()
    uniform = np.full((16, 4), 0.25)
    free = tabular.soft_value_iteration(mdp, uniform, kl_coef=1e-9, discount=0.99)
    best = tabular.value_iteration(mdp, discount=0.99)
    # No further than the penalty of a certain choice among four, over the steps that count.
    np.testing.assert_allclose(free.values, best.values, atol=1e-9 * math.log(4) * 100)
    held = tabular.soft_value_iteration(mdp, uniform, kl_coef=1e9, discount=0.99)
    np.testing.assert_allclose(
        held.values, tabular.policy_value(mdp, uniform, discount=0.99), atol=1e-7
    )
    np.testing.assert_allclose(held.policy, uniform, atol=1e-8)
    costs = [
        tabular.soft_value_iteration(mdp, uniform, kl_coef=coef, discount=0.99)
        for coef in (1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert (np.diff([plan.start_value for plan in costs]) < 0).all()
    assert (np.diff([plan.kl.max() for plan in costs]) < 0).all()


def test_actions_that_the_reference_never_takes_are_never_taken() -> None:
    mdp = random_mdp(1, 5, 3)
    reference = reference_of(mdp)
    reference[:, 1] = 0
    reference /= reference.sum(axis=1, keepdims=True)
    plan = tabular.soft_value_iteration(mdp, reference, kl_coef=0.01, discount=0.9)
    assert (plan.policy[:, 1] == 0).all()
    with pytest.raises(
        ValueError, match="in state 0 the policy takes an action that the reference"
    ):
        tabular.penalised_value(
            mdp, np.full(reference.shape, 1 / 3), reference, kl_coef=0.01, discount=0.9
        )
    only = np.array([2, 0, 1, 2, 0])  # one action in each state: nothing to choose
    plan = tabular.soft_value_iteration(mdp, only, kl_coef=0.01, discount=0.9)
    np.testing.assert_allclose(
        plan.values, tabular.policy_value(mdp, only, discount=0.9), atol=1e-8
    )
    assert (plan.kl == 0).all()


def test_the_divergence_is_that_of_each_state() -> None:
    mdp = random_mdp(2, 4, 3)
    reference = reference_of(mdp)
    plan = tabular.soft_value_iteration(mdp, reference, kl_coef=0.2, discount=0.9)
    for s in range(4):
        pairs = zip(plan.policy[s], reference[s], strict=True)
        assert plan.kl[s] == pytest.approx(sum(p * math.log(p / q) for p, q in pairs), rel=1e-12)


def by_recursion(
    mdp: TabularMDP, reference: np.ndarray, coef: float, s: int, left: int, policy: Any = None
) -> float:
    """The penalised return of the rest of an episode, one successor at a time."""
    if left == 0:
        return 0.0
    successors, q = mdp.padded(), []
    for a in range(mdp.num_actions):
        total = 0.0
        for k in range(successors.probability.shape[2]):
            after = 0.0
            if not successors.terminated[s, a, k]:
                t = int(successors.next_state[s, a, k])
                after = by_recursion(mdp, reference, coef, t, left - 1, policy)
            total += successors.probability[s, a, k] * (successors.reward[s, a, k] + after)
        q.append(total)
    if policy is None:
        return coef * math.log(sum(reference[s, a] * math.exp(v / coef) for a, v in enumerate(q)))
    costs = (
        p * (v - coef * math.log(p / r)) for p, v, r in zip(policy[s], q, reference[s], strict=True)
    )
    return sum(costs)


@pytest.mark.parametrize("coef", COEFS[1:])
def test_under_a_limit_it_is_the_recursion_over_the_steps(coef: float) -> None:
    mdp = random_mdp(4, 3, 2)
    reference, policy = reference_of(mdp), reference_of(mdp, 5)
    for limit in (1, 2, 4):
        for given, measured in (
            (None, tabular.soft_return_under_limit(mdp, reference, kl_coef=coef, limit=limit)),
            (
                policy,
                tabular.penalised_return_under_limit(
                    mdp, policy, reference, kl_coef=coef, limit=limit
                ),
            ),
        ):
            expected = sum(
                chance * by_recursion(mdp, reference, coef, s, limit, given)
                for s, chance in enumerate(mdp.initial_distribution)
            )
            assert measured == pytest.approx(expected, rel=1e-12)


def test_the_limit_is_by_default_that_of_the_model() -> None:
    mdp, uniform = lake(), np.full((16, 4), 0.25)
    best = tabular.soft_return_under_limit(mdp, uniform, kl_coef=1e-6)
    assert best == pytest.approx(
        tabular.optimal_return_under_limit(mdp).expected_return, abs=1e-6 * math.log(4) * 100
    )
    stationary = tabular.soft_value_iteration(mdp, uniform, kl_coef=0.01, discount=0.999)
    reached = tabular.penalised_return_under_limit(mdp, stationary.policy, uniform, kl_coef=0.01)
    best = tabular.soft_return_under_limit(mdp, uniform, kl_coef=0.01)
    assert best - 0.03 < reached < best


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_coef": 0.0}, "kl_coef must be > 0 and finite, got 0.0"),
        ({"kl_coef": math.nan}, "kl_coef must be > 0"),
        ({"discount": 1.0}, "soft_return_under_limit has the undiscounted optimum"),
        ({"discount": 1.5}, "discount must be in"),
        ({"tolerance": 0.0}, "tolerance must be > 0"),
        ({"reference": np.zeros((4, 2))}, "must be >= 0 and sum to 1"),
        ({"reference": np.zeros((3, 2))}, r"shape \[..., 4, 2\]"),
    ],
)
def test_what_cannot_be_solved_is_rejected(changes: dict[str, Any], message: str) -> None:
    mdp = random_mdp(0)
    given = {"reference": reference_of(mdp), "kl_coef": 1.0, "discount": 0.9} | changes
    with pytest.raises(ValueError, match=message):
        tabular.soft_value_iteration(mdp, **given)


def test_too_few_sweeps_are_an_error() -> None:
    mdp = random_mdp(0)
    with pytest.raises(NotConverged, match="after 3 sweeps"):
        tabular.soft_value_iteration(
            mdp, reference_of(mdp), kl_coef=1.0, discount=0.99, max_sweeps=3
        )
