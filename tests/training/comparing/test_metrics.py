"""Metrics of runs: closed forms on small curves, failed seeds, and returns never reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.training.comparing.metrics import FINAL, Metric, joined, read_metrics, stored_metric

NAN, INF = float("nan"), float("inf")


@dataclass
class Curves:
    """What a metric reads of a run: rows at 0, 50 and 100 steps."""

    returns: Any
    unfinished: Any = ()
    num_env_steps: int = 100
    measured: str = "eval_return"
    steps: Any = (0, 50, 100)
    columns: Any = field(init=False)
    seeds: Any = field(init=False)

    def __post_init__(self) -> None:
        steps = np.array(self.steps, dtype=float)
        self.columns = [
            {"num_env_steps": steps[: len(one)], "eval_return": np.array(one, dtype=float)}
            for one in self.returns
        ]
        self.seeds = list(range(len(self.returns)))

    @property
    def scores(self) -> Any:
        return np.array([one[-1] for one in self.returns])


def values(metric: Metric, *returns: Any, **options: Any) -> Any:
    run: Any = Curves(returns, **options)
    return metric.values(run)


def test_area_is_the_trapezoids_over_the_budget() -> None:
    scores, ranking = values(Metric("area"), [0, 2, 4], [1, 1, 1], [NAN, 3, 5])
    # (0 + 2) / 2 * 50 + (2 + 4) / 2 * 50 = 200; 100; level at 3 before the first row: 150 + 200.
    assert scores.tolist() == [2.0, 1.0, 3.5]
    assert ranking is None
    assert values(Metric("area"), [2], num_env_steps=100).scores.tolist() == [2.0]


def test_area_of_rows_beyond_the_budget_is_over_their_width() -> None:
    # 30 environments: the last row is at 120.
    found = values(Metric("area"), [0, 6], steps=(0, 120), num_env_steps=100)
    assert found.scores.tolist() == [3.0]


def test_steps_to_a_return_are_those_of_the_first_row_at_or_above_it() -> None:
    scores, ranking = values(Metric("steps-to", 2.0), [0, 2, 4], [0, 1, 2], [3, 0, 0], [0, 1, 1.9])
    assert scores.tolist() == [50, 100, 0, 100]
    assert ranking.tolist() == [-50, -100, 0, -INF]


def test_a_return_reached_at_the_very_end_ranks_before_one_never_reached() -> None:
    ranking = values(Metric("steps-to", 2.0), [0, 0, 2], [0, 0, 0], [0, 0, 1]).ranking
    assert ranking[0] > ranking[1] == ranking[2]


def test_seeds_that_were_not_trained_to_the_end_have_no_number() -> None:
    for metric in (Metric("area"), Metric("steps-to", 1.0)):
        found = values(metric, [0, 2, 4], [0, 2], unfinished={1: 50})
        assert np.isnan(found.scores).tolist() == [False, True]
    found = values(Metric("steps-to", 1.0), [NAN, NAN, NAN])
    assert np.isnan(found.scores).all()


def test_the_final_metric_is_the_scores_of_the_run() -> None:
    assert values(FINAL, [0, 2, 4]).scores.tolist() == [4]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("final", FINAL),
        ("area", Metric("area")),
        ("steps-to 475", Metric("steps-to", 475.0)),
        ("steps-to -1e2", Metric("steps-to", -100.0)),
        (("steps-to", 3), Metric("steps-to", 3.0)),
        (Metric("area"), Metric("area")),
    ],
)
def test_metrics_are_read(given: Any, expected: Metric) -> None:
    (metric,) = read_metrics(given, None)
    assert metric == expected
    assert read_metrics(str(metric), None) == [metric]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "expected final, area or steps-to VALUE, got ''"),
        ("aera", "Did you mean 'area'?"),
        *((one, "expected final, area or steps-to VALUE") for one in (None, 475, {}, [475], [[]])),
        (
            "steps-to",
            "steps-to needs the return that is to be reached, as in --metric steps-to 475",
        ),
        (
            "steps-to 1 2",
            "takes one value, or one for each of 1 environment (--env) in their order",
        ),
        (("steps-to", [1, 2]), "takes one value, or one for each of 1 environment"),
        ("steps-to high", "a finite number, got 'high'"),
        ("steps-to nan", "a finite number, got 'nan'"),
        (("steps-to", True), "a finite number, got True"),
        ("final 3", "final takes no value, got '3'"),
    ],
)
def test_other_metrics_are_rejected(given: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_metrics(given, None)
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [475, -0.5, 1e-7, 0.74018291, -65375.25, 1234567, 1e300])
def test_a_threshold_is_named_and_stored_with_all_its_digits(value: float) -> None:
    metric = Metric("steps-to", float(value))
    assert stored_metric({"metric": str(metric)}) == metric
    close = Metric("steps-to", float(np.nextafter(value, 1e308)))
    assert str(close) != str(metric)
    assert close.label != metric.label
    assert float(metric.label.split()[-1]) == value


def test_steps_are_to_a_return_of_each_environment() -> None:
    both = read_metrics("steps-to 475 -100", 2)
    assert both == [Metric("steps-to", 475.0), Metric("steps-to", -100.0)]
    assert read_metrics(("steps-to", [475, -100]), 2) == both
    assert read_metrics("steps-to 3", 2) == [Metric("steps-to", 3.0)] * 2
    assert str(joined(both)) == "steps-to"
    assert joined(both).label == "steps to a return"
    assert stored_metric({"metric": "steps-to"}) == joined(both)
    assert stored_metric({"metric": "steps-to -100"}, joined(both)) == both[1]
    assert stored_metric({}, joined(both)) == joined(both)
    assert joined(both[:1] * 2) == both[0]
    with pytest.raises(UsageError, match="one for each of 3 environments"):
        read_metrics("steps-to 475 -100", 3)
