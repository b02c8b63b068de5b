"""The whole episodes that REINFORCE learns from: collected from the transitions of all seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import ActionMasks, State, Transition

Array = NDArray[Any]


class EpisodeBatch(NamedTuple):
    """Whole episodes of one seed: one row per decision, one episode after another."""

    steps: Transition  # each field [D, ...]
    grid: Tensor  # bool [T, E]: True where episode e has a decision at its time t
    action_masks: Array | None = None  # the actions that were allowed, bool [D, choices]

    @property
    def times(self) -> Tensor:
        """The step of its episode at which each decision was made, from 0; int64 [D]."""
        return self.to_rows(torch.arange(len(self.grid))[:, None].expand(self.grid.shape))

    def to_grid(self, rows: Tensor) -> Tensor:
        """Return values [D] as [T, E], with 0 beyond the end of an episode."""
        by_episode = torch.zeros(tuple(reversed(self.grid.shape)), dtype=rows.dtype)
        by_episode[self.grid.T] = rows
        return by_episode.T

    def to_rows(self, values: Tensor) -> Tensor:
        """Return values [T, E] as [D]."""
        return values.T[self.grid.T]


class EpisodeCollector:
    """Collects the same number of whole episodes in each environment of a seed.

    A seed's batch is complete when each of its environments has ended that many. What an
    environment plays while it waits for the others is not part of any batch, and neither is an
    episode that was running when the batch was completed: two policies played it.

    Args:
        num_seeds: S.
        num_envs: N.
        episodes_per_env: of one batch.
        action_masks: whether transitions come with masks.
    """

    def __init__(
        self, num_seeds: int, num_envs: int, episodes_per_env: int, *, action_masks: bool = False
    ) -> None:
        self._num_seeds, self._num_envs, self._quota = num_seeds, num_envs, episodes_per_env
        self.time = 0  # the steps taken
        # Transitions since the oldest one that a batch may still need; `_first` is its time.
        self._history: list[Transition] = []
        # The masks of their actions [S, N, choices]; None without masks.
        self._masks: list[Array] | None = [] if action_masks else None
        self._first = 0
        # For each environment, the times at which the episodes of its batch begin and end.
        self._begins: list[list[list[int]]] = [[[0] for _ in range(num_envs)] for _ in self._seeds]
        self._ends: list[list[list[int]]] = [[[] for _ in range(num_envs)] for _ in self._seeds]

    @property
    def _seeds(self) -> range:
        return range(self._num_seeds)

    def collect(self, transition: Transition, masks: ActionMasks | None = None) -> list[int]:
        """Take in one step and return the seeds whose batch is now complete."""
        self._history.append(transition)
        if self._masks is not None and masks is not None:
            self._masks.append(masks.obs)
        now, self.time = self.time, self.time + 1
        is_last = transition.terminated | transition.truncated
        for s, n in np.argwhere(is_last):
            begins, ends = self._begins[s][n], self._ends[s][n]
            if len(ends) < len(begins):
                ends.append(now)
            if len(ends) < self._quota:
                begins.append(now + 1)
        return [
            int(s)
            for s in np.flatnonzero(is_last.any(axis=1))
            if all(len(ends) == self._quota for ends in self._ends[s])
        ]

    def complete(self, s: int) -> EpisodeBatch:
        """Return the complete batch of a seed, and begin its next one."""
        episodes = [
            (n, begin, end)
            for n in range(self._num_envs)
            for begin, end in zip(self._begins[s][n], self._ends[s][n], strict=True)
        ]
        places = [(t, n) for n, begin, end in episodes for t in range(begin, end + 1)]
        columns = [
            np.stack([getattr(self._history[t - self._first], name)[s, n] for t, n in places])
            for name in Transition._fields
        ]
        masks = None
        if self._masks is not None:
            masks = np.stack([self._masks[t - self._first][s, n] for t, n in places])
        lengths = torch.tensor([end - begin + 1 for _, begin, end in episodes])
        grid = torch.arange(int(lengths.max()))[:, None] < lengths
        self._begin_next(s)
        return EpisodeBatch(Transition(*columns), grid, masks)

    def _begin_next(self, s: int) -> None:
        latest = self._history[-1]
        for n in range(self._num_envs):
            is_last = latest.terminated[s, n] | latest.truncated[s, n]
            self._begins[s][n] = [self.time] if is_last else []
            self._ends[s][n] = []
        oldest = min(self._first_needed(s) for s in self._seeds)
        del self._history[: oldest - self._first]
        if self._masks is not None:
            del self._masks[: oldest - self._first]
        self._first = oldest

    def _first_needed(self, s: int) -> int:
        """The time of the oldest transition that the running batch of a seed needs."""
        return min((begins[0] for begins in self._begins[s] if begins), default=self.time)

    def state_dict(self) -> State:
        """Return the state; each seed keeps its own stretch of the history, so it is ragged."""
        state: State = {"time": np.full(self._num_seeds, self.time)}
        starts = [self._first_needed(s) for s in self._seeds]
        columns = {name: [getattr(x, name) for x in self._history] for name in Transition._fields}
        if self._masks is not None:
            columns["action_masks"] = self._masks
        for name, column in columns.items():
            state[f"history_{name}"] = [
                np.stack([x[s] for x in column[start - self._first :]])
                if start < self.time
                else np.zeros(0)
                for s, start in enumerate(starts)
            ]
        for name, times in (("begins", self._begins), ("ends", self._ends)):
            table = np.full((self._num_seeds, self._num_envs, self._quota), -1)
            for s, n in np.ndindex(self._num_seeds, self._num_envs):
                table[s, n, : len(times[s][n])] = times[s][n]
            state[name] = table
        return state

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        self.time = int(state["time"][0])
        for name, times in (("begins", self._begins), ("ends", self._ends)):
            for s, of_seed in enumerate(np.asarray(state[name])):
                times[s] = [[int(t) for t in of_env if t >= 0] for of_env in of_seed]
        lengths = [len(columns) for columns in state["history_obs"]]
        self._first = self.time - max(lengths)
        histories = [_joined(state[f"history_{name}"], lengths) for name in Transition._fields]
        self._history = [Transition(*fields) for fields in zip(*histories, strict=True)]
        if self._masks is not None:
            self._masks = list(_joined(state["history_action_masks"], lengths))


def _joined(columns: list[Array] | Array, lengths: list[int]) -> Array:
    """Join each seed's stretch of the history, [length, N, ...], to [longest, S, N, ...].

    A seed whose stretch begins later has no part in the older transitions, so these hold 0.
    """
    longest = columns[int(np.argmax(lengths))]
    joined = np.zeros((len(longest), len(lengths), *longest.shape[1:]), dtype=longest.dtype)
    for s, own in enumerate(columns):
        if len(own):
            joined[len(longest) - len(own) :, s] = own
    return joined
