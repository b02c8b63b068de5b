"""The latest transitions of each seed, which LSPI learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State, Transition

Array = NDArray[Any]


class Samples:
    """The latest transitions of each seed, in the order of play.

    Args:
        num_seeds: S.
        capacity: of each seed.
        space: of the observations.
    """

    _NAMES = ("obs", "action", "reward", "terminated", "next_obs")

    def __init__(self, num_seeds: int, capacity: int, space: spaces.Space[Any]) -> None:
        self._capacity = capacity
        kind = np.int64 if isinstance(space, spaces.Discrete) else space.dtype
        observations = np.zeros((num_seeds, 0, *(space.shape or ())), dtype=kind)
        columns = (np.zeros((num_seeds, 0), dtype=kind) for kind in (np.int64, float, bool))
        fields = zip(self._NAMES, (observations, *columns, observations.copy()), strict=True)
        # Filled up to `_length`.
        self._columns, self._length = dict(fields), 0

    def add(self, transition: Transition) -> None:
        """Add one step of the N environments of each seed."""
        new = transition.action.shape[1]
        if self._length + new > self._columns["action"].shape[1]:
            self._make_room(new)
        for name, column in self._columns.items():
            column[:, self._length : self._length + new] = getattr(transition, name)
        self._length += new

    def _make_room(self, new: int) -> None:
        """Drop what is beyond the capacity, and leave as much room as is filled."""
        kept = slice(max(0, self._length - self._capacity), self._length)
        length = kept.stop - kept.start
        for name, column in self._columns.items():
            size = max(256, 2 * length + new)
            longer = np.zeros((column.shape[0], size, *column.shape[2:]), dtype=column.dtype)
            longer[:, :length] = column[:, kept]
            self._columns[name] = longer
        self._length = length

    def of(self, s: int) -> tuple[Array, ...]:
        """Return the columns of one seed, [M, ...]: as `_NAMES` lists them."""
        first = max(0, self._length - self._capacity)
        return tuple(self._columns[name][s, first : self._length] for name in self._NAMES)

    def state_dict(self) -> State:
        first = max(0, self._length - self._capacity)
        return {
            f"samples_{name}": column[:, first : self._length].copy()
            for name, column in self._columns.items()
        }

    def load_state_dict(self, state: State) -> None:
        self._columns = {name: np.array(state[f"samples_{name}"]) for name in self._NAMES}
        self._length = self._columns["action"].shape[1]
