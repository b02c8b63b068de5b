"""Labels of Bradley and Terry, labels of a function, and the accuracy that is possible."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from rlkit.agents.preferences.labellers import (
    UNKNOWN,
    FunctionLabeller,
    Segment,
    TruthLabeller,
    agreement,
    bayes_ceiling,
)
from rlkit.errors import UsageError
from tests.agents.preferences.pairs import pairs_of

RNG = np.random.default_rng(0)


def test_the_truth_prefers_by_the_odds_of_bradley_and_terry() -> None:
    """P / (1 - P) = e^(rationality (R1 - R2)); steps after the end count 0."""
    pairs = pairs_of([([1, 1, 1], [1]), ([0.5], [2, -1.5]), ([1, 2], [4, 3])], length=3)
    labels = TruthLabeller(0.5)(pairs, RNG)
    odds = labels.probability / (1 - labels.probability)
    np.testing.assert_allclose(odds, [math.e, 1.0, math.exp(-2.0)], rtol=1e-12)


def test_labels_come_up_as_often_as_their_probability() -> None:
    pairs = pairs_of([([1.0, 1.0], [1.0])] * 20_000, length=2)
    preferred = TruthLabeller(1.0)(pairs, np.random.default_rng(1)).preferred
    expected = 1 / (1 + math.exp(-1.0))
    assert set(preferred) == {0.0, 1.0}
    assert abs(preferred.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / 20_000)


def test_a_function_sees_the_steps_of_each_segment_and_answers() -> None:
    seen: list[tuple[Segment, Segment]] = []

    def longer(first: Segment, second: Segment) -> float:
        seen.append((first, second))
        return 0.5 if len(first.obs) == len(second.obs) else float(len(first.obs) > len(second.obs))

    pairs = pairs_of([([1, 1, 1], [1]), ([1], [2, 1.5, 3]), ([1, 2], [4, 3])], length=3)
    labels = FunctionLabeller(longer, "longer")(pairs, RNG)
    assert labels.preferred.tolist() == [1.0, 0.0, 0.5]
    assert (labels.probability == UNKNOWN).all()
    first, second = seen[0]
    assert first.rewards.tolist() == [1, 1, 1]
    assert first.actions.tolist() == [0, 1, 0]
    assert first.obs[:, 0].tolist() == [0, 1, 2]
    assert second.obs.shape == (1, 1)
    assert (first.terminated, second.terminated) == (False, True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("2.0", r"labeller 'f', question 1: expected a number from 0 .* got 2.0"),
        ("None", r"question 1: expected .* got None"),
        ("float('nan')", r"question 1: expected .* got nan"),
        ("'1'", r"question 1: expected .* got '1'"),
        ("1 / 0", r"question 1: it raised ZeroDivisionError"),
    ],
)
def test_an_answer_that_is_no_preference_is_named(answer: str, message: str) -> None:
    asked = iter([1.0, None])

    def f(first: Segment, second: Segment) -> object:
        return eval(answer) if next(asked) is None else 1.0

    with pytest.raises(UsageError, match=message):
        FunctionLabeller(f, "f")(pairs_of([([1], [2])] * 2, length=1), RNG)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda first: 1.0, r"parameters \(first\), expected \(first, second\).*too many"),
        (lambda first, second, third: 1.0, "missing a required argument: 'third'"),
    ],
)
def test_a_function_of_other_parameters_is_rejected_before_it_is_asked(
    function: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=f"labeller 'mine': .*{message}"):
        FunctionLabeller(function, "mine")


def test_a_function_can_neither_change_segments_nor_end_the_program() -> None:
    pairs = pairs_of([([1, 2], [4, 3])], length=2)

    def erases(first: Segment, second: Segment) -> float:
        first.rewards[:] = 0
        return 1.0

    def leaves(first: Segment, second: Segment) -> float:
        raise SystemExit(3)

    for function, message in ((erases, "read-only"), (leaves, "SystemExit")):
        with pytest.raises(UsageError, match=f"question 0: it raised .*{message}"):
            FunctionLabeller(function, "mine")(pairs, RNG)
    assert pairs.rewards.tolist() == [[[1, 2], [4, 3]]]


def test_the_ceiling_is_the_mean_over_all_labellings_of_the_best_prediction() -> None:
    probability = np.array([0.9, 0.5, 0.2, 0.65])
    best = np.where(probability > 0.5, 1.0, -1.0)
    accuracies, weights = [], []
    for labels in itertools.product([0.0, 1.0], repeat=4):
        y = np.array(labels)
        accuracies.append(agreement(best, y).mean())
        weights.append(np.prod(np.where(y == 1, probability, 1 - probability)))
    mean = np.average(accuracies, weights=weights)
    std = math.sqrt(np.average((np.array(accuracies) - mean) ** 2, weights=weights))
    ceiling = bayes_ceiling(probability)
    assert ceiling.accuracy == pytest.approx(mean, abs=1e-12)
    assert ceiling.standard_error == pytest.approx(std, abs=1e-12)


def test_the_ceiling_of_labels_of_unknown_probability_is_unknown() -> None:
    assert math.isnan(bayes_ceiling(np.array([0.5, UNKNOWN])).accuracy)
    assert math.isnan(bayes_ceiling(np.array([])).accuracy)


def test_agreement_counts_ties_and_equal_labels_as_one_half() -> None:
    differences = np.array([2.0, -1.0, 3.0, 0.0, 1.0, -1.0])
    preferred = np.array([1.0, 1.0, 0.0, 1.0, 0.5, 0.25])
    assert agreement(differences, preferred).tolist() == [1.0, 0.0, 0.0, 0.5, 0.5, 0.75]
