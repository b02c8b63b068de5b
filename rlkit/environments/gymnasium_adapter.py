"""A grid of Gymnasium environments as a BatchEnv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit.agent import State
from rlkit.environments.batch_env import Array, BatchStep
from rlkit.environments.copies import close_env, describe, env_name, make_copies
from rlkit.environments.spaces import seen_by_agents, spaces_of
from rlkit.errors import EnvironmentFault, SeedError
from rlkit.seeding import SeedStreams
from rlkit.tabular.reading.parts import parts_index


class GymBatchEnv:
    """Any Gymnasium environment as a BatchEnv, each copy stepped in a plain loop.

    Episode k of copy n of a seed is reset with an integer of its own from the seed's tree of
    streams. The state of a copy is thus the number of its episode and the actions since its reset:
    loading replays them, which works for every environment that is determined by its seed and the
    actions. Nothing is ever unpickled.

    Args:
        make_env: returns a new environment; called S * N times.
        streams: the streams of each seed.
        num_envs: N.
        purpose: the branch of the streams for resets, "env" or "evaluation".
        autoreset: False to play one episode each.
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env[Any, Any]],
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        purpose: str = "env",
        autoreset: bool = True,
    ) -> None:
        self._streams = tuple(streams)
        self._purpose = purpose
        self._env_offset = 0
        # Called before each copy is reset or stepped. If it raises, the grid must be reset.
        self.before_each: Callable[[], None] | None = None
        self._autoreset = autoreset
        self.num_seeds, self.num_envs = len(self._streams), num_envs
        self._grid = [(s, n) for s in range(self.num_seeds) for n in range(num_envs)]
        self._envs = make_copies(make_env, len(self._grid))
        self.name = env_name(self._envs[0])
        own_space, self.action_space = spaces_of(self._envs[0], self.name)
        self._index = parts_index(own_space)
        self.observation_space = seen_by_agents(own_space)
        self._obs_shape = self.observation_space.shape or ()
        discrete = isinstance(self.observation_space, spaces.Discrete)
        self._obs_dtype = np.dtype(np.int64 if discrete else self.observation_space.dtype)
        self._obs_start = int(getattr(self.observation_space, "start", 0))
        self.exact_resume = True

    @property
    def ended(self) -> Array:
        return self._ended

    @property
    def obs(self) -> Array:
        """The observations to act on next, [S, N, ...]."""
        return self._obs.copy()

    def reset(self, *, env_offset: int = 0) -> Array:
        """Start episode 0 everywhere and return the observations [S, N, ...].

        Args:
            env_offset: copy n is reset with the integers of copy `env_offset + n`, so that a few
                copies can play, one part after another, the episodes of a larger grid.
        """
        self._env_offset = env_offset
        shape = (self.num_seeds, self.num_envs)
        self._episode = np.zeros(shape, dtype=np.int64)
        self._ended = np.zeros(shape, dtype=bool)
        self._actions: list[list[Any]] = [[] for _ in self._grid]
        self._obs = np.empty((*shape, *self._obs_shape), dtype=self._obs_dtype)
        for i, (s, n) in enumerate(self._grid):
            self._obs[s, n] = self._reset_one(i, s, n)
        self._require_finite("observation at reset", self._obs)
        return self._obs.copy()

    def _reset_one(self, i: int, s: int, n: int) -> Array:
        if self.before_each is not None:
            self.before_each()
        self._actions[i] = []
        copy, episode = self._env_offset + n, int(self._episode[s, n])
        seed = self._streams[s].episode_seed(self._purpose, copy, episode)
        try:
            result = self._envs[i].reset(seed=seed)
        except (Exception, SystemExit) as error:
            hint = (
                "; reset must accept the keyword `seed`"
                if isinstance(error, TypeError) and "seed" in str(error)
                else ""
            )
            raise self._crash(s, n, f"reset(seed={seed}) raised {error!r}{hint}") from error
        if not (isinstance(result, tuple) and len(result) == 2):
            raise self._fault(
                s, n, f"reset returned {describe(result)}, expected the pair (observation, info)"
            )
        return self._checked_obs(s, n, result[0])

    def step(self, actions: Array) -> BatchStep:
        shape = (self.num_seeds, self.num_envs)
        reward = np.zeros(shape)
        terminated, truncated = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        next_obs, obs = self._obs.copy(), self._obs
        for i, (s, n) in enumerate(self._grid):
            if self._ended[s, n]:
                continue
            if self.before_each is not None:
                self.before_each()
            action = self._to_env(actions[s, n])
            self._actions[i].append(actions[s, n])
            next_obs[s, n], reward[s, n], terminated[s, n], truncated[s, n] = self._step_one(
                i, s, n, action
            )
        self._require_finite("reward", reward)
        self._require_finite("observation", next_obs)
        obs[...] = next_obs
        for s, n in np.argwhere(terminated | truncated):
            if self._autoreset:
                self._episode[s, n] += 1
                obs[s, n] = self._reset_one(s * self.num_envs + n, s, n)
            else:
                self._ended[s, n] = True
        self._require_finite("observation at reset", obs)
        return BatchStep(reward, terminated, truncated, next_obs, obs.copy())

    def _step_one(self, i: int, s: int, n: int, action: Any) -> tuple[Array, float, bool, bool]:
        try:
            result = self._envs[i].step(action)
        except (Exception, SystemExit) as error:
            raise self._crash(s, n, f"step({action!r}) raised {error!r}") from error
        if not (isinstance(result, tuple) and len(result) == 5):
            raise self._fault(
                s,
                n,
                f"step returned {describe(result)}, expected "
                "(observation, reward, terminated, truncated, info); an environment of the old "
                "Gym interface returns four values: use gymnasium's `terminated` and `truncated`",
            )
        obs, terminated, truncated = result[0], result[2], result[3]
        reward: Any = result[1]
        if type(reward) is not float and _scalar_kind(reward) not in "biuf":
            raise self._fault(s, n, f"the reward is {describe(reward)}, expected a number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if type(flag) is not bool and _scalar_kind(flag) not in "biu":
                raise self._fault(s, n, f"`{name}` is {describe(flag)}, expected a bool")
        return self._checked_obs(s, n, obs), float(reward), bool(terminated), bool(truncated)

    def _to_env(self, action: Any) -> Any:
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return int(action) + int(space.start)
        assert isinstance(space, spaces.Box)
        clipped: Array = np.clip(action, space.low, space.high).astype(space.dtype)
        return clipped

    def _checked_obs(self, s: int, n: int, obs: Any) -> Array:
        if self._index is not None:
            try:
                return np.asarray(self._index(obs))
            except ValueError as error:
                raise self._fault(s, n, f"the observation {error}") from error
        try:
            array = np.asarray(obs)
        except ValueError as error:
            raise self._fault(s, n, f"the observation is not an array: {error}") from error
        if array.shape != self._obs_shape or array.dtype.kind not in "biuf":
            raise self._fault(
                s,
                n,
                f"the observation has shape {array.shape} and type {array.dtype}, expected "
                f"shape {self._obs_shape} and {self._obs_dtype} as in {self.observation_space}",
            )
        if isinstance(self.observation_space, spaces.Discrete):
            index = array.item() - self._obs_start
            if not (0 <= index < self.observation_space.n and index == int(index)):
                raise self._fault(s, n, f"the observation {obs} is not in {self.observation_space}")
            return np.asarray(int(index))
        with np.errstate(invalid="ignore", over="ignore"):
            converted = array.astype(self._obs_dtype)
        if self._obs_dtype.kind in "iu" and not np.array_equal(converted, array):
            raise self._fault(
                s,
                n,
                f"the observation has a value that {self._obs_dtype} cannot hold, with entries "
                f"from {array.min()} to {array.max()}, expected entries as in "
                f"{self.observation_space}",
            )
        return converted

    def _require_finite(self, what: str, values: Array) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            s, n, *rest = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
            value = values[(s, n, *rest)]
            entry = f", entry {rest}" if rest else ""
            raise self._fault(s, n, f"the {what} is {value}{entry}; it must be finite")

    def _place(self, s: int, n: int) -> str:
        actions = self._actions[s * self.num_envs + n]
        action = f", action {np.asarray(actions[-1]).tolist()}" if actions else ""
        return (
            f"environment {self.name}, copy {n}, episode {int(self._episode[s, n])}, "
            f"step {len(actions)}{action}"
        )

    def _fault(self, s: int, n: int, problem: str) -> EnvironmentFault:
        return EnvironmentFault(self._streams[s].index, f"{self._place(s, n)}: {problem}")

    def _crash(self, s: int, n: int, problem: str) -> SeedError:
        return SeedError(self._streams[s].index, f"{self._place(s, n)}: {problem}")

    def state_dict(self) -> State:
        lengths = np.array([len(actions) for actions in self._actions], dtype=np.int64)
        lengths = lengths.reshape(self.num_seeds, self.num_envs)
        return {
            "episode": self._episode.copy(),
            "ended": self._ended.copy(),
            "num_actions": lengths,
            "actions": [self._action_log(s, lengths[s]) for s in range(self.num_seeds)],
            "obs": self._obs.copy(),
        }

    def _action_log(self, s: int, lengths: Array) -> Array:
        """Return the actions of one seed's running episodes, [N, L, ...], padded to the longest."""
        space = self.action_space
        dtype = np.int64 if isinstance(space, spaces.Discrete) else np.float64
        log = np.zeros((self.num_envs, int(lengths.max()), *(space.shape or ())), dtype=dtype)
        for n in range(self.num_envs):
            actions = self._actions[s * self.num_envs + n]
            if actions:
                log[n, : len(actions)] = actions
        return log

    def load_state_dict(self, state: State) -> None:
        self.reset()
        self._episode = np.array(state["episode"])
        self._ended = np.array(state["ended"])
        for i, (s, n) in enumerate(self._grid):
            obs = self._reset_one(i, s, n)
            for action in state["actions"][s][n, : int(state["num_actions"][s][n])]:
                self._actions[i].append(action)
                obs = self._step_one(i, s, n, self._to_env(action))[0]
            self._obs[s, n] = obs
        # An environment that is not determined by its seed and the actions cannot be resumed
        # exactly; the run continues from its present observations, and is marked.
        self.exact_resume = bool(np.array_equal(self._obs, np.asarray(state["obs"])))

    def close(self) -> None:
        envs, self._envs = self._envs, []
        for env in envs:
            close_env(env, f"environment {env_name(env)}")


def _scalar_kind(value: Any) -> str:
    """Return the `numpy.dtype.kind` of a number or an array without axes; "-" for anything else."""
    try:
        array = np.asarray(value)
    except Exception:  # also of other libraries
        return "-"
    return array.dtype.kind if array.ndim == 0 else "-"
