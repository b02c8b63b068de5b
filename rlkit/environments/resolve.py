"""From what a user names as an environment to grids of environments.

Names are a Gymnasium id, `module:Id`, `path/to/file.py:Class`, a `gymnasium.Env` class or any
callable that returns an environment.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from rlkit.environments.batch_env import BatchEnv
from rlkit.environments.checks import Probe, Repeatability, check_repeatability, probe
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import RlkitError, UsageError
from rlkit.fingerprint import Fingerprint, identify, settle
from rlkit.seeding import SeedStreams, episode_seeder
from rlkit.spelling import closest
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import Model, examine
from rlkit.user_code import is_patched, run_file

EnvLike = str | type[gym.Env[Any, Any]] | Callable[..., gym.Env[Any, Any]]


def native_env_names() -> list[str]:
    """Return the ids for which an installed package offers a batched twin."""
    return sorted(_native_entry_points())


def _native_entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="rlkit.native_envs")}


@dataclass(frozen=True)
class Environment:
    """A named recipe for environments.

    Args:
        reference: what names it in stored files, such as "CartPole-v1" or "grid.py:Grid".
        args: keyword arguments of each environment.
        source: what its constructor is made of.
        content: the sha256 of its file in runs of format 1, "" where an id names it, and None
            where runs of that format are not looked for.
    """

    reference: str
    args: Mapping[str, Any]
    constructor: Callable[..., gym.Env[Any, Any]] = field(repr=False)
    source: Fingerprint = field(repr=False)
    content: str | None = None
    meaning: Any = field(
        default=None, repr=False
    )  # the object of which `source` is the fingerprint

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
        except (Exception, SystemExit) as error:
            given = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
            raise UsageError(
                f"building the environment {self.reference}({given}) failed: {error!r}"
            ) from error

    @functools.cached_property
    def probe(self) -> Probe:
        """What one copy shows of itself: spaces, wrappers and time limit."""
        return probe(self.make, self.reference)

    @functools.cached_property
    def model(self) -> Model:
        """The exact model, or why the table that the environment publishes is not used."""
        return examine(self.make) if self.probe.has_table else Model(None, None)

    def with_model(self, model: Model | None) -> Environment:
        """Return the same environment, of which a model (or that there is none) is known."""
        known = dataclasses.replace(self)
        if model is not None:
            known.__dict__["model"] = model  # in place of what `model` would find
        return known

    def settle(self) -> None:
        """Take what its code has changed since, such as a counter in its class, for no change."""
        settle(self.meaning, self.source)
        settle(self.probe.layers, self.probe.made_of)

    @property
    def mdp(self) -> TabularMDP | None:
        """The exact model, where the environment publishes one and follows it."""
        return self.model.mdp

    @functools.cached_property
    def repeatability(self) -> Repeatability:
        """Whether copies are determined by their seeds and actions, and by nothing else."""
        return check_repeatability(self.make, self.reference)

    @functools.cached_property
    def reward_threshold(self) -> float | None:
        """The return at which its authors call it solved."""
        spec = gym.registry.get(self.name)
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
        if is_patched(load_env_creator(str(spec.entry_point))):
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
    environment = _resolve(env, dict(args or {}))
    environment.probe  # noqa: B018  raises what is wrong with the environment itself
    environment.settle()
    return environment


def _resolve(env: EnvLike, args: dict[str, Any]) -> Environment:
    if not isinstance(env, str):
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
            _lead_into(module, Path(head).stem, gym.registry[tail])
            return _from_registry(env, tail, args, content)
        return _from_attribute(module, tail, env, args, content)
    if head:
        module = _import_module(head, env)
        if tail not in gym.registry:
            return _from_attribute(module, tail, env, args, None)
        return _from_registry(env, tail, args, None)
    if env not in gym.registry:
        _refuse_unknown(env)
    own = str(gym.registry[env].entry_point).startswith("gymnasium.")
    return _from_registry(env, env, args, "" if own else None)


def _lead_into(module: ModuleType, name: str, spec: EnvSpec) -> None:
    """Let a registration that names a file as a module lead to the module made of the file."""
    if isinstance(spec.entry_point, str):
        place, _, attribute = spec.entry_point.partition(":")
        if place == name and hasattr(module, attribute):
            spec.entry_point = getattr(module, attribute)


def _import_module(name: str, env: str) -> ModuleType:
    """Import a module, also from the current folder, which a console script does not search."""
    here = os.getcwd()
    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.split(".")[0] or here in sys.path or "" in sys.path:
                raise
        sys.path.append(here)
        try:
            importlib.invalidate_caches()
            return importlib.import_module(name)
        except BaseException:
            sys.path.remove(here)
            raise
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]
        hint = f"; it is neither installed nor in the current folder, {here}" if absent else ""
        reason = str(error) if isinstance(error, ImportError) else repr(error)
        raise UsageError(
            f"environment {env!r}: cannot import the module {name!r}: {reason}{hint}"
        ) from error


def _refuse_unknown(env: str) -> None:
    if Path(env).suffix == ".py":
        raise UsageError(
            f"environment {env!r}: name the class in the file as well, as in {env}:MyEnv"
        )
    raise UsageError(
        f"unknown environment {env!r}: not registered with Gymnasium.{closest(env, gym.registry)} "
        "An environment of your own is named module:Id or path/to/file.py:Class."
    )


def _from_registry(
    reference: str, env_id: str, args: dict[str, Any], content: str | None
) -> Environment:
    make = functools.partial(gym.make, env_id, disable_env_checker=True)
    meaning = _registration(gym.registry[env_id], reference)
    return Environment(reference, args, make, identify(meaning), content, meaning)


def _registration(spec: EnvSpec, reference: str) -> dict[str, Any]:
    """What an id leads to: code and arguments of the environment and of its wrappers."""

    def load(entry_point: Any) -> Any:
        try:
            return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"environment {reference!r}: its registration leads to {entry_point!r}, which "
                f"cannot be imported: {error!r}"
            ) from error

    return {
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
        raise UsageError(
            f"{where} has neither registered nor defined {name!r}.{closest(name, known)}"
        )
    if not callable(constructor):
        raise UsageError(
            f"{where} has {name!r} = {constructor!r:.80}, expected a class or a function that "
            "makes an environment"
        )
    # All of a file counts: it may do more than define what is named.
    meaning = constructor if content is None else (content, constructor)
    return Environment(reference, args, constructor, identify(meaning), content, meaning)
