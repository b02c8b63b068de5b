"""From what a user names as an environment to grids of environments.

Names are a Gymnasium id, `module:Id`, `path/to/file.py:Class`, a `gymnasium.Env` class or any
callable that returns an environment.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym

from rlkit.batch_env import BatchEnv, GymBatchEnv
from rlkit.env_copies import close_env
from rlkit.errors import RlkitError, UsageError, closest
from rlkit.seeding import SeedStreams, episode_seeder
from rlkit.spaces import require_supported, spaces_of
from rlkit.tabular.batch_env import TabularBatchEnv
from rlkit.tabular.from_env import find_mdp
from rlkit.tabular.mdp import TabularMDP
from rlkit.user_code import run_file, source_digest

EnvLike = str | type[gym.Env[Any, Any]] | Callable[..., gym.Env[Any, Any]]

# Where an environment never ends an episode by itself, evaluation cuts it after this many steps.
DEFAULT_EVALUATION_LIMIT = 1000


def native_env_names() -> list[str]:
    """The ids for which an installed package offers a batched twin."""
    return sorted(_native_entry_points())


def _native_entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="rlkit.native_envs")}


@dataclass(frozen=True)
class Environment:
    """A named recipe for environments.

    Args:
        reference: what names it in stored files, such as "CartPole-v1" or "grid.py:Grid".
        args: keyword arguments of each environment.
        digest: of the source code, where it is the user's own; empty otherwise.
    """

    reference: str
    args: Mapping[str, Any]
    constructor: Callable[..., gym.Env[Any, Any]] = field(repr=False)
    digest: str = ""

    @property
    def name(self) -> str:
        """A short name for titles and folders."""
        return self.reference.rsplit(":", 1)[-1]

    def make(self, **extra: Any) -> gym.Env[Any, Any]:
        """Build one environment; `extra` adds arguments such as `render_mode`."""
        try:
            return self.constructor(**{**self.args, **extra})
        except RlkitError:
            raise
        except Exception as error:
            given = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
            raise UsageError(
                f"building the environment {self.reference}({given}) failed: {error!r}"
            ) from error

    @functools.cached_property
    def mdp(self) -> TabularMDP | None:
        """The exact model, where the environment publishes one."""
        return find_mdp(self.make)

    @functools.cached_property
    def reward_threshold(self) -> float | None:
        """The return at which its authors call it solved."""
        spec = gym.registry.get(self.reference.rsplit(":", 1)[-1])
        return None if spec is None else spec.reward_threshold

    @functools.cached_property
    def kind(self) -> str:
        """How a grid of it is stepped unless declined: "native", "tabular" or "gymnasium"."""
        if self._twin() is not None:
            return "native"
        return "gymnasium" if self.mdp is None else "tabular"

    def _twin(self) -> Callable[..., BatchEnv] | None:
        point = _native_entry_points().get(self.reference)
        spec = gym.registry.get(self.reference)
        if point is None or spec is None or spec.additional_wrappers:
            return None
        try:
            factory = point.load()
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the batched twin of {self.reference}, {point.value}, cannot be imported: "
                f"{error}. If a file of yours has the name of that package, rename it"
            ) from error
        # An id that somebody registered anew is no longer the environment that the twin equals.
        if spec.entry_point != getattr(factory, "original", spec.entry_point):
            return None
        # It may also have been registered anew with another time limit or other arguments.
        args = {"max_episode_steps": spec.max_episode_steps, **spec.kwargs, **self.args}
        try:
            inspect.signature(factory).bind(None, 1, 1, autoreset=True, **args)
        except TypeError:
            return None
        return functools.partial(factory, **args)

    def grid(
        self,
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        kind: str,
        purpose: str = "env",
        autoreset: bool = True,
    ) -> BatchEnv:
        """Build S x N environments of the given kind, fed from the seeds' own streams."""
        if kind == "native":
            twin = self._twin()
            assert twin is not None
            seeder = episode_seeder(streams, purpose)
            return twin(seeder, len(streams), num_envs, autoreset=autoreset)
        if kind == "tabular":
            assert self.mdp is not None
            return TabularBatchEnv(
                self.mdp, streams, num_envs, purpose=purpose, autoreset=autoreset
            )
        return GymBatchEnv(self.make, streams, num_envs, purpose=purpose, autoreset=autoreset)


def find_environment(env: EnvLike, args: Mapping[str, Any] | None = None) -> Environment:
    """Resolve what a user named; the message of a failure names the closest known id."""
    args = dict(args or {})
    if not isinstance(env, str):
        return _from_callable(env, args)
    head, _, tail = env.rpartition(":")
    if head.endswith(".py"):
        module, digest = run_file(Path(head), f"environment {env!r}")
        found = _from_attribute(module, tail, env, args)
        return Environment(env, args, found.constructor, digest)
    if head:
        try:
            module = importlib.import_module(head)
        except ImportError as error:
            raise UsageError(
                f"environment {env!r}: cannot import the module {head!r}: {error}"
            ) from error
        if tail not in gym.registry:
            return _from_attribute(module, tail, env, args)
    elif env not in gym.registry:
        _refuse_unknown(env)
    make = functools.partial(gym.make, env, disable_env_checker=True)
    environment = Environment(env, args, make)
    probe = environment.make()
    try:
        require_supported(env, *spaces_of(probe, env))
    finally:
        close_env(probe, environment.reference)
    return environment


def _refuse_unknown(env: str) -> None:
    if Path(env).suffix == ".py":
        raise UsageError(
            f"environment {env!r}: name the class in the file as well, as in {env}:MyEnv"
        )
    raise UsageError(
        f"unknown environment {env!r}: not registered with Gymnasium.{closest(env, gym.registry)} "
        "An environment of your own is named module:Id or path/to/file.py:Class."
    )


def _from_callable(env: Callable[..., gym.Env[Any, Any]], args: Mapping[str, Any]) -> Environment:
    if not callable(env):
        raise UsageError(
            f"expected an environment's id, class or a function that makes one, got {env!r}"
        )
    name = getattr(env, "__qualname__", type(env).__name__)
    module = getattr(env, "__module__", "__main__")
    return _checked(Environment(f"{module}:{name}", args, env, source_digest(env)))


def _from_attribute(
    module: ModuleType, name: str, reference: str, args: Mapping[str, Any]
) -> Environment:
    constructor = getattr(module, name, None)
    if constructor is None:
        known = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UsageError(
            f"environment {reference!r}: {module.__name__} has neither registered nor defined "
            f"{name!r}.{closest(name, known)}"
        )
    return _checked(Environment(reference, args, constructor, source_digest(constructor)))


def _checked(environment: Environment) -> Environment:
    probe = environment.make()
    if not isinstance(probe, gym.Env):
        raise UsageError(
            f"environment {environment.reference}: expected a gymnasium.Env, "
            f"got a {type(probe).__name__}"
        )
    try:
        require_supported(environment.reference, *spaces_of(probe, environment.reference))
    finally:
        close_env(probe, environment.reference)
    return environment
