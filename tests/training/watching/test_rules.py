"""Each rule against its definition, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rlkit.errors import UsageError
from rlkit.training.watching.rules import StopRules, make_rules


def scores(mean: float) -> np.ndarray:
    return np.array([mean - 1.0, mean, mean + 1.0])


def test_until_return_is_met_by_the_lower_end_of_the_interval_and_not_by_the_mean() -> None:
    three = np.array([8.0, 10.0, 12.0])  # three seeds: Student's t
    low = stats.t.interval(0.95, 2, loc=10.0, scale=three.std(ddof=1) / np.sqrt(3))[0]
    for threshold, met in ((9.0, False), (low + 1e-9, False), (low, True), (low - 1e-9, True)):
        reason = StopRules(num_seeds=3, until_return=threshold).reason(three, [10.0])
        assert (reason is not None) == met, threshold


def test_a_threshold_that_all_seeds_are_at_is_met() -> None:
    by, why = StopRules(num_seeds=4, until_return=500.0).reason(np.full(4, 500.0), [500.0]) or (
        "",
        "",
    )
    assert by == "until_return"
    assert why == (
        "the lower end of the 95 % interval of the mean over 4 seeds, 500, is at least 500"
    )


def test_one_seed_that_is_left_has_no_interval() -> None:
    assert StopRules(num_seeds=3, until_return=0.0).reason(np.array([9.0]), [9.0]) is None


@pytest.mark.parametrize(
    ("means", "stale"),
    [
        ((1.0,), False),
        ((1.0, 0.0), False),
        ((1.0, 0.0, 0.5), True),  # two evaluations since the best, which was the first
        ((1.0, 2.0, 1.9), False),
        ((1.0, 2.0, 2.0, 1.0), True),  # a tie is no improvement
        ((1.0, 2.0, 1.0, 2.5), False),
        ((-5.0, -4.0, -3.0), False),
    ],
)
def test_patience_counts_evaluations_since_the_earliest_best(
    means: tuple[float, ...], stale: bool
) -> None:
    reason = StopRules(num_seeds=3, patience=2).reason(scores(means[-1]), means)
    assert (reason is not None) == stale
    if reason is not None:
        assert reason[0] == "patience"


def test_a_threshold_counts_before_patience() -> None:
    rules = StopRules(num_seeds=3, until_return=-5.0, patience=1)
    assert rules.reason(scores(0.5), [1.0, 0.5])[0] == "until_return"  # type: ignore[index]


def test_rules_are_named_and_identified_as_they_are_set() -> None:
    assert make_rules(5) is None
    rules = make_rules(5, until_return=0)
    assert rules is not None
    assert rules.identity == {"num_seeds": 5, "until_return": 0.0}
    assert rules.names == ("until_return",)
    both = make_rules(5, until_return=1.5, patience=3)
    assert both is not None
    assert both.names == ("until_return", "patience")


def test_one_seed_and_one_evaluation_are_singular() -> None:
    reason = StopRules(num_seeds=2, patience=1).reason(np.array([1.0]), [2.0, 1.0])
    assert reason is not None
    assert reason[1] == "the mean over 1 seed has not risen above 2 for 1 evaluation"


def test_rules_that_no_course_of_a_run_meets_are_named() -> None:
    rules = StopRules(num_seeds=3, until_return=5.0, patience=4)
    assert rules.idle(4, first=True) == []
    (text,) = rules.idle(4, first=False)  # the first of five scores is the best at the least
    assert text.startswith(
        "option patience (--patience) = 4 cannot end this run: it needs 5 and there are 4 "
        "evaluations at multiples of evaluate_every"
    )
    assert len(rules.idle(0, first=True)) == 2
    assert StopRules(num_seeds=3, until_return=5.0).idle(1, first=False) == []


@pytest.mark.parametrize(
    ("num_seeds", "options", "message"),
    [
        (1, {"until_return": 1.0}, "one seed does not have; use more seeds"),
        (2, {"until_return": float("nan")}, "expected a return, got nan"),
        (2, {"until_return": "high"}, r"\(--until-return\): expected a number, got 'high'"),
        (2, {"patience": 0}, r"\(--patience\): expected a whole number >= 1, got 0"),
        (2, {"patience": 1.5}, r"\(--patience\): expected a whole number"),
    ],
)
def test_rules_that_cannot_be_used_are_rejected(
    num_seeds: int, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_rules(num_seeds, **options)  # type: ignore[arg-type]
