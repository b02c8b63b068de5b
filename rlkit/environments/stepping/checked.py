"""One Gymnasium environment whose every result is checked and converted to arrays and numbers."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from math import isfinite
from types import TracebackType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from rlkit.environments.batch_env import Array
from rlkit.environments.copies import describe
from rlkit.environments.spaces import spaces_of
from rlkit.environments.stepping.states import SavedState, packed, unpacked, with_state
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import MaskReader, given_mask
from rlkit.environments.views.observations import ObservationEncoder
from rlkit.errors import RlkitError, UsageError
from rlkit.processes.calls import CALLS, RESET, STEP, Abandoned, describe_abandoned
from rlkit.processes.calls import describe as describe_object

_LONGEST_TRACE = 20_000  # characters
_LARGEST = float(np.finfo(float).max)
# What needs no look at its kind: the types that many environments return.
_PLAIN = frozenset((float, int))
_FLAGS = frozenset((bool, np.bool_))
_NUMBERS = frozenset((float, int, np.float64, np.float32))


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


class Start(NamedTuple):
    """The result of a reset, or where a replayed episode stands."""

    obs: Array | int
    action_mask: Array | None = None


class Outcome(NamedTuple):
    """The result of one step."""

    obs: Array | int
    reward: float
    terminated: bool
    truncated: bool
    action_mask: Array | None = None  # bool [choices]; None where it is not read or terminated


class CheckedEnv:
    """A Gymnasium environment that raises a `Problem` for whatever goes wrong in it.

    Args:
        env: the environment.
        name: its name in messages.
        action_masks: whether to read its action masks.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str, *, action_masks: bool = False) -> None:
        self.env = env
        self._spaces = own_space, self.action_space = spaces_of(env, name)
        self._name = name
        encoder = ObservationEncoder(own_space)
        self._encode = encoder.__call__  # faster than the object itself
        self._first, self._num = encoder.indices  # of a Discrete
        self._layout = ActionLayout(self.action_space)
        self.observation_space = encoder.space
        self._read_mask = MaskReader(self._layout) if action_masks else None
        # Masks are read from what `step` returns, which a state does not bring back.
        with reading_attributes(name):
            self._with_state = None if action_masks else with_state(env)

    @property
    def offers_state(self) -> bool:
        """Whether `save` and `restore` can be called."""
        return self._with_state is not None

    def reset(self, seed: int) -> Start:
        """Start the episode of a seed and return its first observation."""
        try:
            CALLS.begin(RESET)
            result = self.env.reset(seed=seed)
            CALLS.end()
        except BaseException as error:
            hint = (
                "; reset must accept the keyword `seed`"
                if isinstance(error, TypeError) and "seed" in str(error)
                else ""
            )
            raise raised(f"reset(seed={seed})", error, hint) from error
        try:
            return self._start(result)
        except Problem:
            raise
        except BaseException as error:
            raise raised(f"reading what reset(seed={seed}) returned", error) from error

    def _start(self, result: Any) -> Start:
        if not (isinstance(result, tuple) and len(result) == 2):
            raise _fault(
                f"reset returned {describe(result)}, expected the pair (observation, info)"
            )
        self._require_same_spaces()
        mask = None if self._read_mask is None else self._mask(result[1])
        return Start(self._checked_obs(result[0]), mask)

    def _require_same_spaces(self) -> None:
        """Require that reset left the spaces as they were: agents are built for those."""
        own_space, action_space = self._spaces
        try:
            if self.env.observation_space is own_space and self.env.action_space is action_space:
                return  # most environments keep the objects
        except Exception:  # described below
            pass
        try:
            now = spaces_of(self.env, self._name)
        except UsageError as error:
            raise _fault(f"after reset, {error}") from error
        for role, before, after in zip(("observation", "action"), self._spaces, now, strict=True):
            if after is not before and after != before:
                raise _fault(
                    f"reset changed the {role} space from {before} to {after}; set the spaces in "
                    "the constructor, large enough for every episode"
                )

    def step(self, action: Any) -> Outcome:
        """Take one step with an action of an agent, which counts from 0 and need not be clipped."""
        own_action = self._layout.to_env(action)
        try:
            CALLS.begin(STEP)
            result: Any = self.env.step(own_action)
            CALLS.end()
        except BaseException as error:
            raise raised(f"step({own_action!r})", error) from error
        try:
            if not (isinstance(result, tuple) and len(result) == 5):
                raise _fault(
                    f"step returned {describe(result)}, expected (observation, reward, "
                    "terminated, truncated, info); an environment of the old Gym interface "
                    "returns four values: use gymnasium's `terminated` and `truncated`"
                )
            obs, reward, terminated, truncated, info = result
            is_plain = (
                type(terminated) is bool and type(truncated) is bool and type(reward) in _PLAIN
            )
            if is_plain and -_LARGEST <= reward <= _LARGEST:
                reward = float(reward)
            else:
                reward, terminated, truncated = checked_flags(reward, terminated, truncated)
                require_finite(reward)
            mask = None if terminated or self._read_mask is None else self._mask(info)
            return Outcome(self._checked_obs(obs), reward, terminated, truncated, mask)
        except Problem:
            raise
        except BaseException as error:
            raise raised(f"reading what step({own_action!r}) returned", error) from error

    def save(self) -> bytes:
        """Return the state that the environment offers."""
        assert self._with_state is not None
        try:
            CALLS.begin(STEP)
            state = self._with_state.get_state()
            CALLS.end()
        except BaseException as error:
            raise raised("get_state()", error) from error
        try:
            return packed(state)
        except TypeError as error:
            raise _fault(f"get_state: {error}") from error

    def restore(self, saved: SavedState) -> bytes:
        """Continue from a state; return the state that the environment has then."""
        assert self._with_state is not None
        self.reset(saved.seed)
        try:
            CALLS.begin(STEP)
            self._with_state.set_state(unpacked(saved.state))
            CALLS.end()
        except BaseException as error:
            raise raised("set_state()", error) from error
        return self.save()

    def _checked_obs(self, obs: Any) -> Array | int:
        if type(obs) is int and 0 <= obs - self._first < self._num:  # what most tables return
            return obs - self._first
        try:
            return self._encode(obs)
        except ValueError as error:
            raise _fault(f"the observation{error}") from error

    def _mask(self, info: Any) -> Array | None:
        assert self._read_mask is not None
        try:
            CALLS.begin(STEP)
            mask = given_mask(self.env, info)
            CALLS.end()
        except BaseException as error:
            raise raised("action_masks()", error) from error
        try:
            return self._read_mask.checked(*mask)
        except ValueError as error:
            raise _fault(f"the action mask: {error}") from error


def require_finite(reward: float) -> None:
    """Require a reward that is a number an agent can learn from.

    Raises:
        Problem: it is NaN or infinite.
    """
    if not isfinite(reward):
        raise _fault(f"the reward is {reward}; it must be finite")


def checked_flags(reward: Any, terminated: Any, truncated: Any) -> tuple[float, bool, bool]:
    """Return the reward and the two flags of a step as Python's own types.

    Raises:
        Problem: one is of another kind.
    """
    if type(reward) in _NUMBERS and type(terminated) in _FLAGS and type(truncated) in _FLAGS:
        try:
            return float(reward), bool(terminated), bool(truncated)
        except OverflowError:  # an int beyond any float, which is reported below
            pass
    if _scalar_kind(reward) not in "biuf":
        raise _fault(f"the reward is {describe(reward)}, expected a number")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if _scalar_kind(flag) not in "biu":
            raise _fault(f"`{name}` is {describe(flag)}, expected a bool")
    return float(reward), bool(terminated), bool(truncated)


@contextlib.contextmanager
def reading_attributes(name: str) -> Iterator[None]:
    """Report what the attributes of a user's environment raise when they are read.

    Args:
        name: of the environment.

    Raises:
        UsageError: one raised something.
    """
    try:
        yield
    except (RlkitError, Abandoned):
        raise
    except BaseException as error:
        text = raised("reading its attributes", error).text
        raise UsageError(f"environment {name}: {text}") from error


def _fault(text: str) -> Problem:
    return Problem(text, is_fault=True)


def raised(call: str, error: BaseException, hint: str = "") -> Problem:
    """Return the problem that a call of a user's code raised an error, with its innermost frame.

    Raises:
        KeyboardInterrupt: that is the error.
        PlayStopped: the call was abandoned because the run was asked to stop.
    """
    CALLS.end()
    if CALLS.is_interrupt(error):
        raise error
    if isinstance(error, Problem):
        return error
    frames = None if error.__traceback__ is None else error.__traceback__.tb_next
    where = "" if frames is None else f" at {_innermost(frames)}"
    text = describe_abandoned(error, call)
    what = text if isinstance(error, Abandoned) else f"{call} raised {text}"
    return Problem(f"{what}{where}{hint}", trace=_trace(error))


def _innermost(frames: TracebackType) -> str:
    """Return the file, line and function of the last frame."""
    places = traceback.extract_tb(frames)
    # Where it was interrupted, not in the handler of the signal.
    inner = (place for place in reversed(places) if place.name != "on_signal")
    place = next(inner, places[-1])
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
