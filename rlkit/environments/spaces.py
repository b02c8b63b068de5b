"""Which spaces agents support, and which wrapper turns another space into one of these."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit.errors import UsageError

AnySpace = spaces.Space[Any]

# Up to this many combinations of discrete parts, the advice is one Discrete space.
_MOST_OBSERVATIONS = 100_000
_MOST_ACTIONS = 10_000
# Up to this many numbers, the advice is one flat observation.
_MOST_ENTRIES = 1_000_000


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


def require_supported(name: str, observation_space: AnySpace, action_space: AnySpace) -> None:
    """Reject spaces that no agent supports, with the wrapper to use in the message."""
    for role, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, (spaces.Box, spaces.Discrete)):
            advice = observation_advice(space) if role == "observation" else action_advice(space)
            raise UsageError(
                f"{name} has the {role} space {_short(space)}; rlkit supports Discrete and Box. "
                f"Wrap it: {advice}. Then name a function that returns the wrapped environment."
            )


def observation_advice(space: AnySpace) -> str:
    """Return the wrapper that makes observations Discrete or Box, with `env` for the original."""
    parts = _discrete_parts(space, "o")
    if parts is not None and _count(parts) <= _MOST_OBSERVATIONS:
        sizes = tuple(size for _, _, size in parts)
        index = f"np.ravel_multi_index({_digits(space, parts)}, {_tuple(sizes)})"
        return (
            f"gymnasium.wrappers.TransformObservation(env, lambda o: int({index}), "
            f"gymnasium.spaces.Discrete({_count(parts)})) gives one number for each combination"
        )
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
    parts = _discrete_parts(space, "a")
    flat = isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) or (
        isinstance(space, spaces.Tuple)
        and all(isinstance(part, spaces.Discrete) for part in space.spaces)
    )
    if parts is None or not flat or _count(parts) > _MOST_ACTIONS:
        number = f" of its {_count(parts):,} actions" if parts else " of this space"
        return (
            "with a gymnasium.ActionWrapper of your own, whose action_space is Discrete or Box and "
            f"whose action() returns one{number}"
        )
    sizes = _tuple(tuple(size for _, _, size in parts))
    starts = tuple(start for _, start, _ in parts)
    digits = f"np.unravel_index(a, {sizes})"
    if any(starts):
        digits = f"np.add({digits}, {_tuple(starts)})"
    if isinstance(space, spaces.Tuple):
        action = f"tuple(map(int, {digits}))"
    else:
        action = f"np.array({digits}, {str(space.dtype)!r})"
        if len(space.shape or ()) > 1:
            action += f".reshape{space.shape}"
    return (
        f"gymnasium.wrappers.TransformAction(env, lambda a: {action}, "
        f"gymnasium.spaces.Discrete({_count(parts)})) gives one number for each combination"
    )


def _discrete_parts(space: AnySpace, path: str) -> list[tuple[str, int, int]] | None:
    """Return (expression, start, size) of each discrete part, or None if there are others."""
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)) and space.dtype == np.uint64:
        element = "int({})"  # NumPy takes no such indices
    else:
        element = "{}"
    if isinstance(space, spaces.Discrete):
        return [(element.format(path), int(space.start), int(space.n))]
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        indices = (", ".join(map(str, index)) for index in np.ndindex(space.shape))
        places = [element.format(f"{path}[{index}]") for index in indices]
        sizes, starts = [2] * len(places), [0] * len(places)
        if isinstance(space, spaces.MultiDiscrete):
            sizes, starts = np.ravel(space.nvec).tolist(), np.ravel(space.start).tolist()
        return list(zip(places, starts, sizes, strict=True)) or None
    if isinstance(space, spaces.Tuple):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(space.spaces)]
    elif isinstance(space, spaces.Dict):
        children = [(f"{path}[{key!r}]", child) for key, child in space.spaces.items()]
    else:
        return None
    parts: list[tuple[str, int, int]] = []
    for place, child in children:
        inner = _discrete_parts(child, place)
        if inner is None:
            return None
        parts += inner
    return parts or None


def _digits(space: AnySpace, parts: list[tuple[str, int, int]]) -> str:
    """Return an expression of all parts of an observation `o`, each counted from 0."""
    starts = tuple(start for _, start, _ in parts)
    nested = isinstance(space, spaces.Dict) or (
        isinstance(space, spaces.Tuple)
        and not all(isinstance(part, spaces.Discrete) for part in space.spaces)
    )
    if nested or any(place.startswith("int(") for place, _, _ in parts):
        each = [f"{place} - {start}" if start else place for place, start, _ in parts]
        return f"({', '.join(each)},)"
    digits = "np.ravel(o)" if len(space.shape or ()) > 1 else "o"
    return f"np.subtract({digits}, {_tuple(starts)})" if any(starts) else digits


def _count(parts: list[tuple[str, int, int]]) -> int:
    return math.prod(size for _, _, size in parts)


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
