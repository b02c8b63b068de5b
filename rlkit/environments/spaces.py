"""Which spaces agents support, how they see them, and the wrapper that other spaces need."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.tabular.reading.parts import MOST_COMBINATIONS, PartsIndex, parts_index

AnySpace = spaces.Space[Any]

# Up to this many combinations of discrete parts, the advice is one Discrete space.
_MOST_ACTIONS = 10_000
# Up to this many numbers, the advice is one flat observation.
_MOST_ENTRIES = 1_000_000
_UNBOUNDED = 1e30  # some spaces give the largest number of their type in place of infinity
_COMBINED = f" and, with at most {MOST_COMBINATIONS:,} combinations, spaces made of Discrete parts"


def spaces_of(env: gym.Env[Any, Any], name: str) -> tuple[AnySpace, AnySpace]:
    """Return the observation space and the action space of an environment.

    Args:
        env: need not have been reset.
        name: of the environment, for messages.

    Raises:
        UsageError: one of them is missing, is not a space, or cannot be read.
    """
    return _space_of(env, name, "observation"), _space_of(env, name, "action")


def _space_of(env: gym.Env[Any, Any], name: str, role: str) -> AnySpace:
    advice = (
        f"set self.{role}_space to a gymnasium space, such as gymnasium.spaces.Discrete(4), in "
        "the constructor"
    )
    try:
        space = getattr(env, f"{role}_space")
    except AttributeError as error:
        raise UsageError(f"{name} has no {role}_space before its first reset: {advice}") from error
    except Exception as error:
        raise UsageError(f"{name}: reading its {role}_space raised {error!r}: {advice}") from error
    if not isinstance(space, spaces.Space):
        raise UsageError(
            f"{name} has the {role}_space {space!r}, which is not a gymnasium space: {advice}"
        )
    return space


def bounds_of(space: spaces.Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper bounds of each number of a Box, infinite where there is none."""
    low, high = (np.ravel(side).astype(np.float64) for side in (space.low, space.high))
    return np.where(low > -_UNBOUNDED, low, -np.inf), np.where(high < _UNBOUNDED, high, np.inf)


def seen_by_agents(space: AnySpace) -> AnySpace:
    """Return the space of an environment's observations as agents see it.

    Combinations of discrete parts are numbered: see `rlkit.tabular.reading.parts`.
    """
    index = parts_index(space)
    return space if index is None else spaces.Discrete(index.n)


def require_supported(name: str, observation_space: AnySpace, action_space: AnySpace) -> None:
    """Reject spaces that no agent supports, with the wrapper to use in the message."""
    for role, space in (("observation", observation_space), ("action", action_space)):
        numbered = role == "observation" and parts_index(space) is not None
        if not (numbered or isinstance(space, (spaces.Box, spaces.Discrete))):
            advice = observation_advice(space) if role == "observation" else action_advice(space)
            raise UsageError(
                f"{name} has the {role} space {_short(space)}; rlkit supports Discrete and Box"
                f"{_COMBINED if role == 'observation' else ''}. "
                f"Wrap it: {advice}. Then name a function that returns the wrapped environment."
            )


def observation_advice(space: AnySpace) -> str:
    """Return the wrapper that makes a Box of observations, with `env` for the original."""
    if _can_be_flattened(space):
        return (
            "gymnasium.wrappers.FlattenObservation(env) gives one vector, for agents with networks "
            "such as ppo"
        )
    return (
        "with a gymnasium.ObservationWrapper of your own, whose observation_space is a Box of "
        "fixed shape and whose observation() returns arrays of it; no ready wrapper makes one of "
        f"{type(space).__name__}"
    )


def action_advice(space: AnySpace) -> str:
    """Return the wrapper that makes actions Discrete or Box, with `env` for the original."""
    parts = _combinations(space)
    flat = isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) or (
        isinstance(space, spaces.Tuple)
        and all(isinstance(part, spaces.Discrete) for part in space.spaces)
    )
    if parts is None or not flat or parts.n > _MOST_ACTIONS:
        number = f" of its {parts.n:,} actions" if parts else " of this space"
        return (
            "with a gymnasium.ActionWrapper of your own, whose action_space is Discrete or Box and "
            f"whose action() returns one{number}"
        )
    digits = f"np.unravel_index(a, {_tuple(parts.sizes)})"
    if any(parts.starts):
        digits = f"np.add({digits}, {_tuple(parts.starts)})"
    if isinstance(space, spaces.Tuple):
        action = f"tuple(map(int, {digits}))"
    else:
        action = f"np.array({digits}, {str(space.dtype)!r})"
        if len(space.shape or ()) > 1:
            action += f".reshape{space.shape}"
    return (
        f"gymnasium.wrappers.TransformAction(env, lambda a: {action}, "
        f"gymnasium.spaces.Discrete({parts.n})) gives one number for each combination"
    )


def _combinations(space: AnySpace) -> PartsIndex | None:
    try:
        return PartsIndex(space)
    except ValueError:
        return None


def _tuple(numbers: tuple[int, ...]) -> str:
    same = len(numbers) > 4 and len(set(numbers)) == 1
    return f"({numbers[0]},) * {len(numbers)}" if same else repr(numbers)


def _can_be_flattened(space: AnySpace) -> bool:
    """Return whether FlattenObservation makes a Box of it, of a manageable size."""
    try:
        return (
            0 < spaces.flatdim(space) <= _MOST_ENTRIES
            and space.is_np_flattenable
            and isinstance(spaces.flatten_space(space), spaces.Box)
        )
    except (NotImplementedError, ValueError):
        return False


def _short(space: AnySpace) -> str:
    text = str(space)
    return text if len(text) <= 200 else f"{text[:197]}..."
