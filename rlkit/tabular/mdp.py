"""A finite Markov decision process whose every probability is known.

The model lists the successors of each state and action, padded to a common length K. The same
arrays serve a planner (sums over successors) and a simulator (draws one successor):

    probability[s, a, k]   of successor k when action a is taken in state s
    next_state[s, a, k]    the state of successor k
    reward[s, a, k]        the reward of the transition
    terminated[s, a, k]    whether the episode ends there

States and actions are indices from 0. Where an environment's `Discrete` space starts elsewhere,
index = observation - observation_space.start, and the same for actions.

Two successors of one state and action may be the same state (a slip into a wall and a step against
it): both entries are kept, and every sum adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rlkit.options import Unfit, converted

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# (probability, next_state, reward, terminated)
Successor = tuple[float, int, float, bool]

# A sum of probabilities further from one than ROUNDING, but not than SINGLE_PRECISION, comes from a
# table in single precision and is rescaled when it is read; any other is a mistake in the table.
ROUNDING = 1e-9
SINGLE_PRECISION = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularMDP:
    """The arrays of a finite MDP, checked on construction and read-only afterwards.

    Args:
        probability: `[num_states, num_actions, K]`, each row sums to one; 0 marks padding.
        next_state: `[num_states, num_actions, K]`, integers in `[0, num_states)`.
        reward: `[num_states, num_actions, K]`, finite.
        terminated: `[num_states, num_actions, K]`, True where the episode ends.
        initial_distribution: `[num_states]`, of the first state, sums to one.
        time_limit: steps after which an episode is truncated, or None for no limit.

    Raises:
        ValueError: if the arrays do not describe an MDP; the message names the state and action.
    """

    probability: FloatArray
    next_state: IntArray
    reward: FloatArray
    terminated: BoolArray
    initial_distribution: FloatArray
    time_limit: int | None = None

    def __post_init__(self) -> None:
        if np.asarray(self.next_state).dtype.kind not in "iu":
            raise ValueError(
                "building a TabularMDP: next_state must hold integers, got dtype "
                f"{np.asarray(self.next_state).dtype}"
            )
        for name, dtype in _DTYPES.items():
            # A copy, so that nobody can change a model that was already checked.
            array: NDArray[Any] = np.array(getattr(self, name), dtype=dtype, order="C")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        _check_arrays(self)
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", check_limit(self.time_limit))

    @property
    def num_states(self) -> int:
        return int(self.probability.shape[0])

    @property
    def num_actions(self) -> int:
        return int(self.probability.shape[1])

    @cached_property
    def expected_reward(self) -> FloatArray:
        """Return E[R | s, a], `[num_states, num_actions]`."""
        return np.asarray((self.probability * self.reward).sum(axis=-1))

    @cached_property
    def continuation(self) -> sparse.csr_array:
        """Return P(S' = s', not terminated | s, a), `[num_states * num_actions, num_states]`.

        Row `s * num_actions + a` sums to one minus the probability that the episode ends. Every
        stored entry is positive; equal successors are summed.
        """
        state, action, _ = continues = np.nonzero((self.probability > 0) & ~self.terminated)
        rows = state * self.num_actions + action
        shape = (self.num_states * self.num_actions, self.num_states)
        return sparse.csr_array(
            (self.probability[continues], (rows, self.next_state[continues])), shape=shape
        )

    @cached_property
    def may_end(self) -> BoolArray:
        """Return whether action a in state s can end the episode, `[num_states, num_actions]`."""
        return np.asarray(((self.probability > 0) & self.terminated).any(axis=-1))

    @cached_property
    def may_reward(self) -> BoolArray:
        """Return whether action a in state s can give a reward, `[num_states, num_actions]`."""
        return np.asarray(((self.probability > 0) & (self.reward != 0)).any(axis=-1))

    @classmethod
    def from_successors(
        cls,
        table: Sequence[Sequence[Sequence[Successor]]],
        *,
        initial_distribution: ArrayLike,
        time_limit: int | None = None,
    ) -> TabularMDP:
        """Build the model from `table[s][a] = [(probability, next_state, reward, terminated), ..]`.

        The order of the successors is kept. Padding repeats the last one with probability 0, so
        that a sampler that passes the end of a row by rounding still draws a listed successor.
        """
        counts = {(s, a): len(row) for s, rows in enumerate(table) for a, row in enumerate(rows)}
        widths = {len(rows) for rows in table}
        if len(widths) != 1 or 0 in widths or 0 in counts.values():
            raise ValueError(
                "building a TabularMDP: every state needs the same number of actions and every "
                f"action at least one successor, got {sorted(widths)} actions per state and no "
                f"successor for (state, action) {[sa for sa, n in counts.items() if n == 0][:5]}"
            )
        longest = max(counts.values())
        padded = [
            [[*row] + [(0.0, *row[-1][1:])] * (longest - len(row)) for row in rows]
            for rows in table
        ]

        def field(index: int, dtype: Any) -> NDArray[Any]:
            values = [[[entry[index] for entry in row] for row in rows] for rows in padded]
            return np.array(values, dtype=dtype)

        return cls(
            probability=_rescaled(field(0, np.float64)),
            next_state=field(1, np.int64),
            reward=field(2, np.float64),
            terminated=field(3, np.bool_),
            initial_distribution=_rescaled(np.asarray(initial_distribution, dtype=np.float64)),
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
        dense, rewards = _state_first(
            np.asarray(transition, dtype=np.float64),
            np.asarray(reward, dtype=np.float64),
            first_axis,
        )
        num_states, num_actions, _ = shape = dense.shape
        if rewards.shape not in ((num_states,), (num_states, num_actions), shape):
            raise ValueError(
                f"building a TabularMDP: reward must have shape {(num_states,)}, "
                f"{(num_states, num_actions)} or {shape}, got {rewards.shape}"
            )
        rewards = np.broadcast_to(rewards.reshape(rewards.shape + (1,) * (3 - rewards.ndim)), shape)
        terminal = np.zeros(num_states, dtype=np.bool_)
        terminal[list(terminal_states)] = True
        if initial_distribution is None:
            weight = np.where(terminal, 0.0, 1.0)
            initial_distribution = weight / max(1.0, weight.sum())

        counts = np.count_nonzero(dense, axis=-1)[..., None]
        slots = np.arange(max(1, int(counts.max())))
        # The stable sort brings the successors of positive probability to the front, by state.
        order = np.argsort(dense == 0, axis=-1, kind="stable")
        next_state = np.take_along_axis(order, np.minimum(slots, np.maximum(counts, 1) - 1), -1)
        probability = np.take_along_axis(dense, next_state, axis=-1)
        return cls(
            probability=_rescaled(np.where(slots < counts, probability, 0.0)),
            next_state=next_state,
            reward=np.take_along_axis(rewards, next_state, axis=-1),
            terminated=terminal[next_state],
            initial_distribution=_rescaled(np.asarray(initial_distribution, dtype=np.float64)),
            time_limit=time_limit,
        )


_DTYPES = {
    "probability": np.float64,
    "next_state": np.int64,
    "reward": np.float64,
    "terminated": np.bool_,
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


def _rescaled(probability: FloatArray) -> FloatArray:
    """Rescale the rows of a table in single precision to sum to one; keep all other rows."""
    total = probability.sum(axis=-1, keepdims=True)
    error = np.abs(total - 1.0)
    scale = np.where((error > ROUNDING) & (error < SINGLE_PRECISION), total, 1.0)
    return np.asarray(probability / scale)


def _check_arrays(mdp: TabularMDP) -> None:
    shape = mdp.probability.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"building a TabularMDP: probability must be [num_states, num_actions, K], got {shape}"
        )
    for name in ("next_state", "reward", "terminated"):
        if getattr(mdp, name).shape != shape:
            raise ValueError(
                f"building a TabularMDP: {name} must have the shape of probability, {shape}, "
                f"got {getattr(mdp, name).shape}"
            )
    if mdp.initial_distribution.shape != shape[:1]:
        raise ValueError(
            f"building a TabularMDP: initial_distribution must have shape {shape[:1]}, "
            f"got {mdp.initial_distribution.shape}"
        )
    _require(mdp.probability >= 0, mdp.probability, "probabilities must be >= 0")
    total = mdp.probability.sum(axis=-1)
    _require(np.abs(total - 1) <= ROUNDING, total, "the probabilities of a row must sum to 1")
    inside = (mdp.next_state >= 0) & (mdp.next_state < shape[0])
    _require(inside, mdp.next_state, f"next_state must be in [0, {shape[0]})")
    _require(np.isfinite(mdp.reward), mdp.reward, "rewards must be finite")
    start = mdp.initial_distribution
    if not ((start >= 0).all() and abs(start.sum() - 1) <= ROUNDING):
        raise ValueError(
            "building a TabularMDP: initial_distribution must be >= 0 and sum to 1, got the sum "
            f"{start.sum():.12g} and the minimum {start.min():.12g}"
        )


def _require(valid: BoolArray, values: NDArray[Any], expected: str) -> None:
    """Raise ValueError naming the first state and action whose value is not valid."""
    if not valid.all():
        at = np.argwhere(~valid)[0]
        raise ValueError(
            f"building a TabularMDP: {expected}, got {values[tuple(at)]:.12g} at state {at[0]}, "
            f"action {at[1]} ({np.count_nonzero(~valid)} such entries in all)"
        )
