"""The belief about Bernoulli arms against a recursion in fractions, and the books' numbers."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit import tabular
from rlkit.tabular import memory
from rlkit.tabular.bandits.beliefs import num_beliefs

UNIFORM = ((1, 1), (1, 1))
UNEVEN = ((1, 2), (3, 1), (2, 2))


def slow_optimum(priors: tuple[tuple[int, int], ...], horizon: int) -> Fraction:
    """The Bayes-optimal return: Bayes' theorem and dynamic programming in fractions."""

    @functools.cache
    def best(arms: tuple[tuple[int, int], ...], left: int) -> Fraction:
        if left == 0:
            return Fraction(0)
        values = []
        for k, (a, b) in enumerate(arms):
            won = (*arms[:k], (a + 1, b), *arms[k + 1 :])
            lost = (*arms[:k], (a, b + 1), *arms[k + 1 :])
            p = Fraction(a, a + b)
            values.append(p * (1 + best(won, left - 1)) + (1 - p) * best(lost, left - 1))
        return max(values)

    return best(priors, horizon)


@pytest.mark.parametrize(("horizon", "optimum"), [(1, 0.5), (2, 13 / 12), (10, 6.0217857143)])
def test_two_uniform_arms_have_the_known_bayes_optimal_returns(
    horizon: int, optimum: float
) -> None:
    model = tabular.belief_mdp(UNIFORM, horizon)
    assert rlkit.solve(model).optimal_return_under_limit == pytest.approx(optimum, abs=1e-9)
    assert tabular.bayes_optimal_return(UNIFORM, horizon) == pytest.approx(optimum, abs=1e-9)


@pytest.mark.parametrize("priors", [UNIFORM, UNEVEN, ((1, 1),)])
@pytest.mark.parametrize("horizon", [1, 2, 5, 9])
def test_the_optimum_is_that_of_a_recursion_in_fractions(priors: Any, horizon: int) -> None:
    expected = float(slow_optimum(priors, horizon))
    solution = rlkit.solve(tabular.belief_mdp(priors, horizon))
    assert solution.optimal_return_under_limit == pytest.approx(expected, abs=1e-12)
    assert tabular.bayes_optimal_return(priors, horizon) == pytest.approx(expected, abs=1e-12)


def test_one_arm_pays_its_mean_at_every_pull() -> None:
    assert tabular.bayes_optimal_return([[3, 1]], 20) == pytest.approx(15, abs=1e-12)


@pytest.mark.parametrize("num_arms", [1, 2, 3])
def test_beliefs_are_numbered_by_their_pulls_without_gaps(num_arms: int) -> None:
    most = 6
    number = num_beliefs(num_arms, most)
    counts = tabular.belief_counts(np.arange(number), num_arms)
    assert counts.shape == (number, num_arms, 2)
    assert counts.min() == 0
    pulls = counts.sum(axis=(1, 2))
    assert (np.diff(pulls) >= 0).all()
    assert pulls.max() == most
    assert len(np.unique(counts.reshape(number, -1), axis=0)) == number
    np.testing.assert_array_equal(tabular.belief_state(counts), np.arange(number))


def test_each_pull_leads_to_the_posterior_of_bayes_theorem() -> None:
    model = tabular.belief_mdp(UNEVEN, 4)
    state = int(tabular.belief_state([[1, 0], [0, 1], [0, 0]]))
    successors = model.padded(state * 3 + np.arange(3))
    # Arm 0: Beta(1, 2) after a success is Beta(2, 2); arm 1: Beta(3, 1) after a failure Beta(3, 2).
    np.testing.assert_allclose(successors.probability[:, 0], [2 / 4, 3 / 5, 2 / 4])
    assert successors.reward.tolist() == [[1, 0]] * 3
    assert not successors.terminated.any()
    after = tabular.belief_counts(successors.next_state, 3)
    assert after[1, 0].tolist() == [[1, 0], [1, 1], [0, 0]]
    assert after[2, 1].tolist() == [[1, 0], [0, 1], [0, 1]]


def test_the_last_pull_ends_the_episode() -> None:
    model = tabular.belief_mdp(UNIFORM, 3)
    pulls = tabular.belief_counts(np.arange(model.num_states), 2).sum(axis=(1, 2))
    ends = model.ending.min(axis=1)
    assert (ends == (pulls == 2)).all()
    assert model.time_limit == 3


@pytest.mark.parametrize(
    "priors", [[], [[1, 1], [0, 1]], [[1, -1]], [[1, np.inf]], [[1, np.nan]], [1, 1], [["a", 1]]]
)
def test_priors_that_are_none_are_rejected(priors: Any) -> None:
    with pytest.raises(ValueError, match="priors: expected alpha > 0 and beta > 0"):
        tabular.belief_mdp(priors, 3)
    with pytest.raises(ValueError, match="priors: expected alpha > 0 and beta > 0"):
        tabular.bayes_optimal_return(priors, 3)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, "3"])
def test_a_horizon_that_is_no_number_of_pulls_is_rejected(horizon: Any) -> None:
    with pytest.raises(ValueError, match="horizon"):
        tabular.belief_mdp(UNIFORM, horizon)


def test_a_belief_that_does_not_fit_into_memory_is_rejected_before_it_is_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"the belief about 2 arms over 10000 pulls: .* at most"):
        tabular.belief_mdp(UNIFORM, 10_000)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**6)
    monkeypatch.setattr(np, "arange", lambda *args, **kw: pytest.fail("allocated"))
    with pytest.raises(ValueError, match=r"2 arms over 40 pulls: .* GB are available"):
        tabular.belief_mdp(UNIFORM, 40)
    with pytest.raises(ValueError, match=r"2 arms after 90 pulls: .* GB are available"):
        tabular.bayes_optimal_return(UNIFORM, 90)
