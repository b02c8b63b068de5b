"""One Gymnasium environment whose every result is checked and converted to arrays and numbers."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit.environments.batch_env import Array
from rlkit.environments.copies import describe
from rlkit.environments.spaces import seen_by_agents, spaces_of
from rlkit.tabular.reading.parts import parts_index
from rlkit.tabular.reading.published import describe as describe_object

_LONGEST_TRACE = 20_000  # characters


class Problem(Exception):
    """What went wrong in one environment, in a sentence without its place.

    Args:
        text: the sentence.
        is_fault: it returned something invalid; otherwise it raised, ended or hung.
        trace: the traceback of what it raised.
    """

    def __init__(self, text: str, *, is_fault: bool = False, trace: str = "") -> None:
        super().__init__(text)
        self.text, self.is_fault, self.trace = text, is_fault, trace

    def __reduce__(self) -> tuple[Any, ...]:
        return _problem, (self.text, self.is_fault, self.trace)


def _problem(text: str, is_fault: bool, trace: str) -> Problem:
    return Problem(text, is_fault=is_fault, trace=trace)


class Outcome(NamedTuple):
    """The result of one step."""

    obs: Array
    reward: float
    terminated: bool
    truncated: bool


class CheckedEnv:
    """A Gymnasium environment that raises a `Problem` for whatever goes wrong in it.

    Args:
        env: the environment.
        name: its name in messages.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str) -> None:
        self.env = env
        own_space, self.action_space = spaces_of(env, name)
        self._index = parts_index(own_space)
        self.observation_space = seen_by_agents(own_space)
        self.obs_shape = self.observation_space.shape or ()
        discrete = isinstance(self.observation_space, spaces.Discrete)
        self.obs_dtype = np.dtype(np.int64 if discrete else self.observation_space.dtype)
        self._obs_start = int(getattr(self.observation_space, "start", 0))

    def reset(self, seed: int) -> Array:
        """Start the episode of a seed and return its first observation."""
        try:
            result = self.env.reset(seed=seed)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            hint = (
                "; reset must accept the keyword `seed`"
                if isinstance(error, TypeError) and "seed" in str(error)
                else ""
            )
            raise raised(f"reset(seed={seed})", error, hint) from error
        if not (isinstance(result, tuple) and len(result) == 2):
            raise _fault(
                f"reset returned {describe(result)}, expected the pair (observation, info)"
            )
        return self._checked_obs(result[0])

    def step(self, action: Any) -> Outcome:
        """Take one step with an action of an agent, which counts from 0 and need not be clipped."""
        own_action = self.to_env(action)
        try:
            result = self.env.step(own_action)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise raised(f"step({own_action!r})", error) from error
        if not (isinstance(result, tuple) and len(result) == 5):
            raise _fault(
                f"step returned {describe(result)}, expected "
                "(observation, reward, terminated, truncated, info); an environment of the old "
                "Gym interface returns four values: use gymnasium's `terminated` and `truncated`"
            )
        obs, terminated, truncated = result[0], result[2], result[3]
        reward: Any = result[1]
        if type(reward) is not float and _scalar_kind(reward) not in "biuf":
            raise _fault(f"the reward is {describe(reward)}, expected a number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if type(flag) is not bool and _scalar_kind(flag) not in "biu":
                raise _fault(f"`{name}` is {describe(flag)}, expected a bool")
        return Outcome(self._checked_obs(obs), float(reward), bool(terminated), bool(truncated))

    def to_env(self, action: Any) -> Any:
        """Return an action of an agent as the environment takes it."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return int(action) + int(space.start)
        assert isinstance(space, spaces.Box)
        clipped: Array = np.clip(action, space.low, space.high).astype(space.dtype)
        return clipped

    def _checked_obs(self, obs: Any) -> Array:
        if self._index is not None:
            try:
                return np.asarray(self._index(obs))
            except ValueError as error:
                raise _fault(f"the observation {error}") from error
        try:
            array = np.asarray(obs)
        except ValueError as error:
            raise _fault(f"the observation is not an array: {error}") from error
        if array.shape != self.obs_shape or array.dtype.kind not in "biuf":
            raise _fault(
                f"the observation has shape {array.shape} and type {array.dtype}, expected "
                f"shape {self.obs_shape} and {self.obs_dtype} as in {self.observation_space}"
            )
        if isinstance(self.observation_space, spaces.Discrete):
            index = array.item() - self._obs_start
            if not (0 <= index < self.observation_space.n and index == int(index)):
                raise _fault(f"the observation {obs} is not in {self.observation_space}")
            return np.asarray(int(index))
        with np.errstate(invalid="ignore", over="ignore"):
            converted = array.astype(self.obs_dtype)
        if self.obs_dtype.kind in "iu" and not np.array_equal(converted, array):
            raise _fault(
                f"the observation has a value that {self.obs_dtype} cannot hold, with entries "
                f"from {array.min()} to {array.max()}, expected entries as in "
                f"{self.observation_space}"
            )
        return converted


def _fault(text: str) -> Problem:
    return Problem(text, is_fault=True)


def raised(call: str, error: BaseException, hint: str = "") -> Problem:
    """Return the problem that a call of a user's code raised an error, with its innermost frame."""
    frames = None if error.__traceback__ is None else error.__traceback__.tb_next
    where = "" if frames is None else f" at {_innermost(frames)}"
    return Problem(f"{call} raised {describe_object(error)}{where}{hint}", trace=_trace(error))


def _innermost(frames: TracebackType) -> str:
    """Return the file, line and function of the last frame."""
    place = traceback.extract_tb(frames)[-1]
    return f"{place.filename.rpartition('/')[2]}:{place.lineno} in {place.name}"


def _trace(error: BaseException) -> str:
    """Return the traceback of an error; never raise."""
    try:
        text = "".join(traceback.format_exception(error))
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"{describe_object(error)}, whose traceback cannot be formatted\n"
    return text[-_LONGEST_TRACE:]


def _scalar_kind(value: Any) -> str:
    """Return the `numpy.dtype.kind` of a number or an array without axes; "-" for anything else."""
    try:
        array = np.asarray(value)
    except Exception:  # also of other libraries
        return "-"
    return array.dtype.kind if array.ndim == 0 else "-"
