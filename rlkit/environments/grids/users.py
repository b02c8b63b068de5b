"""A batched environment that a user wrote, its results checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlkit.agent import State
from rlkit.environments.batch_env import Array, BatchEnv, BatchStep
from rlkit.environments.copies import close_env, constructed, describe
from rlkit.environments.grids.singles import require_batch_env
from rlkit.environments.stepping.checked import Problem, raised
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import EnvironmentFault, SeedError, SeedsError
from rlkit.processes.calls import CALLS, RESET, STEP
from rlkit.seeding import SeedStreams, episode_seeder

_FIELDS = ("reward", "terminated", "truncated", "next_obs", "following_obs")


class UserGrid:
    """A BatchEnv of a user, of which every result is checked.

    Args:
        make: is called as the factory of a twin is.
        streams: of each seed.
        num_envs: N.
        name: of the environment, for messages.
        purpose: the branch of the streams for resets.
        autoreset: False to play one episode each.

    Raises:
        UsageError: it is no BatchEnv.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        name: str,
        purpose: str = "env",
        autoreset: bool = True,
    ) -> None:
        self._streams, self._name, self._autoreset = streams, name, autoreset
        self.num_seeds, self.num_envs = len(streams), num_envs
        seeder = episode_seeder(streams, purpose)
        size = f"{len(streams)} x {num_envs}"
        self.env: BatchEnv = constructed(
            f"building the batched environment {name} of {size} copies",
            lambda: make(seeder, len(streams), num_envs, autoreset=autoreset),
        )
        require_batch_env(self.env, name)
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self._layout = ActionLayout(self.action_space)
        self._episode = np.zeros((self.num_seeds, self.num_envs), dtype=np.int64)
        self._steps = np.zeros_like(self._episode)
        self._actions: Array | None = None

    @property
    def ended(self) -> Array:
        return self.env.ended

    def reset(self) -> Array:
        self._episode[...], self._steps[...], self._actions = 0, 0, None
        with self._user_code("reset()", RESET):
            obs = self.env.reset()
        return self._checked_obs("observation at reset", obs)

    def step(self, actions: Array) -> BatchStep:
        own = self._layout.to_env_batch(actions)
        idle = np.array(self.ended, dtype=bool)
        self._actions = own
        self._steps += ~idle
        with self._user_code("step", STEP):
            result = self.env.step(own)
        if not (isinstance(result, tuple) and len(result) == len(_FIELDS)):
            text = f"step returned {describe(result)}, expected ({', '.join(_FIELDS)})"
            raise self._fault(0, 0, text)
        reward = self._checked("reward", result[0], (), "biuf").astype(np.float64)
        flags = [self._checked(_FIELDS[k], result[k], (), "b") for k in (1, 2)]
        next_obs = self._checked_obs(_FIELDS[3], result[3])
        following_obs = self._checked_obs(_FIELDS[4], result[4])
        last = flags[0] | flags[1]
        self._require(~idle | ~last, "an idle copy ended", last)
        same = (next_obs == following_obs).reshape(*last.shape, -1).all(axis=-1)
        self._require(last | same, "following_obs differs from next_obs though no episode ended")
        if self._autoreset:
            self._episode += last
            self._steps[last] = 0
        else:
            self._require(idle | ~last | self.ended, "an episode ended and `ended` is not True")
        return BatchStep(reward, flags[0], flags[1], next_obs, following_obs)

    def state_dict(self) -> State:
        return {
            **{f"own/{name}": value for name, value in self.env.state_dict().items()},
            "episode": self._episode.copy(),
            "steps": self._steps.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        own = {name[4:]: value for name, value in state.items() if name.startswith("own/")}
        self._episode, self._steps = np.array(state["episode"]), np.array(state["steps"])
        with self._user_code("load_state_dict", RESET):
            self.env.load_state_dict(own)

    def close(self) -> None:
        env: Any = self.env
        if getattr(env, "close", None) is not None:
            close_env(env, f"the batched environment {self._name}")

    @contextlib.contextmanager
    def _user_code(self, call: str, kind: int) -> Iterator[None]:
        """Raise what the user's code raises, which cannot be blamed on one of several seeds."""
        try:
            CALLS.begin(kind)
            yield
            CALLS.end()
        except BaseException as error:
            problem: Problem = raised(call, error)
            text = f"environment {self._name}, step {int(self._steps.max())}: {problem}"
            if self.num_seeds == 1:
                raise SeedError(self._streams[0].index, text, problem.trace) from error
            raise SeedsError(text) from error

    def _checked_obs(self, field: str, obs: Any) -> Array:
        space = self.observation_space
        shape = space.shape or ()
        if isinstance(space, spaces.Discrete):
            indices = self._checked(field, obs, shape, "iu").astype(np.int64)
            self._require(
                (indices >= 0) & (indices < space.n), f"{field} is not in {space}", indices
            )
            return indices
        array = self._checked(field, obs, shape, "biuf")
        return array.astype(space.dtype)

    def _checked(self, field: str, value: Any, shape: tuple[int, ...], kinds: str) -> Array:
        """Return a new array of the right shape and kind, and of finite numbers."""
        array = np.array(value)
        expected = (self.num_seeds, self.num_envs, *shape)
        if array.shape != expected or array.dtype.kind not in kinds:
            kind = "booleans" if kinds == "b" else "whole numbers" if kinds == "iu" else "numbers"
            text = (
                f"{field} has shape {list(array.shape)} and type {array.dtype}, expected "
                f"{kind} of shape {list(expected)}"
            )
            raise self._fault(0, 0, text)
        if array.dtype.kind == "f":
            finite = np.isfinite(array).reshape(*expected[:2], -1).all(axis=-1)
            self._require(finite, f"{field} is not finite", array)
        return array

    def _require(self, fine: Array, text: str, values: Array | None = None) -> None:
        """Raise a fault of the first copy that is not fine."""
        if not fine.all():
            s, n = (int(k) for k in np.argwhere(~fine)[0])
            got = "" if values is None else f", got {describe(values[s, n].tolist())}"
            raise self._fault(s, n, f"{text}{got}")

    def _fault(self, s: int, n: int, text: str) -> EnvironmentFault:
        actions = self._actions
        action = "" if actions is None else f", action {np.asarray(actions[s, n]).tolist()}"
        place = (
            f"environment {self._name}, copy {n}, episode {int(self._episode[s, n])}, "
            f"step {int(self._steps[s, n])}{action}"
        )
        return EnvironmentFault(self._streams[s].index, f"{place}: {text}")
