"""Find the environment that a user named.

Names are a Gymnasium id, `module:Id`, `path/to/file.py:Class`, a `gymnasium.Env` class or any
callable that returns an environment.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import VectorEnv

from rlkit.environments.environment import Environment
from rlkit.environments.grids.singles import (
    OneOfBatch,
    OneOfVector,
    VectorOfId,
    is_batched,
    makes_vectors,
)
from rlkit.errors import UsageError
from rlkit.fingerprint import identify
from rlkit.spelling import closest
from rlkit.user_code import import_named, run_file

# Entry points by which packages offer environments: id -> a module that registers it when imported.
OFFERED = "rlkit.environments"

EnvLike = str | type[gym.Env[Any, Any]] | Callable[..., gym.Env[Any, Any]]


def find_environment(env: EnvLike, args: Mapping[str, Any] | None = None) -> Environment:
    """Return the environment that a user named.

    Raises:
        UsageError: there is none of that name (with the closest known one), or it cannot be
            trained on.
    """
    environment = locate(env, args)
    environment.probe  # noqa: B018  raises if it cannot be trained on
    environment.settle()
    return environment


def locate(env: EnvLike, args: Mapping[str, Any] | None = None) -> Environment:
    """Return the environment that a user named, without building a copy.

    Raises:
        UsageError: there is none of that name.
    """
    environment = _resolve(env, dict(args or {}))
    again = functools.partial(_find_again, env, dict(args or {}), environment.source_digest)
    return dataclasses.replace(_with_grids(environment), again=again)


def _with_grids(environment: Environment) -> Environment:
    """Return an environment with what makes many copies at once, where the name stands for that."""
    make = environment.constructor
    if is_batched(make):
        one: Callable[..., gym.Env[Any, Any]] = functools.partial(
            OneOfBatch, make, environment.name
        )
    elif makes_vectors(make, environment.args):
        one = functools.partial(OneOfVector, make, environment.name)
    else:
        return environment
    return dataclasses.replace(
        environment, constructor=one, make_grid=make, is_batched=is_batched(make)
    )


def _find_again(env: EnvLike, args: Mapping[str, Any], digest: str) -> Environment:
    """Return the environment that another process found under this name, without probing it."""
    environment = _resolve(env, dict(args))
    environment.require_source(digest)
    return _with_grids(environment)


def _resolve(env: EnvLike, args: dict[str, Any]) -> Environment:
    if not isinstance(env, str):
        if isinstance(env, VectorEnv):
            raise UsageError(
                f"expected what makes environments, got the vector environment {env!r:.80}: give a "
                "function of num_envs that returns one, such as lambda num_envs: MyEnv(num_envs)"
            )
        if not callable(env):
            raise UsageError(
                f"expected an environment's id, class or a function that makes one, got {env!r}"
            )
        name = getattr(env, "__qualname__", type(env).__name__)
        module = getattr(env, "__module__", "__main__")
        return Environment(f"{module}:{name}", args, env, identify(env), None, env)
    head, _, tail = env.rpartition(":")
    if head.endswith(".py"):
        module, content = run_file(Path(head), f"environment {env!r}")
        if tail in gym.registry and not hasattr(module, tail):
            _redirect(gym.registry[tail], Path(head).stem, module)
            return _from_registry(env, tail, args, content)
        return _from_attribute(module, tail, env, args, content)
    if head:
        module = import_named(head, f"environment {env!r}")
        if tail not in gym.registry:
            return _from_attribute(module, tail, env, args, None)
        return _from_registry(env, tail, args, None)
    if not is_registered(env):
        raise _unknown(env)
    own = str(gym.registry[env].entry_point).startswith("gymnasium.")
    return _from_registry(env, env, args, "" if own else None)


def is_registered(env_id: str) -> bool:
    """Return whether Gymnasium knows an id, once the package that offers it is imported."""
    if env_id not in gym.registry:
        for point in entry_points(group=OFFERED, name=env_id):
            point.load()
    return env_id in gym.registry


def _redirect(spec: EnvSpec, name: str, module: ModuleType) -> None:
    """Replace the entry point of a registration that names a file's module by its attribute."""
    if isinstance(spec.entry_point, str):
        place, _, attribute = spec.entry_point.partition(":")
        if place == name and hasattr(module, attribute):
            spec.entry_point = getattr(module, attribute)


def _unknown(env: str) -> UsageError:
    if Path(env).suffix == ".py":
        return UsageError(
            f"environment {env!r}: name the class in the file as well, as in {env}:MyEnv"
        )
    known = [*gym.registry, *entry_points(group=OFFERED).names]
    return UsageError(
        f"unknown environment {env!r}: not registered with Gymnasium.{closest(env, known)} "
        "An environment of your own is named module:Id or path/to/file.py:Class."
    )


def _from_registry(
    reference: str, env_id: str, args: dict[str, Any], content: str | None
) -> Environment:
    spec = gym.registry[env_id]
    make: Callable[..., Any] = functools.partial(gym.make, env_id, disable_env_checker=True)
    if spec.entry_point is None and spec.vector_entry_point is not None:
        make = VectorOfId(env_id)
    meaning = _registration(gym.registry[env_id], reference)
    return Environment(reference, args, make, identify(meaning), content, meaning)


def _registration(spec: EnvSpec, reference: str) -> dict[str, Any]:
    """Return what an id stands for: code and arguments of the environment and of its wrappers."""

    def load(entry_point: Any) -> Any:
        try:
            return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"environment {reference!r}: its registration leads to {entry_point!r}, which "
                f"cannot be imported: {error!r}"
            ) from error

    only_vector = spec.entry_point is None and spec.vector_entry_point is not None
    return {
        **({"vector_entry_point": load(spec.vector_entry_point)} if only_vector else {}),
        "entry_point": load(spec.entry_point),
        "kwargs": dict(spec.kwargs),
        "max_episode_steps": spec.max_episode_steps,
        "order_enforce": spec.order_enforce,
        "wrappers": [
            (load(wrapper.entry_point), wrapper.kwargs) for wrapper in spec.additional_wrappers
        ],
    }


def _from_attribute(
    module: ModuleType, name: str, reference: str, args: dict[str, Any], content: str | None
) -> Environment:
    constructor = getattr(module, name, None)
    where = f"environment {reference!r}: {reference.rpartition(':')[0]}"
    if constructor is None:
        known = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UsageError(f"{where} neither registers nor defines {name!r}.{closest(name, known)}")
    if not callable(constructor):
        raise UsageError(
            f"{where} has {name!r} = {constructor!r:.80}, expected a class or a function that "
            "makes an environment"
        )
    # The whole file counts: it may do more than define what is named.
    meaning = constructor if content is None else (content, constructor)
    return Environment(reference, args, constructor, identify(meaning), content, meaning)
