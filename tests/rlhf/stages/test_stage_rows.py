"""The rows of a stage's curve."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.stages.run_stage import run_stage
from rlkit.rlhf.stages.stage_rows import StageRows
from tests.small_stage import small_spec


def test_a_row_has_the_means_or_the_last_values_since_the_row_before(out: Path) -> None:
    single = run_stage(small_spec(num_updates=18, record_every=1), 1, out).curve()
    curve = run_stage(small_spec(num_updates=18), 1, out).curve()
    assert curve["num_updates"].tolist() == [7, 14, 18]
    assert curve["samples"].tolist() == [56, 112, 144]
    # It was measured at each third update only: 3 and 6; 9 and 12; 15 and 18.
    assert curve["sometimes"].tolist() == [4.5, 10.5, 16.5]
    for row, (start, stop) in enumerate([(0, 7), (7, 14), (14, 18)]):
        total = functools.reduce(lambda a, b: a + b, single["loss"][start:stop].tolist())
        assert curve["loss"][row] == total / (stop - start)


def test_missing_measurements_are_empty_cells_and_nan_is_no_number(out: Path) -> None:
    run = run_stage(small_spec(num_updates=4, record_every=2), 1, out)
    assert np.isnan(run.curve()["sometimes"]).tolist() == [True, False]
    rows = StageRows(("loss",))
    rows.observe({"loss": 1.0})
    rows.observe({"loss": float("nan")})
    assert np.isnan(rows.row(2)["loss"])


@pytest.mark.parametrize(
    ("metrics", "last_values", "returned", "message"),
    [
        (("loss", "loss"), (), {}, "the metric 'loss': expected distinct names"),
        (("num_updates",), (), {}, "other than num_updates"),
        (("a,b",), (), {}, "the metric 'a,b'"),
        (("loss",), ("los",), {}, "Did you mean 'loss'"),
        (("loss",), (), {"los": 1.0}, r"the metric 'los', which is not .* Did you mean 'loss'"),
    ],
)
def test_metrics_that_are_no_columns_are_rejected(
    metrics: tuple[str, ...], last_values: tuple[str, ...], returned: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        StageRows(metrics, last_values).observe(returned)
