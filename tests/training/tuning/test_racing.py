"""The race stops trials that are surely behind, at the first row where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.training.tuning.racing import FEWEST_FINISHED, TrialCurve, objective, step_of_stop

EVERY, BUDGET = 100, 1000
STEPS = np.arange(0, BUDGET + 1, EVERY, dtype=np.float64)


def curve(*levels: float, steps: Any = STEPS) -> TrialCurve:
    """A curve whose seeds rise linearly to their levels."""
    return TrialCurve(steps, np.outer(levels, steps / BUDGET))


def stop(trial: TrialCurve, finished: list[TrialCurve]) -> int | None:
    return step_of_stop(trial, finished, budget=BUDGET, every=EVERY)


GOOD = [curve(9.0, 10.0, 11.0) for _ in range(FEWEST_FINISHED)]


@pytest.mark.parametrize(
    ("trial", "finished", "expected"),
    [
        pytest.param(curve(1.0, 1.1, 1.2), GOOD, 200, id="far behind: at the end of the grace"),
        pytest.param(curve(1.0, 1.1, 1.2), GOOD[1:], None, id="too few finished trials"),
        pytest.param(curve(9.0, 10.0, 11.0), GOOD, None, id="equal"),
        pytest.param(curve(1.0, 1.1, 12.0), GOOD, None, id="one seed shows that it may be good"),
        pytest.param(curve(20.0, 21.0, 22.0), GOOD, None, id="ahead"),
        pytest.param(curve(1.0, 1.1, np.nan), GOOD, None, id="a seed without return"),
        pytest.param(
            curve(1.0, 1.1, 1.2), [curve(0.5, 0.6)] * 3 + GOOD[:2], None, id="above the median"
        ),
        pytest.param(
            curve(1.0, 1.1, 1.2), [curve(0.5, 0.6)] * 2 + GOOD[:3], 200, id="below the median"
        ),
        pytest.param(curve(1.0, 1.1, 1.2, steps=STEPS + 4), GOOD, 204, id="rows a few steps later"),
    ],
)
def test_a_trial_stops_where_its_upper_end_is_below_the_median_of_the_finished(
    trial: TrialCurve, finished: list[TrialCurve], expected: int | None
) -> None:
    assert stop(trial, finished) == expected


def test_the_last_row_stops_nothing() -> None:
    late = np.where(STEPS < BUDGET, 10 * STEPS / BUDGET, 0.1)
    assert stop(TrialCurve(STEPS, np.stack([late, late, late])), GOOD) is None


def test_a_prefix_of_the_rows_gives_the_same_decision() -> None:
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(50):
        finished = [
            TrialCurve(STEPS, rng.normal(size=(4, len(STEPS))).cumsum(axis=1)) for _ in range(6)
        ]
        trial = TrialCurve(STEPS, rng.normal(-0.7, size=(4, len(STEPS))).cumsum(axis=1))
        whole = stop(trial, finished)
        decided += whole is not None
        for end in range(1, len(STEPS) + 1):
            now = stop(TrialCurve(STEPS[:end], trial.returns[:, :end]), finished)
            assert now == (whole if whole is not None and STEPS[end - 1] >= whole else None)
    assert 10 < decided < 50


def test_the_objective_is_a_bound_that_the_mean_exceeds_with_95_percent() -> None:
    scores = np.array([1.0, 2.0, 4.0])
    error = scores.std(ddof=1) / np.sqrt(3)
    expected = scores.mean() - stats.t.ppf(0.95, 2) * error  # one side of Student's t
    assert objective(scores).low == pytest.approx(expected, rel=1e-12)


def test_one_lucky_seed_does_not_win() -> None:
    assert objective(np.array([5.0, 5.1, 5.2])).low > objective(np.array([2.0, 2.0, 20.0])).low


def test_ties_are_broken_by_the_bound_of_the_mean_over_the_whole_curve() -> None:
    steps = np.array([1.0, 2.0, 3.0])
    returns = np.array([[0.0, 5.0, 10.0], [2.0, 5.0, 11.0], [4.0, 5.0, 12.0]])
    bound = objective(returns.mean(axis=1)).low
    assert TrialCurve(steps, returns).bound_of_area == bound
    # The same mean, of which one seed collapses on its way.
    uneven = returns + np.array([[0.0, -4.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    assert uneven.mean() == returns.mean()
    assert TrialCurve(steps, uneven).bound_of_area < bound


def test_rows_without_returns_are_not_in_the_area_and_a_seed_of_none_is_the_worst() -> None:
    steps = np.array([1.0, 2.0])
    returns = np.array([[np.nan, 3.0], [1.0, 5.0]])
    known = objective(np.array([3.0, 3.0])).low
    assert TrialCurve(steps, returns).bound_of_area == known
    returns[0] = np.nan
    assert TrialCurve(steps, returns).bound_of_area == -np.inf
