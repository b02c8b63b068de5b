"""A small model with duplicate entries, and records of it written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.probe import Record

Event = tuple[int, int, int, float, bool]  # state, action, next state, reward, terminated


def model(time_limit: int | None = None) -> TabularMDP:
    """Two states and actions; two rows list an outcome twice, one at first with probability 0."""
    return TabularMDP.from_padded(
        probability=[
            [[0.25, 0.5, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]],
            [[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
        ],
        next_state=[[[1, 0, 1, 0], [1, 0, 0, 0]], [[0, 0, 0, 0], [1, 1, 0, 0]]],
        reward=[[[2.0, 0.0, 2.0, 7.0], [0.0] * 4], [[1.0, 1.0, 0.0, 0.0], [5.0, 5.0, 0.0, 0.0]]],
        terminated=[[[False] * 4] * 2, [[True, False, False, False], [False] * 4]],
        initial_distribution=[0.0, 1.0],
        time_limit=time_limit,
    )


def record(events: list[Event], starts: list[int], **changes: Any) -> Record:
    """Return one episode of these steps, and resets."""
    state, action, next_state, reward, terminated = (np.array(x) for x in zip(*events, strict=True))
    num_steps = len(events)
    fields = {
        "truncated": np.zeros(num_steps, dtype=np.bool_),
        "elapsed": np.arange(num_steps),
        "part": np.zeros(num_steps, dtype=np.int64),
    } | changes
    return Record(
        state=state, action=action, next_state=next_state, reward=reward, terminated=terminated,
        start=np.array(starts), start_part=np.zeros(len(starts), dtype=np.int64), **fields,
    )  # fmt: skip
