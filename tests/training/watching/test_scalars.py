"""The numbers of trackers are those of the curve: mean, interval, and each seed's value."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.analysis.intervals import mean_interval
from rlkit.training.run import Run
from rlkit.training.watching.progress import Progress, constant
from rlkit.training.watching.scalars import metric_names, scalars, steps_of


def progress(**metrics: list[float]) -> Progress:
    number = len(next(iter(metrics.values())))
    return Progress(
        run="run",
        step=40,
        target=100,
        seeds=tuple(range(number)),
        measured="eval_return",
        metrics={name: constant(np.array(values)) for name, values in metrics.items()},
    )


def test_a_metric_has_the_mean_and_interval_that_mean_interval_gives() -> None:
    values = [1.0, 4.0, 2.0, 8.0, 5.0, 7.0]
    named = scalars(progress(num_env_steps=[40.0] * 6, eval_return=values))
    interval = mean_interval(values)
    assert named == {
        "eval_return/mean": interval.estimate,
        "eval_return/lower": interval.low,
        "eval_return/upper": interval.high,
    }
    assert metric_names([*named]) == ["eval_return"]


def test_what_is_not_known_is_omitted() -> None:
    nan = np.nan
    named = scalars(progress(a=[nan, nan, nan], b=[1.0, nan, 3.0], c=[2.0, nan, nan]))
    assert named.keys() == {"b/mean", "b/lower", "b/upper", "c/mean"}
    assert named["b/mean"] == 2.0
    assert named["b/lower"] == mean_interval([1.0, 3.0]).low


def test_an_infinite_value_shows_in_the_mean() -> None:
    named = scalars(progress(loss=[1.0, np.inf], eval_return=[1.0, 2.0]))
    assert named["loss/mean"] == np.inf
    assert "loss/lower" not in named
    assert named["eval_return/mean"] == 1.5


def test_seeds_are_shown_on_request() -> None:
    named = scalars(progress(a=[1.0, np.nan, 3.0]), per_seed=True)
    assert named["a/seed-000"] == 1.0
    assert named["a/seed-002"] == 3.0
    assert "a/seed-001" not in named


def test_the_steps_of_a_run_are_the_rows_of_its_csvs(whole_run: Run) -> None:
    steps = list(steps_of(whole_run))
    assert [one.step for one in steps] == whole_run.steps.tolist()
    np.testing.assert_array_equal([one.returns for one in steps], whole_run.curve.T)


@pytest.mark.parametrize("failed", [False, True])
def test_rows_that_a_seed_lacks_are_shown_only_if_it_failed(failed: bool, whole_run: Run) -> None:
    run = Run(whole_run.folder)
    run.columns  # noqa: B018  read
    run.columns[1] = {name: column[:5] for name, column in run.columns[1].items()}
    if failed:
        run.record["failures"] = {"1": {"message": "as a test", "exit_code": 1}}
    steps = list(steps_of(run))
    assert len(steps) == (17 if failed else 5)
    assert np.isnan(steps[-1].returns[1]) == failed
