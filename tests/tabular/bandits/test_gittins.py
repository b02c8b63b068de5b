"""The Gittins index against its tables, another algorithm, and the optimum of two arms."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit import tabular


@pytest.mark.parametrize(
    ("alpha", "beta", "discount", "index"),
    [
        (1, 1, 0.9, 0.7029),
        (2, 1, 0.9, 0.8001),
        (1, 2, 0.9, 0.5001),
        (1, 1, 0.5, 0.5590),
        (1, 1, 0.99, 0.8699),
    ],
)
def test_the_index_is_that_of_gittins_tables(
    alpha: int, beta: int, discount: float, index: float
) -> None:
    assert tabular.gittins_index(alpha, beta, discount) == pytest.approx(index, abs=5.1e-5)


def restart_index(alpha: float, beta: float, discount: float, pulls: int) -> float:
    """Katehakis and Veinott (1987): (1 - discount) V at the start, where every state may restart.

    Value iteration on the triangle of counts; independent of the calibration.
    """
    s, f = np.indices((pulls + 1, pulls + 1))
    p = (alpha + s) / (alpha + beta + s + f)
    value = p / (1 - discount)
    for _ in range(2000):
        won, lost = np.roll(value, -1, axis=0), np.roll(value, -1, axis=1)
        go_on = np.where(s + f < pulls, p + discount * (p * won + (1 - p) * lost), value)
        new = np.maximum(go_on, go_on[0, 0])
        if np.abs(new - value).max() < 1e-12:
            break
        value = new
    return float((1 - discount) * value[0, 0])


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (2, 1), (1, 3), (0.5, 0.5), (7, 4)])
@pytest.mark.parametrize("discount", [0.3, 0.7, 0.9])
def test_the_index_is_that_of_the_problem_with_restarts(
    alpha: float, beta: float, discount: float
) -> None:
    expected = restart_index(alpha, beta, discount, pulls=150)
    # 0.9^150 / (1 - 0.9) is 1e-6.
    assert tabular.gittins_index(alpha, beta, discount) == pytest.approx(expected, abs=2e-6)


def test_the_index_rises_with_successes_and_discount_and_is_above_the_mean() -> None:
    index = tabular.gittins_index
    assert index(3, 2, 0.9) > index(2, 2, 0.9) > index(2, 3, 0.9) > 2 / 5
    assert index(1, 1, 0.99) > index(1, 1, 0.9) > index(1, 1, 0.1) > index(1, 1, 0.0) == 0.5


def values_of(priors: list[list[int]], discount: float, pulls: int) -> dict[str, float]:
    """The values at the start of the best policy, of the index policy and of the myopic one."""
    model = tabular.belief_mdp(priors, pulls)
    counts = tabular.belief_counts(np.arange(model.num_states), 2) + np.array(priors)
    index = {
        (a, b): tabular.gittins_index(a, b, discount)
        for a, b in np.unique(counts.reshape(-1, 2), axis=0).tolist()
    }
    indices = np.array([[index[tuple(arm)] for arm in arms] for arms in counts.tolist()])
    means = counts[..., 0] / counts.sum(axis=-1)
    # Arms that are equal up to the tolerance of the index may be taken in any order.
    policies = {"index": (indices[:, 1] > indices[:, 0] + 1e-6).astype(int)}
    policies["myopic"] = means.argmax(axis=1)
    values = {
        name: float(tabular.policy_value(model, policy, discount=discount)[0])
        for name, policy in policies.items()
    }
    return {"best": float(tabular.value_iteration(model, discount=discount).values[0]), **values}


@pytest.mark.parametrize("priors", [[[1, 1], [1, 1]], [[1, 1], [6, 5]], [[1, 2], [2, 3]]])
def test_the_index_policy_is_optimal_for_two_arms(priors: list[list[int]]) -> None:
    pulls, discount = 22, 0.5
    value = values_of(priors, discount, pulls)
    # The episode of the model ends after 22 pulls, which the index does not know.
    assert value["best"] - value["index"] < 2 * discount**pulls / (1 - discount)


def test_taking_the_larger_mean_is_not() -> None:
    value = values_of([[1, 1], [6, 5]], 0.5, 22)
    assert value["best"] - value["myopic"] > 1e-4


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 1, 0.9), "finite alpha above 0, got 0"),
        ((1, -1, 0.9), "finite beta above 0, got -1"),
        ((1, float("nan"), 0.9), "finite beta above 0, got nan"),
        ((1, 1, 1.0), r"a discount in \[0, 1\), got 1.0"),
        ((1, 1, -0.1), r"a discount in \[0, 1\), got -0.1"),
        ((1, 1, 0.99999), r"takes [\d,]+ pulls .* raise the tolerance or lower the discount"),
    ],
)
def test_arguments_out_of_range_are_rejected(
    arguments: tuple[float, float, float], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        tabular.gittins_index(*arguments)
