"""Eligibility traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.agents.tabular.learning.config import TraceConfig
from rlkit.agents.tabular.learning.traces import (
    SMALLEST_TRACE,
    Traces,
    clear_traces,
    list_traces,
    trace_entries,
    traces_of,
    update_traced,
)
from rlkit.agents.tabular.learning.updates import StepSizeTable, Table
from rlkit.agents.tabular.tables import Exploration


def make(num_states: int = 3, **options: Any) -> tuple[Table, Traces, dict[str, Any]]:
    """A table with one action and its traces in one environment."""
    config = TraceConfig(**{"discount": 0.5, "step_size": 0.1, "trace_decay": 0.5, **options})
    entries = trace_entries(config, (1, 1, num_states))
    no_masks = np.zeros((0, 1), dtype=np.bool_)
    table = Table(
        np.zeros((num_states, 1)),
        np.zeros((num_states, 1), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        config.discount,
        StepSizeTable(config).up_to(100),
        Exploration(False, 0.0, 0.0, 1),
        no_masks,
        no_masks,
    )
    return table, traces_of(entries, 0, config), entries


@pytest.mark.parametrize(("kind", "trace"), [("replacing", 1.0), ("accumulating", 1.0 + 0.25**2)])
def test_a_second_visit_replaces_the_trace_or_adds_to_it(kind: str, trace: float) -> None:
    table, traces, _ = make(traces=kind)
    for s in (0, 1, 0):
        update_traced(table, traces, 0, s, 0, 0.0)
    np.testing.assert_allclose(traces.values[0], [trace, 0.25, 0.0])
    assert sorted(traces.active[0, : traces.number[0]]) == [0, 1]


def test_each_pair_moves_by_its_own_step_size_times_its_trace() -> None:
    table, traces, _ = make(step_size=None, step_size_power=1.0)
    update_traced(table, traces, 0, 0, 0, 0.0)
    update_traced(table, traces, 0, 1, 0, 0.0)
    update_traced(table, traces, 0, 1, 0, 8.0)
    # State 0: first visit, trace 1/16; state 1: second visit, trace 1.
    np.testing.assert_allclose(table.q[:, 0], [8 / 16, 4.0, 0.0])


def test_traces_that_became_negligible_are_dropped_and_can_return() -> None:
    table, traces, _ = make()
    update_traced(table, traces, 0, 0, 0, 0.0)
    steps = int(np.ceil(np.log(SMALLEST_TRACE) / np.log(0.25)))
    for i in range(steps):
        assert traces.values[0, 0] > 0
        assert traces.number[0] == 1 + (i > 0)
        update_traced(table, traces, 0, 1, 0, 0.0)
    assert traces.values[0].tolist() == [0.0, 1.0, 0.0]
    assert traces.number[0] == 1
    update_traced(table, traces, 0, 0, 0, 0.0)
    assert traces.values[0].tolist() == [1.0, 0.25, 0.0]
    assert sorted(traces.active[0, : traces.number[0]]) == [0, 1]


def test_the_list_of_traces_can_be_made_from_their_values() -> None:
    table, traces, entries = make()
    for s in (2, 0):
        update_traced(table, traces, 0, s, 0, 0.0)
    entries["_num_traces"][...] = 0
    list_traces(entries)
    assert traces.active[0, : traces.number[0]].tolist() == [0, 2]
    clear_traces(traces, 0)
    assert not traces.values.any()
    assert traces.number[0] == 0


def test_without_traces_there_are_no_arrays_and_one_pair_moves() -> None:
    table, traces, entries = make(trace_decay=0.0)
    assert entries == {}
    for s in (0, 1):
        update_traced(table, traces, 0, s, 0, 10.0)
    clear_traces(traces, 0)
    assert table.q[:, 0].tolist() == [1.0, 1.0, 0.0]
