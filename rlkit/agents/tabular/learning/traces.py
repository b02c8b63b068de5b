"""Eligibility traces: how one error moves all pairs that led to it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.tabular.learning.config import TraceConfig
from rlkit.agents.tabular.learning.updates import Table, step_size, update
from rlkit.maths.compiled import part

Array = NDArray[Any]
SMALLEST_TRACE = 1e-10  # below it a trace is 0, so that a long episode has few


class Traces(NamedTuple):
    """Eligibility traces of one seed; a pair is state * num_actions + action."""

    values: Array  # [N, pairs]; [0, 0] without traces
    active: Array  # [N, pairs], the pairs with a trace, in the first `number` entries
    number: Array  # [N]
    decay: float  # gamma * lambda
    replacing: bool


@part
def update_traced(table: Table, traces: Traces, n: int, s: int, a: int, target: float) -> float:
    """Move the values of all pairs with a trace in environment n; return the absolute error.

    All traces decay, that of (s, a) becomes 1 or grows by 1, and each pair moves by its own alpha
    times its trace times the error of (s, a). Without traces this is `update`.
    """
    if traces.values.shape[1] == 0:
        return update(table, s, a, target)
    num_actions, number = table.q.shape[1], 0
    pair = s * num_actions + a
    for i in range(traces.number[n]):
        other = traces.active[n, i]
        traces.values[n, other] *= traces.decay
        if traces.values[n, other] < SMALLEST_TRACE:
            traces.values[n, other] = 0.0
        elif other != pair:
            traces.active[n, number] = other
            number += 1
    traces.active[n, number] = pair
    traces.number[n] = number + 1
    traces.values[n, pair] = 1.0 if traces.replacing else traces.values[n, pair] + 1.0
    table.visits[s, a] += 1
    error: float = target - table.q[s, a]
    for i in range(number + 1):
        other = traces.active[n, i]
        row, column = other // num_actions, other % num_actions
        alpha = step_size(table, row, column)
        table.q[row, column] += alpha * traces.values[n, other] * error
    return abs(error)


@part
def clear_traces(traces: Traces, n: int) -> None:
    """Remove the traces of environment n: its episode ended, or the policy was not followed."""
    if traces.values.shape[1] > 0:
        for i in range(traces.number[n]):
            traces.values[n, traces.active[n, i]] = 0.0
        traces.number[n] = 0


def trace_entries(config: TraceConfig, shape: tuple[int, int, int]) -> dict[str, Array]:
    """Return the arrays of traces for [S, N, pairs]; none without traces."""
    if config.trace_decay == 0.0:
        return {}
    return {
        "traces": np.zeros(shape),
        "_active_traces": np.zeros(shape, dtype=np.int64),
        "_num_traces": np.zeros(shape[:2], dtype=np.int64),
    }


def list_traces(entries: dict[str, Array]) -> None:
    """List the pairs that have a trace, after the traces were loaded."""
    if "traces" in entries:
        for s, n in np.ndindex(*entries["traces"].shape[:2]):
            pairs = np.flatnonzero(entries["traces"][s, n])
            entries["_active_traces"][s, n, : len(pairs)] = pairs
            entries["_num_traces"][s, n] = len(pairs)


def traces_of(entries: dict[str, Array], s: int, config: TraceConfig) -> Traces:
    """Return the traces of one seed: views."""
    replacing = config.traces == "replacing"
    if "traces" not in entries:
        no_pairs = np.empty((0, 0), dtype=np.int64)
        return Traces(np.empty((0, 0)), no_pairs, no_pairs.ravel(), 0.0, replacing)
    return Traces(
        values=entries["traces"][s],
        active=entries["_active_traces"][s],
        number=entries["_num_traces"][s],
        decay=config.discount * config.trace_decay,
        replacing=replacing,
    )
