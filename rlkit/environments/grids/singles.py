"""One copy of an environment that steps many at once, as a Gymnasium environment.

With it, whatever needs a single environment (checks, watching, worker processes) has one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from rlkit.environments.copies import constructed, describe, problem_of_closing
from rlkit.environments.stepping.checked import Problem
from rlkit.errors import UsageError

AnyVector = VectorEnv[Any, Any, Any]

FINAL_OBS = "final_obs"
# The parameters by which the factory of a BatchEnv is recognised.
_GRID = ("episode_seed", "num_seeds", "num_envs")
_METHODS = ("reset", "step", "state_dict", "load_state_dict")
_MODES = ", ".join(f"AutoresetMode.{mode.name}" for mode in AutoresetMode)


def autoreset_mode(env: AnyVector, name: str) -> AutoresetMode:
    """Return when a vector environment starts the next episode.

    Raises:
        UsageError: its metadata does not say so.
    """
    given = (env.metadata or {}).get("autoreset_mode")
    try:
        return AutoresetMode(given)
    except ValueError:
        raise UsageError(
            f"the vector environment {name} has "
            f'metadata["autoreset_mode"] = {given!r}, expected one of {_MODES}: without it, steps '
            "between episodes cannot be told from transitions"
        ) from None


class VectorOfId:
    """Makes vector environments of an id that is registered for those alone."""

    def __init__(self, env_id: str) -> None:
        self._id = env_id

    def __call__(self, num_envs: int, **args: Any) -> AnyVector:
        return gym.make_vec(
            self._id, num_envs=num_envs, vectorization_mode="vector_entry_point", **args
        )


def is_batched(constructor: Any) -> bool:
    """Return whether a callable makes a BatchEnv, by the names of its parameters."""
    return all(name in _parameters(constructor) for name in _GRID)


def makes_vectors(constructor: Any, args: Mapping[str, Any]) -> bool:
    """Return whether a callable makes vector environments; a function is called to find out.

    Raises:
        UsageError: it requires `num_envs`, and returns no vector environment.
    """
    if isinstance(constructor, VectorOfId):
        return True
    if inspect.isclass(constructor):
        return issubclass(constructor, VectorEnv)
    if "num_envs" not in _parameters(constructor) or "num_envs" in args:
        return False
    name = getattr(constructor, "__name__", type(constructor).__name__)
    try:
        env = made_vector(constructor, 1, name, **args)
    except UsageError as error:
        # Where it needs no number of copies, whoever builds it next reports what is wrong.
        if _parameters(constructor)["num_envs"].default is not inspect.Parameter.empty:
            return False
        raise UsageError(
            f"{error}. Where num_envs means something else, give it as an argument of the "
            "environment: --env-arg num_envs=2 (env_args={'num_envs': 2})"
        ) from error
    problem_of_closing(env)  # training warns about it
    return True


def made_vector(make: Callable[..., Any], number: int, name: str, **args: Any) -> AnyVector:
    """Return a vector environment of so many copies from what makes it.

    Raises:
        UsageError: that raised something, or returned something else.
    """
    what = f"building the vector environment {name} with num_envs={number}"
    env = constructed(what, lambda: make(num_envs=number, **args))
    return require_vector(env, number, name)


def five_results(result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return what `step` of a vector environment returned.

    Raises:
        Problem: it is not five values.
    """
    if not (isinstance(result, tuple) and len(result) == 5):
        raise Problem(
            f"step returned {describe(result)}, expected (observations, rewards, terminations, "
            "truncations, infos)",
            is_fault=True,
        )
    return result


def rows_of(env: AnyVector, obs: Any) -> list[Any]:
    """Return the observations of a vector environment, one per copy.

    Raises:
        Problem: they are not so many.
    """
    rows = list(iterate(env.observation_space, obs))
    if len(rows) != env.num_envs:
        text = f"there are {len(rows)} observations, expected {env.num_envs}"
        raise Problem(text, is_fault=True)
    return rows


def per_copy(values: Any, number: int, what: str) -> list[Any]:
    """Return the rewards or flags of a vector environment, one per copy.

    Raises:
        Problem: they are not so many.
    """
    try:
        own = list(values)
    except Exception:  # no sequence
        own = []
    if len(own) != number:
        raise Problem(
            f"the {what} of a step are {describe(values)}, expected one per copy, {number}",
            is_fault=True,
        )
    return own


def _parameters(constructor: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(constructor).parameters
    except (TypeError, ValueError):
        return {}


def final_observation(env: AnyVector, info: Mapping[str, Any], copy: int) -> Any:
    """Return the true last observation of an episode that ended in SAME_STEP mode.

    Raises:
        Problem: there is none.
    """
    if FINAL_OBS not in info or not _has(info, copy):
        older = "final_observation" in info
        hint = '; info["final_observation"] is the name of Gymnasium before 1.0' if older else ""
        raise Problem(
            f'an episode ended without info["{FINAL_OBS}"] (and info["_{FINAL_OBS}"]) of this '
            f"copy, which a vector environment in SAME_STEP mode returns{hint}",
            is_fault=True,
        )
    final = info[FINAL_OBS]
    if isinstance(final, np.ndarray):
        return final[copy]
    return list(iterate(env.observation_space, final))[copy]


def _has(info: Mapping[str, Any], copy: int) -> bool:
    mask = info.get(f"_{FINAL_OBS}")
    return mask is None or bool(mask[copy])


def own_info(info: Any, copy: int) -> dict[str, Any]:
    """Return the entries of an info of a vector environment that concern one copy.

    An entry is an array or a list with one element per copy; beside it, "_" and its name is an
    array of whether each copy has it.
    """
    if not isinstance(info, Mapping):
        return {}
    own = {}
    for name, value in info.items():
        if str(name).startswith("_") or isinstance(value, (str, bytes, Mapping)):
            continue
        has_it = info.get(f"_{name}")
        try:
            if has_it is None or bool(has_it[copy]):
                own[name] = value[copy]
        except (TypeError, IndexError):  # not one per copy
            continue
    return own


class OneOfVector(gym.Env[Any, Any]):
    """A vector environment with one copy.

    Args:
        make: returns a vector environment of `num_envs` copies.
        name: of the environment, for messages.
        args: further arguments.
    """

    def __init__(self, make: Callable[..., Any], name: str, /, **args: Any) -> None:
        self.rlkit_name = name
        self.env = require_vector(make(num_envs=1, **args), 1, name)
        self.metadata = dict(self.env.metadata or {})
        self.mode = autoreset_mode(self.env, name)
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)  # as Gymnasium's checker expects of an environment
        obs, info = self.env.reset(seed=seed)
        return next(iter(iterate(self.env.observation_space, obs))), own_info(info, 0)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        result = five_results(self.env.step(batched(self.env, [action])))
        obs, *parts, info = result
        names = ("rewards", "terminations", "truncations")
        reward, terminated, truncated = (
            per_copy(part, 1, what)[0] for part, what in zip(parts, names, strict=True)
        )
        one = rows_of(self.env, obs)[0]
        last = self.mode == AutoresetMode.SAME_STEP and (terminated or truncated)
        if last:
            one = final_observation(self.env, info, 0)
        # The rest of the info is of the next episode then.
        own = own_info(info.get("final_info") if last else info, 0)
        return one, reward, terminated, truncated, own

    def close(self) -> None:
        self.env.close()


def require_vector(env: Any, number: int, name: str) -> AnyVector:
    """Return what a factory made, if it is a vector environment of so many copies."""
    if not isinstance(env, VectorEnv):
        raise UsageError(
            f"environment {name}: expected a gymnasium.vector.VectorEnv, as before, got a "
            f"{type(env).__name__}"
        )
    if env.num_envs != number:
        raise UsageError(
            f"environment {name}: expected {number} copies from num_envs={number}, got "
            f"{env.num_envs}"
        )
    return env


def batched(env: AnyVector, actions: list[Any]) -> Any:
    """Return the actions of all copies as a vector environment takes them."""
    space = env.single_action_space
    empty: Any = create_empty_array(space, len(actions))
    return concatenate(space, actions, empty)


class OneOfBatch(gym.Env[Any, Any]):
    """A BatchEnv of one seed and one copy.

    Args:
        make: returns a BatchEnv.
        name: of the environment, for messages.
        args: further arguments.
    """

    def __init__(self, make: Callable[..., Any], name: str, /, **args: Any) -> None:
        self.rlkit_name = name
        self._seed = 0
        self.env = make(lambda s, n, episode: self._seed, 1, 1, autoreset=False, **args)
        require_batch_env(self.env, name)
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._seed = self._seed + 1 if seed is None else seed
        return self.env.reset()[0, 0], {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        parts = self.env.step(np.asarray(action)[None, None])
        reward, terminated, truncated, obs = (part[0, 0] for part in parts[:4])
        return obs, reward, terminated, truncated, {}

    def close(self) -> None:
        close = getattr(self.env, "close", None)
        if close is not None:
            close()


def require_batch_env(env: Any, name: str) -> None:
    """Require the methods and spaces of a BatchEnv.

    Raises:
        UsageError: something is missing or not supported.
    """
    missing = [method for method in _METHODS if not callable(getattr(env, method, None))]
    missing += [part for part in ("observation_space", "action_space") if not hasattr(env, part)]
    if missing:
        raise UsageError(
            f"the batched environment {name} has no {', '.join(missing)}: see BatchEnv in "
            "docs/environments.md, or subclass rlkit_envs.batched.BatchedEnv"
        )
    for role in ("observation", "action"):
        space = getattr(env, f"{role}_space")
        start = int(getattr(space, "start", 0)) if isinstance(space, spaces.Discrete) else 0
        if start or not isinstance(space, (spaces.Discrete, spaces.Box)):
            raise UsageError(
                f"the batched environment {name} has the {role} space {space}, expected a Box or a "
                "Discrete that starts at 0: a BatchEnv counts as agents do"
            )
