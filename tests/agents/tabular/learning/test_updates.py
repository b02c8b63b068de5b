"""The update of one action value and its step size."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.agents.tabular.learning import updates
from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.learning.updates import StepSizeTable, Table, report, step_size, update
from rlkit.agents.tabular.tables import Exploration


def table(config: TableConfig, visits: int = 0, num_env_steps: int = 0) -> Table:
    return Table(
        np.zeros((2, 2)),
        np.full((2, 2), visits),
        np.array([num_env_steps]),
        0.9,
        StepSizeTable(config).up_to(visits + 1),
        Exploration(False, 0.5, 0.1, 100),
        np.empty((0, 0), bool),
        np.empty((0, 0), bool),
    )


def test_an_update_counts_the_visit_and_moves_by_its_step_size() -> None:
    one = table(TableConfig(step_size_power=1.0), visits=3)
    assert update(one, 1, 0, 8.0) == 8.0
    assert one.q.tolist() == [[0.0, 0.0], [2.0, 0.0]]  # the fourth visit: a quarter
    assert one.visits.tolist() == [[3, 3], [4, 3]]


@pytest.mark.parametrize(("num_env_steps", "alpha"), [(0, 0.5), (50, 0.3), (100, 0.1), (1000, 0.1)])
def test_a_step_size_falls_linearly_to_its_end(num_env_steps: int, alpha: float) -> None:
    config = TableConfig(step_size=0.5, step_size_end=0.1, step_size_steps=100)
    one = table(config, num_env_steps=num_env_steps)
    assert step_size(one, 0, 0) == pytest.approx(alpha, rel=1e-14)


def test_a_constant_step_size_is_itself_to_the_last_bit() -> None:
    assert step_size(table(TableConfig(step_size=0.1), 7, 12345), 0, 0) == 0.1


def test_the_table_of_step_sizes_has_an_entry_for_every_visit() -> None:
    sizes = StepSizeTable(TableConfig(step_size_power=0.75))
    for visits in (1, 2, 3, 63, 64, 65, 1000):
        got = sizes.up_to(visits).table
        assert got[visits] == np.arange(1, visits + 1)[visits - 1] ** -0.75


def test_the_table_is_bounded_and_step_sizes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "MOST_STEP_SIZES", 64)
    config = TableConfig(step_size_power=0.75)
    assert len(StepSizeTable(config).up_to(1 << 40).table) < 200
    for visits in (60, 200, 1 << 33):
        got = step_size(table(config, visits), 0, 0)
        assert got == pytest.approx(float(visits) ** -0.75, rel=1e-15)


def test_a_step_without_an_update_reports_no_error() -> None:
    one, metrics = table(TableConfig(), num_env_steps=50), np.zeros(2)
    report(one, 3, 0.0, 0, metrics)
    assert metrics[0] == pytest.approx(0.3)
    assert np.isnan(metrics[1])
    assert one.num_env_steps[0] == 53
