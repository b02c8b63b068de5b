"""Segments of trajectories: recording the latest steps, and drawing pairs of segments from them.

A segment is L steps of one episode. Where the episode terminates before, the segment is shorter and
its missing steps count as steps of reward 0, as they do in the environment's return. So segments of
an episode that fails early can be worse than others even if every step is rewarded alike.

A truncated episode would have continued: a segment that its time limit cuts short says nothing
about the missing steps, so none is drawn there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State, Transition
from rlkit.environments.views.actions import ActionLayout

Array = NDArray[Any]


class Segments(NamedTuple):
    """Segments with any leading axes [...]; steps after the end are zero."""

    obs: Array  # [..., L, *observation]
    actions: Array  # [..., L, *action]
    rewards: Array  # [..., L], of the environment, float64
    lengths: Array  # [...], steps until the end or L, int64

    def at(self, index: Any) -> Segments:
        """Return some of the segments, by an index of the leading axes."""
        return Segments(*(part[index] for part in self))

    @property
    def is_step(self) -> Array:
        """Whether each step was taken, bool [..., L]."""
        steps: Array = np.arange(self.rewards.shape[-1]) < self.lengths[..., None]
        return steps


def no_segments(
    observation_space: spaces.Space[Any], layout: ActionLayout, length: int, *leading: int
) -> Segments:
    """Return zeros for segments of some spaces."""
    obs_shape = observation_space.shape or ()
    return Segments(
        np.zeros((*leading, length, *obs_shape), observation_space.dtype),
        np.zeros((*leading, length, *layout.shape), layout.dtype),
        np.zeros((*leading, length)),
        np.zeros(leading, dtype=np.int64),
    )


class Recorder:
    """The latest C steps of every environment, from which segments are drawn.

    Args:
        num_seeds: S.
        num_envs: N.
        num_steps: C.
        observation_space: of one environment.
        layout: of its actions.
        keep_ends: whether the observation after each step is recorded as well.
    """

    def __init__(
        self,
        num_seeds: int,
        num_envs: int,
        num_steps: int,
        observation_space: spaces.Space[Any],
        layout: ActionLayout,
        *,
        keep_ends: bool = False,
    ) -> None:
        grid = (num_seeds, num_steps, num_envs)
        self._steps = {
            "obs": np.zeros((*grid, *(observation_space.shape or ())), observation_space.dtype),
            "actions": np.zeros((*grid, *layout.shape), layout.dtype),
            "rewards": np.zeros(grid),
            "terminated": np.zeros(grid, dtype=np.bool_),
            "is_last": np.zeros(grid, dtype=np.bool_),
        }
        if keep_ends:
            self._steps["next_obs"] = np.zeros_like(self._steps["obs"])
        self._num_steps, self._count = num_steps, 0

    def add(self, transition: Transition) -> None:
        """Record one step of every environment."""
        t = self._count % self._num_steps
        self._steps["obs"][:, t] = transition.obs
        self._steps["actions"][:, t] = transition.action
        self._steps["rewards"][:, t] = transition.reward
        self._steps["terminated"][:, t] = transition.terminated
        self._steps["is_last"][:, t] = transition.terminated | transition.truncated
        if "next_obs" in self._steps:
            self._steps["next_obs"][:, t] = transition.next_obs
        self._count += 1

    def draw(self, s: int, rng: np.random.Generator, number: int, length: int) -> Segments:
        """Draw pairs of different segments of one seed; see `draw_with_ends`."""
        return self.draw_with_ends(s, rng, number, length)[0]

    def draw_with_ends(
        self, s: int, rng: np.random.Generator, number: int, length: int
    ) -> tuple[Segments, Array | None]:
        """Draw pairs of different segments of one seed, each as likely as any other.

        Args:
            s: the position of the seed.
            rng: draws them.
            number: of pairs, P.
            length: L.

        Returns:
            [P, 2], and the observation after the last step of each if they are recorded.

        Raises:
            ValueError: there are fewer than two segments of that length.
        """
        kept = min(self._count, self._num_steps)
        order = (self._count - kept + np.arange(kept)) % self._num_steps
        steps = {name: values[s, order] for name, values in self._steps.items()}
        starts, lengths = segment_starts(steps["terminated"], steps["is_last"], length)
        is_cut = kept < length or bool((steps["is_last"] & ~steps["terminated"]).any())
        # Where only segments that terminated fit, none would show an episode that goes on.
        fitting = 0 if is_cut and not (lengths == length).any() else len(starts)
        if fitting < 2:
            raise ValueError(
                f"the latest {kept:,} steps of each environment hold {fitting} segments of "
                f"{length} steps, and a comparison needs two: choose a smaller segment_length "
                "(--segment-length), or larger collect_steps (--collect-steps); segments do not "
                "reach past a time limit"
            )
        first = rng.integers(len(starts), size=number)
        second = (first + rng.integers(1, len(starts), size=number)) % len(starts)
        chosen = np.stack([first, second], axis=1)
        (t, n), own = np.moveaxis(starts[chosen], -1, 0), lengths[chosen]
        offsets = np.minimum(np.arange(length), own[..., None] - 1)
        picked = {
            name: steps[name][t[..., None] + offsets, n[..., None]]
            for name in ("obs", "actions", "rewards")
        }
        segments = Segments(**picked, lengths=own)
        missing = ~segments.is_step
        for part in (segments.obs, segments.actions, segments.rewards):
            part[missing] = 0
        ends = steps["next_obs"][t + own - 1, n] if "next_obs" in steps else None
        return segments, ends

    def state_dict(self) -> State:
        state: State = {name: steps.copy() for name, steps in self._steps.items()}
        return {**state, "count": np.full(len(self._steps["rewards"]), self._count)}

    def load_state_dict(self, state: State) -> None:
        self._count = int(state["count"][0])
        for name, steps in self._steps.items():
            steps[...] = state[name]


def segment_starts(terminated: Array, is_last: Array, length: int) -> tuple[Array, Array]:
    """Return where segments may start, and their numbers of steps.

    Args:
        terminated: bool [T, N].
        is_last: bool [T, N], whether an episode ended after this step for any reason.
        length: L.

    Returns:
        steps and environments (t, n) of the starts, [M, 2]; the steps of each segment, [M]: L, or
        fewer where the episode terminates before.
    """
    num_steps, num_envs = is_last.shape
    end = np.full(num_envs, num_steps)  # of the episode of each environment; T = not recorded
    starts, lengths = [], []
    for t in range(num_steps - 1, -1, -1):
        end = np.where(is_last[t], t, end)
        terminates = (end < num_steps) & terminated[np.minimum(end, num_steps - 1), range(num_envs)]
        steps = np.minimum(end - t + 1, length)
        whole = end - t + (end < num_steps) >= length
        (allowed,) = np.nonzero(whole | terminates)
        starts.append(np.stack([np.full(len(allowed), t), allowed], axis=1))
        lengths.append(steps[allowed])
    return np.concatenate(starts[::-1]), np.concatenate(lengths[::-1])


def joined(parts: Sequence[Segments], axis: int) -> Segments:
    """Return segments joined along one of their leading axes."""
    return Segments(*(np.concatenate(arrays, axis=axis) for arrays in zip(*parts, strict=True)))
