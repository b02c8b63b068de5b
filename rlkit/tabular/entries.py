"""Successors as flat arrays, from lists, padded arrays, dense arrays, sparse matrices, functions.

Entry k is one possible successor of one *row*, which is a pair of state and action; rows are in the
order `state * num_actions + action`, and row i owns the entries `row_start[i]` to
`row_start[i + 1] - 1`. Nothing is checked here that `TabularMDP` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from rlkit.options import Unfit, converted

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
IndexArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

# (probability, next_state, reward, terminated)
Successor = tuple[float, int, float, bool]

# A sum of probabilities further from one than ROUNDING, but not than SINGLE_PRECISION, comes from a
# table in single precision and is rescaled when it is read; any other is a mistake in the table.
ROUNDING = 1e-9
SINGLE_PRECISION = 1e-6


class Entries(NamedTuple):
    """The successors of every row, one after another."""

    probability: NDArray[Any]  # [num_entries]
    next_state: NDArray[Any]  # [num_entries]
    reward: NDArray[Any]  # [num_entries]
    terminated: NDArray[Any]  # [num_entries]
    row_start: NDArray[Any]  # [num_states * num_actions + 1]
    num_actions: int


class Padded(NamedTuple):
    """The successors of some rows, each row padded to the length K of the longest."""

    probability: FloatArray  # [..., K], 0 in the padding
    next_state: IntArray  # [..., K]
    reward: FloatArray  # [..., K]
    terminated: BoolArray  # [..., K]


def from_lists(table: Iterable[Sequence[Sequence[Successor]]]) -> Entries:
    """Return the entries of `table[s][a] = [(probability, next_state, reward, terminated), ..]`."""
    counts: list[int] = []
    widths: set[int] = set()
    columns: tuple[list[Any], ...] = ([], [], [], [])
    for state, rows in enumerate(table):
        widths.add(len(rows))
        for action, row in enumerate(rows):
            if not _are_successors(row):
                raise ValueError(
                    "building a TabularMDP: the successors of an action must be a list of "
                    f"(probability, next_state, reward, terminated), got {row!r} at state "
                    f"{state}, action {action}"
                )
            counts.append(len(row))
            for column, values in zip(columns, zip(*row, strict=True), strict=False):
                column.extend(values)
    if len(widths) != 1 or 0 in widths or 0 in counts:
        width = max(widths, default=1) or 1
        empty = [divmod(i, width) for i, count in enumerate(counts) if count == 0]
        raise ValueError(
            "building a TabularMDP: every state needs the same number of actions and every "
            f"action at least one successor, got {sorted(widths)} actions per state and no "
            f"successor for (state, action) {empty[:5]}"
        )
    probability, next_state, reward, terminated = columns
    return Entries(
        probability=_numbers(probability, "probability"),
        next_state=_exact(next_state, np.int64, "next_state must hold whole numbers"),
        reward=_numbers(reward, "reward"),
        terminated=_exact(terminated, np.bool_, "terminated must be True or False"),
        row_start=_starts(np.array(counts)),
        num_actions=widths.pop(),
    )


def _are_successors(row: Any) -> bool:
    try:
        return all(len(successor) == 4 for successor in row)
    except TypeError:
        return False


def _numbers(values: list[Any], name: str) -> FloatArray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"building a TabularMDP: {name} must hold numbers; {error}") from error


def _exact(values: list[Any], dtype: Any, expected: str) -> NDArray[Any]:
    """Return a list as an array of another type, which must change no value."""
    given: NDArray[Any] = np.array(values)
    if given.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            array = given.astype(dtype)
        if (array == given).all():
            return array
        values = given[array != given].tolist()
    raise ValueError(f"building a TabularMDP: {expected}, got {values[0]!r}")


def from_function(
    successors: Callable[[int, int], Sequence[Successor]], num_states: int, num_actions: int
) -> Entries:
    """Return the entries of a function (state, action) -> its successors."""
    if not callable(successors):
        raise ValueError(
            "building a TabularMDP: successors must be a function (state, action) -> [(probability,"
            f" next_state, reward, terminated), ..], got {successors!r}"
        )
    states, actions = _count("num_states", num_states), _count("num_actions", num_actions)
    return from_lists([_listed(successors(s, a)) for a in range(actions)] for s in range(states))


def _count(name: str, given: Any) -> int:
    try:
        count: int = converted(given, int)
    except Unfit:
        count = 0
    if count < 1:
        raise ValueError(
            f"building a TabularMDP: {name} must be a whole number >= 1, got {given!r}"
        )
    return count


def _listed(given: Any) -> Any:
    """Return what can be gone through once as a list, and else as it is."""
    return list(given) if isinstance(given, Iterator) else given


def from_padded(padded: Padded) -> Entries:
    """Return the entries of arrays `[num_states, num_actions, K]`, without the padding.

    The padding of a row is what follows its last positive probability.
    """
    shape = np.shape(padded.probability)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"building a TabularMDP: probability must be [num_states, num_actions, K], got {shape}"
        )
    for name in ("next_state", "reward", "terminated"):
        got = np.shape(getattr(padded, name))
        if got != shape:
            raise ValueError(
                f"building a TabularMDP: {name} must have the shape of probability, {shape}, "
                f"got {got}"
            )
    slots = np.arange(shape[2])
    probability = np.asarray(padded.probability)
    counts = np.where(probability != 0, slots + 1, 1).max(axis=-1)
    listed = slots < counts[..., None]
    values = {name: np.asarray(array)[listed] for name, array in padded._asdict().items()}
    return Entries(**values, row_start=_starts(counts.ravel()), num_actions=shape[1])


def from_dense(
    transition: FloatArray, reward: FloatArray, terminal: BoolArray, *, first_axis: str | None
) -> Entries:
    """Return the entries of P(s' | s, a) in a dense array; see `TabularMDP.from_arrays`."""
    dense, rewards = _state_first(transition, reward, first_axis)
    num_states, num_actions, _ = shape = dense.shape
    if rewards.shape not in ((num_states,), (num_states, num_actions), shape):
        raise ValueError(
            f"building a TabularMDP: reward must have shape {(num_states,)}, "
            f"{(num_states, num_actions)} or {shape}, got {rewards.shape}"
        )
    rewards = np.broadcast_to(rewards.reshape(rewards.shape + (1,) * (3 - rewards.ndim)), shape)
    listed = dense != 0
    # A row of zeros keeps one entry, so that the message about its sum can name it.
    listed[..., 0] |= ~listed.any(axis=-1)
    next_state = np.nonzero(listed)[2]
    return Entries(
        probability=dense[listed],
        next_state=next_state,
        reward=rewards[listed],
        terminated=terminal[next_state],
        row_start=_starts(listed.sum(axis=-1).ravel()),
        num_actions=num_actions,
    )


def from_sparse(
    transition: Any, reward: Any, terminal: BoolArray, *, num_states: int, num_actions: int
) -> Entries:
    """Return the entries of sparse P(s' | s, a); see `TabularMDP.from_sparse`.

    Args:
        transition: `[num_states * num_actions, num_states]`, in compressed rows, sorted, canonical.
        reward: r(s) or r(s, a), dense; or r(s, a, s'), sparse in the shape of `transition`.
    """
    indptr, next_state = transition.indptr, transition.indices
    counts = np.diff(indptr)
    if scipy.sparse.issparse(reward):
        rows = np.repeat(np.arange(counts.size), counts)
        values = np.asarray(scipy.sparse.csr_matrix(reward)[rows, next_state]).ravel()
    else:
        dense = np.asarray(reward, dtype=np.float64)
        if dense.shape not in ((num_states,), (num_states, num_actions)):
            raise ValueError(
                f"building a TabularMDP: reward must have shape {(num_states,)}, "
                f"{(num_states, num_actions)}, or be sparse like the transitions, got {dense.shape}"
            )
        by_row = np.broadcast_to(dense.reshape(num_states, -1), (num_states, num_actions))
        values = np.repeat(by_row.ravel(), counts)
    return Entries(transition.data, next_state, values, terminal[next_state], indptr, num_actions)


def is_sparse(matrix: Any) -> bool:
    """Return whether this is a sparse matrix of scipy, or a list of them."""
    if isinstance(matrix, list | tuple):
        return bool(matrix) and all(scipy.sparse.issparse(one) for one in matrix)
    return bool(scipy.sparse.issparse(matrix))


def stacked(
    given: Any, name: str, *, like: tuple[int, int] | None = None
) -> tuple[scipy.sparse.csr_array, int, int]:
    """Return one matrix `[num_states * num_actions, num_states]`, num_states and num_actions.

    Args:
        given: that matrix, or a list with one `[num_states, num_states]` per action.
        name: for messages.
        like: the shape that the result must have.
    """
    if not is_sparse(given):
        raise ValueError(
            f"building a TabularMDP: {name} must be a sparse matrix of scipy or a list of them, "
            f"got {type(given).__name__}"
        )
    wrong = []
    if isinstance(given, list | tuple):
        num_states = given[0].shape[-1]
        wrong = [one.shape for one in given if one.shape != (num_states, num_states)]
        given = given if not wrong else given[:1]
        matrix = scipy.sparse.vstack([scipy.sparse.csr_array(one) for one in given], format="csr")
        order = np.arange(matrix.shape[0]).reshape(len(given), -1).T.ravel()
        matrix = scipy.sparse.csr_array(matrix[order])
    else:
        matrix = scipy.sparse.csr_array(given, copy=True)
    num_rows, num_states = matrix.shape
    if wrong or num_states < 1 or num_rows % num_states or (like and matrix.shape != like):
        expected = f"{like}" if like else "[num_states * num_actions, num_states]"
        raise ValueError(
            f"building a TabularMDP: {name} must be {expected}, or a list with one square matrix "
            f"per action, got {wrong[0] if wrong else matrix.shape}"
        )
    matrix.sum_duplicates()
    return matrix, num_states, num_rows // num_states


def rescaled(probability: FloatArray, row_start: NDArray[Any]) -> FloatArray:
    """Rescale the rows of a table in single precision to sum to one; keep all other rows."""
    total = np.add.reduceat(probability, row_start[:-1])
    error = np.abs(total - 1.0)
    wrong = (error > ROUNDING) & (error < SINGLE_PRECISION)
    if not wrong.any():
        return probability
    scale = np.where(wrong, total, 1.0)
    return np.asarray(probability / np.repeat(scale, np.diff(row_start)))


def _starts(counts: NDArray[Any]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _state_first(
    transition: FloatArray, reward: FloatArray, first_axis: str | None
) -> tuple[FloatArray, FloatArray]:
    """Return the arrays of `from_arrays` with the state as their first axis."""
    if first_axis not in (None, "state", "action"):
        raise ValueError(
            f'building a TabularMDP: first_axis must be "state" or "action", got {first_axis!r}'
        )
    per_transition = [array for array in (transition, reward) if array.ndim == 3]
    swapped = [np.swapaxes(array, 0, 1) for array in per_transition]
    if first_axis == "action" and transition.ndim == 3:
        transition = np.swapaxes(transition, 0, 1)
        reward = np.swapaxes(reward, 0, 1) if reward.ndim == 3 else reward
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2]:
        remedy = (
            "" if first_axis == "action" else '; for one matrix per action pass first_axis="action"'
        )
        order = (
            "[num_actions, num_states, num_states]"
            if first_axis == "action"
            else ("[num_states, num_actions, num_states]")
        )
        got = per_transition[0].shape if transition.ndim == 3 else transition.shape
        raise ValueError(f"building a TabularMDP: transition must be {order}, got {got}{remedy}")
    if first_axis is None and any(
        one.shape == other.shape and not np.array_equal(one, other, equal_nan=True)
        for one, other in zip(per_transition, swapped, strict=True)
    ):
        raise ValueError(
            f"building a TabularMDP: transition and reward of shape {transition.shape} can be read "
            "as P(s' | s, a) in the order [s, a, s'] or [a, s, s']; pass first_axis=\"state\" for "
            'the first or first_axis="action" for the second'
        )
    return transition, reward
