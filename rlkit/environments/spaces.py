"""Which spaces are supported, and the wrapper that others need."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium import spaces

from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import AnySpace
from rlkit.environments.views.observations import MOST_ENTRIES, seen_by_agents
from rlkit.errors import UsageError


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
    """Reject spaces that are not supported, with the wrapper to use in the message."""
    for role, space in (("observation", observation_space), ("action", action_space)):
        try:
            if role == "observation":
                seen_by_agents(space)
            else:
                ActionLayout(space)
        except (ValueError, NotImplementedError) as error:
            advice = observation_advice(space) if role == "observation" else action_advice(space)
            raise UsageError(
                f"{name} has the {role} space {_short(space)}; rlkit supports Box, Discrete, "
                "MultiDiscrete, MultiBinary, and Tuple and Dict of these, but this has "
                f"{error}. Wrap it: {advice}. Then name a function that returns the wrapped "
                "environment."
            ) from error


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
    """Return the wrapper that makes actions of a supported space, with `env` for the original."""
    return (
        "gymnasium.wrappers.TransformAction(env, func, space), whose space is a supported one, "
        "such as Discrete, and whose func returns for each action of it an action of this "
        f"{type(space).__name__}"
    )


def _can_be_flattened(space: AnySpace) -> bool:
    """Return whether FlattenObservation makes a Box of it, of a manageable size."""
    try:
        return (
            0 < spaces.flatdim(space) <= MOST_ENTRIES
            and space.is_np_flattenable
            and isinstance(spaces.flatten_space(space), spaces.Box)
        )
    except (NotImplementedError, ValueError):
        return False


def _short(space: AnySpace) -> str:
    text = str(space)
    return text if len(text) <= 200 else f"{text[:197]}..."
