"""Rows of observations and actions in an environment's own form, as agents see them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.environment import Environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.observations import seen_by_agents
from rlkit.errors import UsageError
from rlkit.nn.demonstrations import Demonstrations

Array = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Decisions as a file holds them.

    Args:
        observations: float64 [D, F].
        actions: float64 [D, A].
        episodes: int64 [D].
        rewards: float64 [D]; None = unknown.
        place: (row, "observation" or "action", number of the column) -> where that number stands.
        source: what they are and where from, for messages on all of them.
    """

    observations: Array
    actions: Array
    episodes: Array
    rewards: Array | None
    place: Callable[[int, str, int], str]
    source: str


def converted(rows: Rows, environment: Environment) -> Demonstrations:
    """Return rows as demonstrations for an agent in an environment.

    Raises:
        UsageError: a number is not in the spaces of the environment; the message names its place.
    """
    own = environment.probe.observation_space
    # Discrete and Box are as the environment has them, others as agents see them.
    is_plain = isinstance(own, spaces.Discrete | spaces.Box)
    space = own if is_plain else seen_by_agents(own)
    observations = _observations(rows, space)
    if environment.bins is not None:
        observations = environment.bins(observations)
    layout = ActionLayout(environment.probe.action_space)
    actions = environment.action_view.from_layout(_actions(rows, layout))
    is_discrete = ActionLayout(environment.action_space).is_discrete
    return Demonstrations(
        observations,
        actions.astype(np.int64 if is_discrete else np.float32),
        rows.episodes,
        _mean_return(rows),
    )


def _observations(rows: Rows, space: spaces.Space[Any]) -> Array:
    if isinstance(space, spaces.Discrete):
        _require_columns(rows, "observation", rows.observations, 1, space)
        first = int(space.start)
        _require_numbers(rows, "observation", rows.observations, np.array([space.n]), first)
        return rows.observations[:, 0].astype(np.int64) - first
    shape = space.shape or ()
    _require_columns(rows, "observation", rows.observations, math.prod(shape), space)
    _require_numbers(rows, "observation", rows.observations, np.zeros(1, dtype=np.int64), 0)
    return _typed(rows, "observation", rows.observations, space.dtype).reshape(-1, *shape)


def _actions(rows: Rows, layout: ActionLayout) -> Array:
    """Return actions as rows of the environment's layout."""
    space = layout.space
    _require_columns(rows, "action", rows.actions, len(layout.columns), space)
    first = int(space.start) if isinstance(space, spaces.Discrete) else 0
    _require_numbers(rows, "action", rows.actions, layout.sizes, first)
    low, high = layout.bounds
    real = np.where(layout.sizes == 0, np.clip(rows.actions, low, high), 0.0)
    _typed(rows, "action", real, space.dtype if isinstance(space, spaces.Box) else np.float32)
    return (rows.actions - first).reshape(-1, *layout.shape)


def _require_columns(
    rows: Rows, name: str, numbers: Array, expected: int, space: spaces.Space[Any]
) -> None:
    if numbers.shape[1] != expected:
        columns = f"columns {name}_0 to {name}_{expected - 1}" if expected > 1 else f"column {name}"
        raise UsageError(
            f"{rows.source}: got {numbers.shape[1]} numbers of each {name}, expected {expected} "
            f"for {space}; a table of it has the {columns}"
        )


def _require_numbers(rows: Rows, name: str, numbers: Array, sizes: Array, first: int) -> None:
    """Require finite numbers and, where there are so many choices, one of them from `first`."""
    wrong = ~np.isfinite(numbers)
    chosen = numbers - first
    wrong |= (sizes > 0) & ((chosen < 0) | (chosen >= sizes) | (chosen != np.floor(chosen)))
    if not wrong.any():
        return
    row, column = np.argwhere(wrong)[0].tolist()
    size = int(np.broadcast_to(sizes, numbers.shape[1:])[column])
    expected = f"a whole number from {first} to {first + size - 1}" if size else "a finite number"
    raise UsageError(
        f"{rows.place(row, name, column)}: expected {expected}, got {numbers[row, column]:g}"
    )


def _typed(rows: Rows, name: str, numbers: Array, dtype: Any) -> Array:
    """Return finite numbers in the type of their space; require that it can hold them."""
    with np.errstate(over="ignore", invalid="ignore"):
        typed: Array = numbers.astype(dtype)
    is_whole = typed.dtype.kind in "biu"
    wrong = typed.astype(np.float64) != numbers if is_whole else ~np.isfinite(typed)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise UsageError(
            f"{rows.place(row, name, column)}: expected a number that {typed.dtype} can hold, the "
            f"type of its space, got {numbers[row, column]:g}"
        )
    return typed


def _mean_return(rows: Rows) -> float:
    if rows.rewards is None:
        return math.nan
    return float(rows.rewards.sum() / len(np.unique(rows.episodes)))
