"""Rewards of the user's own, which agents learn from in place of the environment's.

    def reward(observations, actions, next_observations, terminated): ...

The function gets the latest step of the N environments of one seed, as arrays whose first axis is
N, and returns N finite numbers. It is called once per step and seed, so that the bytes of a seed do
not depend on the others. Parameters named `rewards` and `truncated`, if it has any, get the
environment's own rewards and whether the episodes were cut short. The arrays are read-only:

    observations         as the agent sees them, before the step
    actions              as the environment took them, clipped to the bounds of a Box
    next_observations    after the step, also where the episode ended; never those after a reset
    terminated           bool: the task is over, so that nothing follows

A reward that differs between seeds, such as a learned ensemble, or that has a state is an object
with the methods of `SeedRewards`.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import State, Transition
from rlkit.determinism import apart
from rlkit.environments.environment import Environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import RewardFault, RlkitError, SeedError, SeedsError, UsageError
from rlkit.fingerprint import Fingerprint, identify, settle
from rlkit.user_code import load_function, place_of

Array = NDArray[Any]

_BY_NAME = ("rewards", "truncated")  # the parameters that are given by their names


class SeedRewards(Protocol):
    """A reward that knows its seeds.

    An attribute `identity`, plain data such as a digest, stands for the object in the identity of
    runs; without one its fingerprint does. What `for_seeds` returns may have a state of its own,
    with the methods `state_dict` and `load_state_dict` of an agent; checkpoints then hold it.
    """

    def for_seeds(self, seeds: Sequence[int]) -> Callable[..., Any]:
        """Return the reward of some seeds, by their indices in the experiment.

        It is called like a reward function, but with arrays [S, N, ...] of all these seeds, and
        returns [S, N]. What it returns for a seed must not depend on the others.
        """


RewardFunction = Callable[..., Any] | SeedRewards


@dataclass(frozen=True)
class OwnReward:
    """A reward function or object, with its identity.

    Args:
        reference: its name in stored files.
        function: the function, or an object like `SeedRewards`.
        source: its fingerprint.
        meaning: the object of which `source` is the fingerprint.
        is_named: whether `reference` leads to it in another process.
    """

    reference: str
    function: Any
    source: Fingerprint
    meaning: Any = field(repr=False)
    is_named: bool = False

    def settle(self) -> None:
        """Accept what running its code changed in its own globals: the user did not."""
        settle(self.meaning, self.source)

    def __reduce__(self) -> tuple[Callable[..., OwnReward], tuple[Any, ...]]:
        if self.is_named:
            return _found_again, (self.reference, self.source.digest)
        return OwnReward, (self.reference, self.function, self.source, self.meaning)


def load_reward(reward: str | RewardFunction) -> OwnReward:
    """Return the reward that a user gave.

    Args:
        reward: a function, an object like `SeedRewards`, "path/to/file.py:function" or
            "module:function".

    Raises:
        UsageError: there is no such function, or it has parameters that nothing is known for.
    """
    if isinstance(reward, str):
        function, content = load_function(reward, "reward")
        meaning: Any = (content, function) if content else function
        own = OwnReward(reward, function, identify(meaning), meaning, is_named=True)
    elif callable(reward) or hasattr(reward, "for_seeds"):
        module = getattr(reward, "__module__", "__main__")
        name = getattr(reward, "__qualname__", type(reward).__qualname__)
        meaning = getattr(reward, "identity", None) or reward
        own = OwnReward(f"{module}:{name}", reward, identify(meaning), meaning)
    else:
        raise UsageError(
            "option reward (--reward): expected a function, path/to/file.py:function or "
            f"module:function, got {reward!r:.80}"
        )
    if not hasattr(own.function, "for_seeds"):
        _parameters(own.reference, own.function)
    return own


def _found_again(reference: str, digest: str) -> OwnReward:
    """Return the reward that another process found under this name."""
    own = load_reward(reference)
    if not own.source.unidentified and digest != own.source.digest:
        raise UsageError(
            f"the reward function {reference} differs in a worker process: a global or a file that "
            "it uses was changed after it was defined. Use workers=1 (--workers 1)"
        )
    return own


def _parameters(reference: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters that are given by their names.

    Raises:
        UsageError: the others do not take four arguments.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of compiled code
        return ()
    named = tuple(name for name in _BY_NAME if name in signature.parameters)
    try:
        signature.bind(*range(4), **dict.fromkeys(named))
    except TypeError as error:
        raise UsageError(
            f"the reward function {reference}{signature}: expected the parameters "
            "(observations, actions, next_observations, terminated), and if you need them also "
            f"parameters named rewards (the environment's own) and truncated: {error}"
        ) from error
    return named


class BatchReward:
    """The own reward of some seeds: a function of their transitions.

    Args:
        own: the reward.
        environment: what the agent is trained in.
        seeds: the index of each seed in the experiment.
        steps: returns the environment steps of each seed before the transition, for messages; None
            in evaluation.
    """

    def __init__(
        self,
        own: OwnReward,
        environment: Environment,
        seeds: Sequence[int],
        steps: Callable[[], int] | None = None,
    ) -> None:
        self._own, self._seeds, self._steps = own, list(seeds), steps
        self._num_envs = 0  # of each seed, for messages
        self._view = environment.action_view
        self._layout = ActionLayout(environment.probe.action_space)
        self._together = hasattr(own.function, "for_seeds")
        self._function = own.function
        if self._together:
            self._function = apart(own.function.for_seeds, self._seeds)
        self._named = _parameters(own.reference, self._function)

    def __call__(self, transition: Transition) -> Array:
        """Return the reward of each environment, float64 [S, N].

        Raises:
            RewardFault: the function failed for a seed, or did not return N finite numbers.
            SeedsError: it failed for several seeds at once.
        """
        arguments = self._arguments(transition)
        self._num_envs = transition.reward.shape[1]
        if self._together:
            return self._called(None, arguments, transition.reward.shape)
        num_seeds, num_envs = transition.reward.shape
        each = [
            self._called(s, {name: x[s] for name, x in arguments.items()}, (num_envs,))
            for s in range(num_seeds)
        ]
        return np.stack(each)

    def _arguments(self, transition: Transition) -> dict[str, Any]:
        grid = transition.reward.shape
        rows = self._view.to_layout(transition.action)
        actions = self._layout.to_env_batch(rows.reshape(-1, *rows.shape[2:]))
        if isinstance(actions, list):  # of tuples or dicts
            own = np.empty(len(actions), dtype=object)
            own[:] = actions
            actions = own
        arguments = {
            "observations": transition.obs,
            "actions": actions.reshape(*grid, *actions.shape[1:]),
            "next_observations": transition.next_obs,
            "terminated": transition.terminated,
            "rewards": transition.reward,
            "truncated": transition.truncated,
        }
        return {
            name: _read_only(x)
            for name, x in arguments.items()
            if name not in _BY_NAME or name in self._named
        }

    def _called(self, s: int | None, arguments: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
        """Call the function for one seed of the batch, or for all of them, and check its result."""
        named = {name: arguments[name] for name in self._named}
        given = [x for name, x in arguments.items() if name not in named]
        try:
            returned = apart(self._function, *given, **named)
        except RlkitError:
            raise
        except (Exception, SystemExit) as error:
            code = getattr(inspect.unwrap(self._function), "__code__", None)
            place = place_of(error, getattr(code, "co_filename", None))
            raise self._fault(s, f"raised {error!r}{place}", traceback.format_exc()) from error
        return self._checked(returned, s, shape)

    def _checked(self, returned: Any, s: int | None, shape: tuple[int, ...]) -> Array:
        expected = f"expected finite numbers of shape {list(shape)}, one per environment"
        if hasattr(returned, "detach"):  # a tensor of torch, perhaps with a gradient
            returned = returned.detach().cpu()
        if np.ma.is_masked(returned):  # numpy would take what is hidden below the mask
            raise self._fault(s, f"returned an array of which some are masked, {expected}")
        try:
            array = np.asarray(returned)
        except Exception as error:
            raise self._fault(s, f"returned {returned!r:.60} ({error}), {expected}") from error
        if array.shape != shape or array.dtype.kind not in "biuf":
            got = "None" if returned is None else f"{array.dtype} of shape {list(array.shape)}"
            raise self._fault(s, f"returned {got}, {expected}{_advice(array, shape)}")
        finite = np.isfinite(array)
        if not finite.all():
            place = tuple(np.argwhere(~finite)[0].tolist())
            which = place[0] if s is None else s
            raise self._fault(
                which, f"returned {array[place]} for environment copy {place[-1]}, {expected}"
            )
        return array.astype(np.float64)

    def _fault(self, s: int | None, problem: str, trace: str = "") -> RlkitError:
        place = "evaluation"
        if self._steps is not None:
            place = f"environment step {self._steps() + self._num_envs:,}"
        text = f"the reward function {self._own.reference}, {place}: it {problem}"
        if s is None and len(self._seeds) > 1:
            return SeedsError(text)
        return RewardFault(self._seeds[s or 0], text, trace)

    @property
    def has_state(self) -> bool:
        """Whether it has a state that checkpoints must hold."""
        return hasattr(self._function, "state_dict")

    def state_dict(self) -> State:
        """Return the state of the user's object; each entry has a leading seed axis."""
        state: State = self._function.state_dict()
        return state

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        self._function.load_state_dict(state)


def _read_only(x: Array) -> Array:
    view = x.view()
    view.flags.writeable = False
    return view


def _advice(array: Array, shape: tuple[int, ...]) -> str:
    if array.shape == ():
        return "; it gets arrays of several environments: return an array, such as x[:, 0]"
    if array.size == np.prod(shape) and array.shape != shape:
        return f"; reshape it, as in x.reshape({list(shape)})"
    return ""


def try_reward(own: OwnReward, environment: Environment, steps: Sequence[Transition]) -> str | None:
    """Call a reward function before training, so that its errors cost no training.

    Args:
        own: the reward.
        environment: what the agent is to be trained in.
        steps: a few transitions of seed 0.

    Returns:
        why the run would not be reproducible, as one sentence; None if nothing was found.

    Raises:
        UsageError: the function fails or does not return finite numbers.
    """
    reward = BatchReward(own, environment, [0], lambda: 0)
    try:
        first, again = ([reward(step) for step in steps] for _ in range(2))
    except SeedError as error:
        raise UsageError(f"seed {error.seed}: {error.message}") from error
    same = all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    if same or reward.has_state:
        return None
    return (
        f"the reward function {own.reference} is not determined by its arguments: it returned "
        "other numbers for the same step when it was called again. The run is not reproducible. "
        "Keep what changes in the observations, or in an object with a state, see docs/"
        "preferences.md"
    )
