"""Aggregates over environments: rliable's definitions, permutations by enumeration, coverage."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.analysis.aggregate import (
    compare_over_environments,
    improvement_interval,
    improvement_probability,
    interquartile_mean,
    iqm_over_environments,
    normalised,
    performance_profile,
    profile_band,
)

GRID = np.linspace(0, 1, 21)


def scores(seed: int, environments: int = 3, seeds: int = 10, step: float = 0.0) -> list[Any]:
    drawn = np.random.default_rng(seed).beta(2, 1.5, (environments, seeds))
    return list(np.round(drawn / step) * step if step else drawn)


def slow_improvement(x: Any, y: Any) -> float:
    """P(x > y) + P(x = y) / 2 by all pairs of seeds, the mean over environments."""
    return float(
        np.mean(
            [
                np.mean([1.0 if u > v else 0.5 if u == v else 0.0 for u in a for v in b])
                for a, b in zip(x, y, strict=True)
            ]
        )
    )


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_estimates_are_those_of_their_definitions(step: float) -> None:
    x, y = scores(1, step=step), scores(2, step=step)
    assert interquartile_mean(x) == pytest.approx(
        stats.trim_mean(np.array(x).ravel(), 0.25), abs=1e-12
    )
    assert improvement_probability(x, y) == pytest.approx(slow_improvement(x, y), abs=1e-12)
    mann_whitney = [stats.mannwhitneyu(a, b).statistic / 100 for a, b in zip(x, y, strict=True)]
    assert improvement_probability(x, y) == pytest.approx(np.mean(mann_whitney), abs=1e-12)
    slow = [np.mean([value > tau for one in x for value in one]) for tau in GRID]
    np.testing.assert_allclose(performance_profile(x, GRID), slow, rtol=0, atol=1e-12)
    np.testing.assert_allclose(profile_band(x, GRID).fraction, slow, rtol=0, atol=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("rliable") is None, reason="needs rliable")
def test_estimates_are_those_of_rliable() -> None:
    metrics: Any = importlib.import_module("rliable.metrics")
    library: Any = importlib.import_module("rliable.library")
    x, y = scores(1, step=0.1), scores(2, step=0.1)
    a, b = np.array(x).T, np.array(y).T  # [runs, games]
    assert interquartile_mean(x) == pytest.approx(metrics.aggregate_iqm(a), abs=1e-12)
    expected = metrics.probability_of_improvement(a, b)
    assert improvement_probability(x, y) == pytest.approx(expected, abs=1e-12)
    profile = [library.run_score_deviation(a, tau) for tau in GRID]
    np.testing.assert_allclose(performance_profile(x, GRID), profile, rtol=0, atol=1e-12)


def test_environments_may_have_different_numbers_of_seeds() -> None:
    x, y = [[0.1, 0.4, 0.6], [0.9]], [[0.4], [0.9, 0.2]]
    assert interquartile_mean(x) == pytest.approx((0.4 + 0.6) / 2)
    assert improvement_probability(x, y) == pytest.approx(((0 + 0.5 + 1) / 3 + 0.75) / 2)


def test_the_p_value_approaches_that_of_all_splits_of_all_environments() -> None:
    x = [np.array([3.0, 8.0, 1.0]), np.array([2.0, 2.5, 6.0])]
    y = [np.array([2.0, 2.5, 0.0, 8.0]), np.array([1.0, 2.0, 0.0])]

    def splits(a: Any, b: Any) -> list[float]:
        pooled = [*a, *b]
        taken = itertools.combinations(range(len(pooled)), len(a))
        return [
            slow_improvement(
                [[pooled[i] for i in chosen]],
                [[pooled[i] for i in range(len(pooled)) if i not in chosen]],
            )
            for chosen in taken
        ]

    every = np.add.outer(*(splits(a, b) for a, b in zip(x, y, strict=True))).ravel() / 2
    observed = slow_improvement(x, y)
    share = min((every >= observed - 1e-12).mean(), (every <= observed + 1e-12).mean())
    (test,) = compare_over_environments({"a": x, "b": y})
    # 9999 random splits: the standard error of a share of .2 is .004, doubled .008.
    assert test.p_value == pytest.approx(2 * share, abs=0.03)
    extreme = max((every >= every.max() - 1e-12).mean(), 0)
    assert test.smallest_p_value == pytest.approx(2 * extreme, rel=1e-12)
    (other,) = compare_over_environments({"b": y, "a": x})
    assert (test.lead, other.lead) == pytest.approx((observed * 2 - 1, 1 - observed * 2))
    assert not test.tie
    assert compare_over_environments({"a": [[1, 1]], "b": [[1, 1]]})[0].tie


def test_the_observed_split_is_one_of_those_tried() -> None:
    apart = {"a": [np.arange(10.0)] * 3, "b": [np.arange(100.0, 110.0)] * 3}
    (test,) = compare_over_environments(apart)
    assert test.p_value == test.smallest_p_value == 2 / 10_000


def test_no_normalisation_changes_the_test() -> None:
    x, y = scores(3), scores(4)
    scaled = [[10 * a - 3, *rest] for a, *rest in (x, y)]
    first = compare_over_environments({"a": x, "b": y})[0]
    again = compare_over_environments(dict(zip("ab", scaled, strict=True)))[0]
    assert (first.p_value, first.lead) == (again.p_value, again.lead)


def test_the_same_agent_wins_in_at_most_a_twentieth_of_the_comparisons() -> None:
    rng = np.random.default_rng(8)
    false = 0
    for _ in range(200):
        x, y = ([rng.normal(size=6), rng.exponential(size=6)] for _ in range(2))
        false += compare_over_environments({"a": x, "b": y})[0].p_value <= 0.05
    assert false <= 18  # the 98 % quantile of Binomial(200, .05) is 17


def test_a_difference_in_every_environment_is_found_together_before_it_is_in_one() -> None:
    rng = np.random.default_rng(5)
    x = [rng.normal(0.9, 1.0, 8) for _ in range(6)]
    y = [rng.normal(0.0, 1.0, 8) for _ in range(6)]
    assert compare_over_environments({"a": x, "b": y})[0].p_value < 0.002
    assert max(stats.ttest_ind(a, b).pvalue for a, b in zip(x, y, strict=True)) > 0.05


def test_intervals_cover_and_are_stratified() -> None:
    rng = np.random.default_rng(6)
    hits = {"iqm": 0, "improvement": 0}
    for _ in range(150):
        # Environments far apart: resampling across them would make the intervals huge.
        x, y = ([k + rng.normal(size=10) for k in (0.0, 100.0, 200.0)] for _ in range(2))
        iqm = iqm_over_environments(x)
        hits["iqm"] += iqm.low <= 100.0 <= iqm.high
        assert iqm.high - iqm.low < 5
        better = improvement_interval(x, y)
        hits["improvement"] += better.low <= 0.5 <= better.high
        assert 0 <= better.low <= better.estimate <= better.high <= 1
    assert min(hits.values()) >= 134  # 2 % quantile of Binomial(150, .94)


def test_one_seed_has_no_interval_and_bad_scores_are_rejected() -> None:
    interval = iqm_over_environments([[1.0], [2.0, 3.0]])
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.note == "one seed: no interval"
    for bad in ([], [[]], [[1.0], [np.nan]]):
        with pytest.raises(ValueError, match="aggregating scores"):
            interquartile_mean(bad)
    assert normalised([10.0, 30.0], 10, 20).tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match="expected the best above random play"):
        normalised([1.0], 2, 2)
