"""Copies of one environment: separate objects with equal spaces, closed in the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np

from rlkit.environments.spaces import require_supported, spaces_of
from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.processes.calls import CALLS, CLOSE, CONSTRUCTOR, Abandoned, describe_abandoned
from rlkit.processes.calls import describe as describe_object

Env = gym.Env[Any, Any]
Made = TypeVar("Made")


class Closable(Protocol):
    """Whatever can be closed: an environment, a vector environment, a grid."""

    def close(self) -> object: ...


# Classes whose close did not end, and whether that was reported. Their other copies are not closed,
# which would take as long.
_NEVER_CLOSED: dict[type, bool] = {}
_closing_nothing: list[bool] = []  # not empty: no copy of this process is closed any more


def make_copies(make_env: Callable[[], Env], number: int) -> list[Env]:
    """Call a factory `number` times and return its environments; on a failure they are closed.

    Raises:
        UsageError: a space is missing or not supported; the spaces of the copies differ; two copies
            share an environment; or the factory returned something other than an environment.
    """
    envs: list[Env] = []
    try:
        for _ in range(number):
            env = make_env()
            if not isinstance(env, gym.Env):
                raise UsageError(f"expected a gymnasium.Env from {make_env!r}, got {describe(env)}")
            envs.append(env)
        name = env_name(envs[0])
        require_separate(envs, name)
        first = spaces_of(envs[0], name)
        require_supported(name, *first)
        for env in envs[1:]:
            other = spaces_of(env, name)
            if other != first:
                raise different_spaces(name, first, other)
    except BaseException:
        for env in {id(env): env for env in envs}.values():
            close_env(env, f"environment {env_name(env)}")
        raise
    return envs


def constructed(what: str, make: Callable[[], Made]) -> Made:
    """Return what a user's constructor makes.

    Args:
        what: is being done, for messages: "building ...".
        make: calls the constructor.

    Raises:
        UsageError: it raised anything, or did not return in time.
    """
    try:
        CALLS.begin(CONSTRUCTOR)
        made = make()
        CALLS.end()
    except BaseException as error:
        CALLS.end()
        if isinstance(error, RlkitError) or CALLS.is_interrupt(error):
            raise
        raise UsageError(f"{what} failed: {describe_abandoned(error)}") from error
    return made


def different_spaces(name: str, first: Sequence[object], other: Sequence[object]) -> UsageError:
    """Return the error that two copies have different spaces.

    Args:
        name: of the environment.
        first: the spaces of observations and actions of one copy.
        other: those of another copy.
    """
    return UsageError(
        f"building {name}: its copies have different spaces, {first[0]}, {first[1]} and "
        f"{other[0]}, {other[1]}; all must be equal"
    )


def require_separate(envs: Sequence[Env], name: str) -> None:
    """Reject environments of which two are, wrap or hold the same environment.

    Args:
        envs: the results of several calls of a factory.
        name: of the environment, for the message.
    """
    owner: dict[int, int] = {}
    for copy, env in enumerate(envs):
        for part in _environments_in(env):
            if owner.setdefault(id(part), copy) != copy:
                inside = "" if part is env else f" inside, a {type(part).__name__},"
                raise UsageError(
                    f"{name}: making copies of it returned the same environment{inside} "
                    "each time; return a new one from every call"
                )


def _environments_in(env: Env) -> list[Env]:
    """Return an environment and all environments that it and its wrappers hold in attributes."""
    parts: list[Env] = []
    waiting = [env]
    while waiting:
        part = waiting.pop()
        if not any(part is known for known in parts):
            parts.append(part)
            waiting += [value for value in _attributes(part) if isinstance(value, gym.Env)]
    return parts


def _attributes(env: Env) -> Iterator[Any]:
    """Yield the attributes of an object and of its classes, and the contents of containers."""
    for owner in (env, *type(env).__mro__):
        for value in list(getattr(owner, "__dict__", {}).values()):
            yield value
            if isinstance(value, dict):
                yield from value.values()
            elif isinstance(value, (list, tuple)):
                yield from value


def close_nothing() -> None:
    """Leave all copies of this process open from now on."""
    _closing_nothing.append(True)


def close_env(env: Closable, name: str) -> None:
    """Close an environment; report an exception as a warning only.

    The results are not in doubt then, and an earlier error must not be hidden.
    """
    problem, kind = problem_of_closing(env), _kind_of(env)
    if not _NEVER_CLOSED.get(kind, True):
        _NEVER_CLOSED[kind] = True
        problem = "did not end, so its other copies are not closed"
    if problem is not None:
        warnings.warn(f"closing {name} {problem}", RlkitWarning, stacklevel=3)


def problem_of_closing(env: Closable) -> str | None:
    """Close an environment, unless that of a copy did not end; return what it raised, or None."""
    kind = _kind_of(env)
    if kind in _NEVER_CLOSED or _closing_nothing:
        return None
    try:
        CALLS.begin(CLOSE)
        env.close()
        CALLS.end()
    except BaseException as error:
        CALLS.end()
        if CALLS.is_interrupt(error):
            raise
        if not isinstance(error, Abandoned):
            return f"raised {describe_object(error)}"
        _NEVER_CLOSED[kind] = False
    return None


def _kind_of(env: object) -> type:
    inner = _attribute(env, "unwrapped")  # what a factory returned may be anything
    return type(env if inner is None else inner)


def env_name(env: object) -> str:
    """Return the id under which an environment was registered, or the name of its class."""
    registered = _attribute(_attribute(env, "spec"), "id")
    if isinstance(registered, str):
        return registered
    # Of one copy of a batched environment.
    given = _attribute(_attribute(env, "unwrapped"), "rlkit_name")
    return given if isinstance(given, str) else _kind_of(env).__name__


def _attribute(owner: object, name: str) -> Any:
    """Return an attribute of a user's object; None where there is none or reading it raises."""
    try:
        return getattr(owner, name, None)
    except Exception:  # a property may raise anything
        return None


def describe(value: Any) -> str:
    """Describe a value in a few words, for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{describe_object(value)} of type {type(value).__name__}"
