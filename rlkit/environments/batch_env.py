"""The BatchEnv contract and its adapter for Gymnasium environments.

A BatchEnv is a grid of environments [S, N]: N copies for each of S seeds. Agents count actions and
discrete observations from 0; a `Discrete(n, start=k)` space is shifted here and nowhere else.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import ActionMasks, State

Array = NDArray[Any]


class BatchStep(NamedTuple):
    """The result of one step of a BatchEnv; every array starts with [S, N].

    A `Transition` has fields of the same names.
    """

    reward: Array  # float64
    terminated: Array  # bool: the task is over, nothing follows
    truncated: Array  # bool: the episode was cut off, for instance by a time limit
    next_obs: Array  # the true successor of this transition
    following_obs: Array  # to act on next: next_obs, or the first one of the next episode


def masks_of(env: object) -> Array | None:
    """Return the action masks of the observations to act on next, or None where none are used.

    Such a grid has the attributes `action_masks` and, of the true successors of the last step,
    `next_action_masks`: bool [S, N, choices].
    """
    masks: Array | None = getattr(env, "action_masks", None)
    return masks


def masks_around(env: object, before: Array) -> ActionMasks:
    """Return the masks around the last step, given those before it."""
    return ActionMasks(before, getattr(env, "next_action_masks", before))


class BatchEnv(Protocol):
    """A grid [S, N] of environments that reset themselves in the step that ends an episode.

    With `autoreset=False` (used for evaluation) an environment whose episode has ended stays as it
    is: reward 0, both flags False, and `ended` True.
    """

    num_seeds: int
    num_envs: int

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one environment."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one environment."""

    @property
    def ended(self) -> Array:
        """Where the only episode is over, bool [S, N]; all False when resetting by itself.

        It is the environment's own array: with `autoreset=False`, setting an entry to True ends
        that episode where it is.
        """

    def reset(self) -> Array:
        """Start episode 0 everywhere and return the observations [S, N, ...]."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Act everywhere; return a BatchStep, or a plain tuple of its fields in its order.

        A batched twin knows nothing of rlkit, so it returns a plain tuple.
        """

    def state_dict(self) -> State:
        """Return everything that changes; each entry has a leading seed axis."""

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""

    def close(self) -> None:
        """Release what the environments hold."""
