"""The model of a FrozenLake map of any size, written straight into the arrays of a `TabularMDP`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel
from rlkit.tabular.grids.maps import GOAL, HOLE, START, Map
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.memory import require_memory

Array = NDArray[Any]

NUM_ACTIONS = 4  # left, down, right, up
_SUCCESS = 1.0 / 3.0
_FAILURE = (1.0 - _SUCCESS) / 2.0


def frozen_lake(cells: Map, *, slippery: bool = True, time_limit: int | None = None) -> TabularMDP:
    """Return the model of a map, entry for entry that of Gymnasium's `FrozenLakeEnv(desc=...)`.

    Args:
        cells: letters `[rows, columns]`; state = row * columns + column.
        slippery: each step goes in the intended direction or to either side of it, with chance
            1/3 each.
        time_limit: steps after which an episode is truncated, or None.

    Raises:
        ValueError: it is no map, or the model does not fit into memory.
    """
    if getattr(cells, "ndim", None) != 2:
        raise ValueError(
            "a lake: expected an array of letters [rows, columns], as random_map, parse_map and "
            f"read_map return it, got {type(cells).__name__}"
        )
    rows, columns = cells.shape
    letters = np.ascontiguousarray(cells).ravel()
    width = 3 if slippery else 1
    num_ends = int(np.count_nonzero((cells == HOLE) | (cells == GOAL)))
    size = NUM_ACTIONS * (num_ends + (cells.size - num_ends) * width)
    require_memory(f"a lake of {rows:,} x {columns:,} cells", size, cells.size * NUM_ACTIONS)
    probability, reward = np.empty(size), np.empty(size)
    next_state = np.empty(size, dtype=np.int32)
    terminated = np.empty(size, dtype=np.bool_)
    row_start = np.empty(letters.size * NUM_ACTIONS + 1, dtype=np.int32)
    _fill(letters, rows, columns, width, probability, next_state, reward, terminated, row_start)
    starts = np.where(letters == START, 1.0, 0.0)
    starts /= starts.sum()
    arrays = (probability, next_state, reward, terminated, row_start, starts)
    for array in arrays:
        array.setflags(write=False)  # a TabularMDP then keeps them without a copy
    return TabularMDP(
        probability=probability,
        next_state=next_state,
        reward=reward,
        terminated=terminated,
        row_start=row_start,
        num_actions=NUM_ACTIONS,
        initial_distribution=starts,
        time_limit=time_limit,
    )


def require_room(num_cells: int, *, slippery: bool = True) -> None:
    """Raise ValueError where the model of a map of this size would not fit into memory."""
    num_rows = num_cells * NUM_ACTIONS
    what = f"a lake of {num_cells:,} cells"
    require_memory(what, num_rows * (3 if slippery else 1), num_rows)


@kernel
def _fill(
    letters: Array,
    rows: int,
    columns: int,
    width: int,
    probability: Array,
    next_state: Array,
    reward: Array,
    terminated: Array,
    row_start: Array,
) -> None:
    k = 0
    row_start[0] = 0
    for s in range(letters.shape[0]):
        row, column = s // columns, s % columns
        ends = letters[s] == HOLE or letters[s] == GOAL
        for a in range(NUM_ACTIONS):
            for slip in range(1 if ends else width):
                to = s
                direction = (a + slip - width // 2) % NUM_ACTIONS
                if ends:
                    pass
                elif direction == 0:
                    to = s - 1 if column > 0 else s
                elif direction == 1:
                    to = s + columns if row < rows - 1 else s
                elif direction == 2:
                    to = s + 1 if column < columns - 1 else s
                else:
                    to = s - columns if row > 0 else s
                if ends or width == 1:
                    probability[k] = 1.0
                else:
                    probability[k] = _SUCCESS if slip == 1 else _FAILURE
                next_state[k] = to
                reward[k] = 1.0 if letters[to] == GOAL and not ends else 0.0
                terminated[k] = letters[to] == GOAL or letters[to] == HOLE
                k += 1
            row_start[s * NUM_ACTIONS + a + 1] = k
