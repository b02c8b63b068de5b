"""Turn the metrics of a stage's updates into the rows of its curve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.spelling import closest

Array = NDArray[Any]

_NAME = re.compile(r"[\w./@-]+", re.ASCII)  # fits a csv


class StageRows:
    """Means, or last values, of the metrics since the last row.

    An update may omit a metric that it did not measure; NaN counts as measured.

    Args:
        metrics: the names that updates may return, which are the columns.
        last_values: the metrics whose last value is in a row, rather than the mean.
    """

    def __init__(self, metrics: Sequence[str], last_values: Sequence[str] = ()) -> None:
        self._metrics = tuple(metrics)
        self.columns = ("num_updates", *self._metrics)
        for name in self._metrics:
            if self.columns.count(name) > 1 or not _NAME.fullmatch(name):
                raise UsageError(
                    f"the stage has the metric {name!r}: expected distinct names of letters, "
                    "digits and _./@-, other than num_updates"
                )
        for name in last_values:
            if name not in self._metrics:
                raise UsageError(
                    f"the stage has {name!r} in `last_value_metrics`, but not in `metrics`."
                    + closest(name, self._metrics)
                )
        self._is_last = np.array([name in last_values for name in self._metrics], dtype=bool)
        self.start()

    def start(self) -> None:
        """Start a new row: forget what was observed."""
        self._totals = np.zeros(len(self._metrics))  # sums, or last values
        self._numbers = np.zeros(len(self._metrics), dtype=np.int64)

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Add the metrics of one update."""
        for name, value in metrics.items():
            if name not in self._metrics:
                raise UsageError(
                    f"an update of the stage returned the metric {name!r}, which is not in its "
                    f"`metrics` = {self._metrics}.{closest(name, self._metrics)}"
                )
            column = self._metrics.index(name)
            if self._is_last[column]:
                self._totals[column], self._numbers[column] = value, 1
            else:
                self._totals[column] += value
                self._numbers[column] += 1

    def row(self, num_updates: int) -> dict[str, float | int | None]:
        """Return the row after some number of updates; None where nothing was measured."""
        row: dict[str, float | int | None] = {"num_updates": num_updates}
        for name, total, number in zip(self._metrics, self._totals, self._numbers, strict=True):
            row[name] = total / number if number else None
        return row

    def state_dict(self) -> dict[str, Array]:
        return {"totals": self._totals.copy(), "numbers": self._numbers.copy()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self._totals, self._numbers = np.array(state["totals"]), np.array(state["numbers"])
