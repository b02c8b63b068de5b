"""Least-squares temporal differences, against exact values and regressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from rlkit.tabular.evaluation.lstd import lstd, solve_ridge
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.returns import policy_value
from tests.tabular.evaluation.by_hand import NAMES, TABLES, random_policy, table
from tests.tabular.models import random_mdp


def expectations(mdp: TabularMDP, policy: np.ndarray) -> dict[str, Any]:
    """Every transition once, weighted by its probability under the policy."""
    row = np.repeat(np.arange(mdp.row_start.size - 1), np.diff(mdp.row_start))
    states, actions = np.divmod(row, mdp.num_actions)
    one_hot = sparse.eye_array(mdp.num_states, format="csr")
    return {
        "features": one_hot[states],
        "rewards": mdp.reward,
        "next_features": one_hot[mdp.next_state],
        "terminated": mdp.terminated,
        "weights": policy[states, actions] * mdp.probability,
    }


@pytest.mark.parametrize("discount", [0.5, 0.99])
@pytest.mark.parametrize("case", range(len(TABLES)), ids=NAMES)
def test_with_one_hot_features_and_exact_expectations_the_weights_are_the_values(
    case: int, discount: float
) -> None:
    mdp = table(case)
    policy = random_policy(mdp)
    theta = lstd(**expectations(mdp, policy), discount=discount)
    values = policy_value(mdp, policy, discount=discount)
    np.testing.assert_allclose(theta, values, rtol=1e-10, atol=1e-10)


def test_dense_and_sparse_features_give_the_same() -> None:
    mdp = random_mdp(0)
    samples = expectations(mdp, random_policy(mdp))
    dense = {
        name: value.toarray() if sparse.issparse(value) else value
        for name, value in samples.items()
    }
    np.testing.assert_allclose(
        lstd(**samples, discount=0.9), lstd(**dense, discount=0.9), rtol=1e-12
    )


def play(mdp: TabularMDP, policy: np.ndarray, num_steps: int) -> dict[str, np.ndarray]:
    """Episodes one after another, each cut after 20 steps."""
    rng, successors = np.random.default_rng(0), mdp.padded()
    columns: list[tuple[Any, ...]] = []
    s, t = int(rng.choice(mdp.num_states, p=mdp.initial_distribution)), 0
    for _ in range(num_steps):
        a = int(rng.choice(mdp.num_actions, p=policy[s]))
        k = int(rng.choice(successors.probability.shape[-1], p=successors.probability[s, a]))
        to, ends = int(successors.next_state[s, a, k]), bool(successors.terminated[s, a, k])
        t += 1
        columns.append((s, successors.reward[s, a, k], to, ends, ends or t == 20))
        s = to
        if ends or t == 20:
            s, t = int(rng.choice(mdp.num_states, p=mdp.initial_distribution)), 0
    names = ("s", "r", "next", "terminated", "is_last")
    return {n: np.array(c) for n, c in zip(names, zip(*columns, strict=True), strict=True)}


def test_from_samples_it_is_the_value_in_the_model_of_their_frequencies() -> None:
    mdp = random_mdp(1)
    n = mdp.num_states
    sample = play(mdp, random_policy(mdp), 500)
    theta = lstd(
        np.eye(n)[sample["s"]], sample["r"], np.eye(n)[sample["next"]], sample["terminated"],
        discount=0.9,
    )  # fmt: skip
    going, gain, count = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for s, r, to, ends in zip(*(sample[k] for k in ("s", "r", "next", "terminated")), strict=True):
        count[s] += 1
        gain[s] += r
        going[s, to] += not ends
    expected = np.linalg.solve(np.eye(n) - 0.9 * going / count[:, None], gain / count)
    np.testing.assert_allclose(theta, expected, rtol=1e-10)


def test_it_is_consistent() -> None:
    mdp = random_mdp(2)
    n, policy = mdp.num_states, random_policy(mdp)
    values = policy_value(mdp, policy, discount=0.9)
    errors = []
    for size in (400, 40_000):
        sample = play(mdp, policy, size)
        theta = lstd(
            np.eye(n)[sample["s"]], sample["r"], np.eye(n)[sample["next"]],
            sample["terminated"], discount=0.9, ridge=1e-6,
        )  # fmt: skip
        errors.append(np.abs(theta - values).max())
    assert errors[1] < 0.25 * errors[0]  # a hundred times the samples: a tenth of the error
    assert errors[1] < 0.15


def test_at_trace_decay_one_it_is_the_regression_on_the_returns() -> None:
    mdp = random_mdp(3)
    sample = play(mdp, random_policy(mdp), 400)
    # Whole episodes only: a cut return would have to be completed.
    ends = np.flatnonzero(sample["is_last"])
    keep = np.zeros(400, dtype=bool)
    begin = 0
    for end in ends:
        keep[begin : end + 1] = sample["terminated"][end]
        begin = end + 1
    sample = {name: column[keep] for name, column in sample.items()}
    features = np.random.default_rng(1).normal(size=(mdp.num_states, 3))
    returns, total = np.zeros(len(sample["r"])), 0.0
    for t in reversed(range(len(returns))):
        total = sample["r"][t] + 0.8 * (0.0 if sample["is_last"][t] else total)
        returns[t] = total
    theta = lstd(
        features[sample["s"]], sample["r"], features[sample["next"]], sample["terminated"],
        discount=0.8, trace_decay=1.0, is_last=sample["is_last"],
    )  # fmt: skip
    expected, *_ = np.linalg.lstsq(features[sample["s"]], returns, rcond=None)
    np.testing.assert_allclose(theta, expected, rtol=1e-9)


def test_traces_do_not_cross_the_end_of_an_episode() -> None:
    features, rewards = np.array([[1.0, 0.0], [0.0, 1.0]]), [0.0, 5.0]
    follow = np.array([[0.0, 1.0], [0.0, 0.0]])
    arguments = (features, rewards, follow, [False, True])
    joined = lstd(*arguments, discount=0.5, trace_decay=0.5)
    np.testing.assert_allclose(joined, [2.5, 5.0])
    cut = lstd(*arguments, discount=0.5, trace_decay=0.5, is_last=[True, True])
    np.testing.assert_allclose(cut, [2.5, 5.0])  # a truncation bootstraps


def test_what_follows_a_termination_does_not_count_even_if_it_is_not_a_number() -> None:
    theta = lstd([[1.0]], [3.0], [[np.nan]], [True], discount=0.9)
    np.testing.assert_array_equal(theta, [3.0])


def test_a_ridge_pulls_towards_zero_and_makes_the_solution_unique() -> None:
    features = np.array([[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"no unique solution.*add a ridge"):
        lstd(features, [2.0], np.zeros((1, 2)), [True], discount=0.9)
    theta = lstd(features, [2.0], np.zeros((1, 2)), [True], discount=0.9, ridge=1.0)
    np.testing.assert_allclose(theta, [1.0, 0.0])
    with pytest.raises(ValueError, match="no unique solution"):
        solve_ridge(sparse.csr_array((2, 2)), np.zeros(2), 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 1.5}, r"discount must be in \[0, 1\], got 1.5"),
        ({"trace_decay": -1}, "trace_decay must be in"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"rewards": [0.0]}, r"expected 2 rewards, got shape \(1,\)"),
        ({"terminated": [True]}, "expected 2 terminated"),
        ({"next_features": np.zeros((2, 3))}, r"one shape \[M, F\], got \(2, 2\) and \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_rejected(changes: Any, message: str) -> None:
    arguments: dict[str, Any] = {
        "features": np.eye(2), "rewards": [0.0, 1.0], "next_features": np.eye(2),
        "terminated": [False, True], "discount": 0.9,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        lstd(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_last": [True]}, r"expected 2 is_last, got shape \(1,\)"),
        ({"weights": [1.0, 2.0, 3.0]}, r"expected 2 weights, got shape \(3,\)"),
        ({"rewards": [1.0, np.nan]}, "the weights are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], expected: str) -> None:
    arrays: dict[str, Any] = {
        "features": np.eye(2),
        "rewards": [0.0, 1.0],
        "next_features": np.eye(2),
        "terminated": [False, True],
    }
    with pytest.raises(ValueError, match=expected):
        lstd(**(arrays | changes), discount=0.9)
