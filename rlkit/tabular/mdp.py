"""A finite Markov decision process whose every probability is known.

The model is sparse: it lists the possible successors of each pair of state and action, one entry
each, as `entries` describes. The same arrays serve a planner (sums over successors) and a simulator
(draws one successor).

States and actions are indices from 0. Where an environment's `Discrete` space starts elsewhere,
index = observation - observation_space.start, and the same for actions.

Two successors of one state and action may be the same state (a slip into a wall and a step against
it): both entries are kept, and every sum adds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import scipy  # imports scipy.sparse when it is first used
from numpy.typing import ArrayLike, NDArray

from rlkit.options import Unfit, converted
from rlkit.tabular import entries, storage
from rlkit.tabular.entries import (
    ROUNDING,
    BoolArray,
    Entries,
    FloatArray,
    IndexArray,
    IntArray,
    Padded,
    Successor,
)
from rlkit.tabular.row_kernels import Rows, continuing_rows

__all__ = ["BoolArray", "FloatArray", "IndexArray", "IntArray", "Successor", "TabularMDP"]

_MOST = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularMDP:
    """The arrays of a finite MDP, checked on construction and read-only afterwards.

    Row i = state * num_actions + action owns the entries `row_start[i]` to `row_start[i + 1] - 1`.
    Usually one of the `from_...` methods builds a model.

    Args:
        probability: `[num_entries]`, >= 0, sums to one over each row.
        next_state: `[num_entries]`, integers in `[0, num_states)`; kept as int32.
        reward: `[num_entries]`, finite.
        terminated: `[num_entries]`, True where the episode ends.
        row_start: `[num_states * num_actions + 1]`, from 0 to num_entries, strictly increasing.
        num_actions: in every state.
        initial_distribution: `[num_states]`, of the first state, sums to one.
        time_limit: steps after which an episode is truncated, or None for no limit.

    Raises:
        ValueError: if the arrays do not describe an MDP; the message names the state and action.
    """

    probability: FloatArray
    next_state: IndexArray
    reward: FloatArray
    terminated: BoolArray
    row_start: IndexArray
    num_actions: int
    initial_distribution: FloatArray
    time_limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("next_state", "row_start"):
            if np.asarray(getattr(self, name)).dtype.kind not in "iu":
                raise ValueError(
                    f"building a TabularMDP: {name} must hold integers, got dtype "
                    f"{np.asarray(getattr(self, name)).dtype}"
                )
        _check_form(self)
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, _own(getattr(self, name), dtype))
        object.__setattr__(self, "num_actions", int(self.num_actions))
        _check_values(self)
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", check_limit(self.time_limit))

    @property
    def num_states(self) -> int:
        return int(self.initial_distribution.shape[0])

    @property
    def num_entries(self) -> int:
        return int(self.probability.shape[0])

    @cached_property
    def longest_row(self) -> int:
        """K, the largest number of entries of a state and action."""
        return int(np.diff(self.row_start).max())

    @cached_property
    def expected_reward(self) -> FloatArray:
        """Return E[R | s, a], `[num_states, num_actions]`."""
        return self._by_row(np.add, self.probability * self.reward)

    @cached_property
    def continuation(self) -> scipy.sparse.csr_array:
        """Return P(S' = s', not terminated | s, a), `[num_states * num_actions, num_states]`.

        Row `s * num_actions + a` sums to one minus the probability that the episode ends. Every
        stored entry is positive; equal successors are summed.
        """
        shape = (self.num_states * self.num_actions, self.num_states)
        start, columns, entries = self.continuing
        return scipy.sparse.csr_array((entries, columns, start), shape=shape)

    @cached_property
    def continuing(self) -> Rows:
        """Return the entries of `continuation`."""
        return continuing_rows(self.probability, self.next_state, self.terminated, self.row_start)

    @cached_property
    def may_end(self) -> BoolArray:
        """Return whether action a in state s can end the episode, `[num_states, num_actions]`."""
        return self._by_row(np.logical_or, (self.probability > 0) & self.terminated)

    @cached_property
    def may_reward(self) -> BoolArray:
        """Return whether action a in state s can give a reward, `[num_states, num_actions]`."""
        return self._by_row(np.logical_or, (self.probability > 0) & (self.reward != 0))

    @cached_property
    def ending(self) -> FloatArray:
        """Return P(terminated | s, a), `[num_states, num_actions]`."""
        return self._by_row(np.add, self.probability * self.terminated)

    def _by_row(self, function: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        by_row = function.reduceat(values, self.row_start[:-1])
        return np.asarray(by_row.reshape(self.num_states, self.num_actions))

    def padded(self, rows: ArrayLike | None = None) -> Padded:
        """Return successors as arrays `[..., K]`, padded by the last one with probability 0.

        Args:
            rows: state * num_actions + action, `[M]`, for `[M, K]`; by default all of them, for
                `[num_states, num_actions, K]`. K is that of the longest of these rows.
        """
        if rows is None:
            at = np.arange(self.num_states * self.num_actions).reshape(self.num_states, -1)
        else:
            at = np.asarray(rows)
        first = self.row_start[at].astype(np.int64)
        count = self.row_start[at + 1] - first
        slots = np.arange(int(count.max()))
        where = first[..., None] + np.minimum(slots, count[..., None] - 1)
        return Padded(
            probability=np.where(slots < count[..., None], self.probability[where], 0.0),
            next_state=self.next_state[where].astype(np.int64),
            reward=self.reward[where],
            terminated=self.terminated[where],
        )

    @classmethod
    def from_successors(
        cls,
        table: Sequence[Sequence[Sequence[Successor]]],
        *,
        initial_distribution: ArrayLike,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build the model from `table[s][a] = [(probability, next_state, reward, terminated), ..]`.

        The order of the successors is kept.
        """
        return cls._from(entries.from_lists(table), initial_distribution, time_limit)

    @classmethod
    def from_function(
        cls,
        successors: Callable[[int, int], Sequence[Successor]],
        *,
        num_states: int,
        num_actions: int,
        initial_distribution: ArrayLike,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build the model from a function that lists the successors of a state and action.

        Args:
            successors: (state, action) -> [(probability, next_state, reward, terminated), ..].
            num_states: the function is called for the states 0 to num_states - 1.
            num_actions: and for the actions 0 to num_actions - 1.
            initial_distribution: `[num_states]`.
            time_limit: steps after which an episode is truncated, or None.
        """
        listed = entries.from_function(successors, num_states, num_actions)
        return cls._from(listed, initial_distribution, time_limit)

    @classmethod
    def from_padded(
        cls,
        probability: ArrayLike,
        next_state: ArrayLike,
        reward: ArrayLike,
        terminated: ArrayLike,
        *,
        initial_distribution: ArrayLike,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build the model from arrays `[num_states, num_actions, K]`; probability 0 marks padding.

        Sums of probabilities are not rescaled.
        """
        arrays = (np.asarray(a) for a in (probability, next_state, reward, terminated))
        listed = entries.from_padded(Padded(*arrays))
        return cls(
            **listed._asdict(),
            initial_distribution=np.asarray(initial_distribution, dtype=np.float64),
            time_limit=time_limit,
        )

    @classmethod
    def from_arrays(
        cls,
        transition: ArrayLike,
        reward: ArrayLike,
        *,
        first_axis: str | None = None,
        terminal_states: Sequence[int] = (),
        initial_distribution: ArrayLike | None = None,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build a textbook MDP from a transition array and rewards.

        Args:
            transition: P(s' | s, a), `[num_states, num_actions, num_states]` as in quantecon, or
                `[num_actions, num_states, num_states]`, one matrix per action, as in many books.
            reward: r(s) `[num_states]`, r(s, a) `[num_states, num_actions]`, or r(s, a, s') in the
                shape of `transition`, its axes in the same order.
            first_axis: of `transition`, "state" or "action". By default "state"; it is required
                where there are as many actions as states and the two readings differ.
            terminal_states: entering one of these ends the episode.
            initial_distribution: `[num_states]`; by default uniform over the states that are not
                terminal.
            time_limit: steps after which an episode is truncated, or None.

        Raises:
            ValueError: the arrays do not describe an MDP, or can be read in two ways.
        """
        given = np.asarray(transition, dtype=np.float64)
        num_states = given.shape[-1] if given.ndim else 0
        terminal = _terminal(num_states, terminal_states)
        listed = entries.from_dense(
            given, np.asarray(reward, dtype=np.float64), terminal, first_axis=first_axis
        )
        if initial_distribution is None:
            initial_distribution = _uniform(~terminal)
        return cls._from(listed, initial_distribution, time_limit)

    @classmethod
    def from_sparse(
        cls,
        transition: Any,
        reward: Any,
        *,
        terminal_states: Sequence[int] = (),
        initial_distribution: ArrayLike | None = None,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build a textbook MDP from scipy's sparse matrices.

        Args:
            transition: P(s' | s, a): a list with one matrix `[num_states, num_states]` per action,
                or one matrix `[num_states * num_actions, num_states]` with the row
                state * num_actions + action. Entries that are stored twice are added.
            reward: r(s) `[num_states]`, r(s, a) `[num_states, num_actions]`, or r(s, a, s') in the
                form of `transition`, where what is not stored is 0.
            terminal_states: entering one of these ends the episode.
            initial_distribution: `[num_states]`; by default uniform over the states that are not
                terminal.
            time_limit: steps after which an episode is truncated, or None.
        """
        matrix, num_states, num_actions = entries.stacked(transition, "transition")
        if entries.is_sparse(reward):
            reward = entries.stacked(reward, "reward", like=matrix.shape)[0]
        terminal = _terminal(num_states, terminal_states)
        listed = entries.from_sparse(
            matrix, reward, terminal, num_states=num_states, num_actions=num_actions
        )
        if initial_distribution is None:
            initial_distribution = _uniform(~terminal)
        return cls._from(listed, initial_distribution, time_limit)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays to an .npz file, from which `load` builds the same model."""
        storage.write_fields(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TabularMDP:
        """Build the model from an .npz file; nothing in it can be executed.

        It holds what `save` wrote, or the arrays `transition` and `reward` of `from_arrays` with
        any of `terminal_states`, `initial_distribution`, `time_limit` and `first_axis`.

        Raises:
            ValueError: the file cannot be read, or does not describe an MDP.
        """
        arrays, is_dense = storage.read_fields(path)
        return cls.from_arrays(**arrays) if is_dense else cls(**arrays)

    @classmethod
    def _from(
        cls, listed: Entries, initial_distribution: ArrayLike, time_limit: int | None
    ) -> TabularMDP:
        """Build the model, with sums in single precision rescaled to one."""
        start = np.asarray(initial_distribution, dtype=np.float64)
        if start.ndim == 1 and start.size:
            start = entries.rescaled(start, np.array([0, start.size]))
        probability = np.asarray(listed.probability, dtype=np.float64)
        listed = listed._replace(probability=entries.rescaled(probability, listed.row_start))
        return cls(**listed._asdict(), initial_distribution=start, time_limit=time_limit)


_DTYPES = {
    "probability": np.float64,
    "next_state": np.int32,
    "reward": np.float64,
    "terminated": np.bool_,
    "row_start": np.int32,
    "initial_distribution": np.float64,
}


def check_limit(limit: int) -> int:
    """Return a time limit as an int.

    Raises:
        ValueError: it is not a whole number of steps, at least 1.
    """
    try:
        steps: int = converted(limit, int)
    except Unfit:
        steps = 0
    if not 1 <= steps < 2**63:
        raise ValueError(f"time limit: expected a whole number of steps >= 1, got {limit!r}")
    return steps


def _own(given: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return a read-only array that nobody else can write: a copy, unless it is one already."""
    array: NDArray[Any] = np.asarray(given)
    if array.dtype == dtype and array.flags.owndata and not array.flags.writeable:
        return array
    array = np.array(array, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


def _terminal(num_states: int, terminal_states: Sequence[int]) -> BoolArray:
    states = np.asarray(list(terminal_states))
    if states.size and (states.dtype.kind not in "iu" or not _all_in(states, num_states)):
        raise ValueError(
            f"building a TabularMDP: terminal_states must be integers in [0, {num_states}), got "
            f"{states.tolist()!r}"
        )
    terminal = np.zeros(num_states, dtype=np.bool_)
    terminal[states.astype(np.int64)] = True
    return terminal


def _all_in(indices: NDArray[Any], size: int) -> bool:
    return bool(((indices >= 0) & (indices < size)).all())


def _uniform(states: BoolArray) -> FloatArray:
    if states.size and not states.any():
        raise ValueError(
            "building a TabularMDP: every state is terminal, so no episode can start; pass fewer "
            "terminal_states, or an initial_distribution"
        )
    weight = np.where(states, 1.0, 0.0)
    return np.asarray(weight / max(1.0, weight.sum()))


def _check_form(mdp: TabularMDP) -> None:
    """Check the shapes, and whatever int32 cannot hold."""
    shape = np.shape(mdp.probability)
    for name in ("probability", "next_state", "reward", "terminated"):
        if np.shape(getattr(mdp, name)) != shape or len(shape) != 1:
            raise ValueError(
                f"building a TabularMDP: {name} must have the shape [num_entries] = {shape}, "
                f"got {np.shape(getattr(mdp, name))}"
            )
    start = np.shape(mdp.initial_distribution)
    num_rows = len(np.asarray(mdp.row_start)) - 1
    num_states, rest = divmod(num_rows, max(1, mdp.num_actions))
    if mdp.num_actions < 1 or rest or num_rows < 1:
        raise ValueError(
            "building a TabularMDP: row_start must have num_states * num_actions + 1 entries, got "
            f"{num_rows + 1} with num_actions = {mdp.num_actions}"
        )
    if start != (num_states,):
        raise ValueError(
            f"building a TabularMDP: initial_distribution must have shape {(num_states,)}, "
            f"got {start}"
        )
    if max(shape[0], num_rows) > _MOST:
        raise ValueError(
            f"building a TabularMDP: expected at most {_MOST:,} rows and entries, got "
            f"{num_rows:,} and {shape[0]:,}"
        )
    bounds = np.asarray(mdp.row_start)
    if bounds[0] != 0 or bounds[-1] != shape[0] or (np.diff(bounds.astype(np.int64)) < 1).any():
        raise ValueError(
            f"building a TabularMDP: row_start must rise from 0 to num_entries = {shape[0]}, with "
            "at least one entry in each row"
        )
    inside = (np.asarray(mdp.next_state) >= 0) & (np.asarray(mdp.next_state) < num_states)
    _require(mdp, inside, mdp.next_state, f"next_state must be in [0, {num_states})")


def _check_values(mdp: TabularMDP) -> None:
    probability = mdp.probability
    _require(mdp, probability >= 0, probability, "probabilities must be >= 0")
    total = np.add.reduceat(probability, mdp.row_start[:-1])
    sums_to_one = np.abs(total - 1) <= ROUNDING
    _require_rows(mdp, sums_to_one, total, "the probabilities of a row must sum to 1")
    _require(mdp, np.isfinite(mdp.reward), mdp.reward, "rewards must be finite")
    start = mdp.initial_distribution
    if not ((start >= 0).all() and abs(start.sum() - 1) <= ROUNDING):
        raise ValueError(
            "building a TabularMDP: initial_distribution must be >= 0 and sum to 1, got the sum "
            f"{start.sum():.12g} and the minimum {start.min():.12g}"
        )


def _require(mdp: TabularMDP, valid: BoolArray, values: NDArray[Any], expected: str) -> None:
    """Raise ValueError naming the state and action of the first entry that is not valid."""
    if not valid.all():
        at = int(np.argmin(valid))
        row = int(np.searchsorted(mdp.row_start, at, side="right")) - 1
        raise _fault(mdp, row, expected, values[at], int(np.count_nonzero(~valid)))


def _require_rows(mdp: TabularMDP, valid: BoolArray, values: FloatArray, expected: str) -> None:
    """Raise ValueError naming the first state and action that is not valid."""
    if not valid.all():
        row = int(np.argmin(valid))
        raise _fault(mdp, row, expected, values[row], int(np.count_nonzero(~valid)))


def _fault(mdp: TabularMDP, row: int, expected: str, got: float, count: int) -> ValueError:
    state, action = divmod(row, mdp.num_actions)
    return ValueError(
        f"building a TabularMDP: {expected}, got {got:.12g} at state {state}, action {action} "
        f"({count} such entries in all)"
    )
