"""A `[S, N]` grid of one environment: seeding, time limit, autoreset and saving.

A twin of a Gymnasium environment subclasses `BatchedEnv` and supplies only its physics: how an
episode starts (`_first`), how states advance (`_advance`) and how they are observed (`_observe`).
States are held component-major, `[D, S, N]`, so that each component is one contiguous array.

Equality to the last bit requires the arithmetic of the original, which uses NumPy scalars. Two
things to know when writing a twin:

- `+ - * /`, comparisons, `np.sin`, `np.cos` and `%` round the same on an array and on a scalar.
- `x**2` does not: a scalar is squared by the C library's `pow`, an array by `x * x`, and about one
  value in a thousand differs in its last bit. `np.float_power(x, 2.0)` calls `pow` for each element
  (for float64); `np.power` may not, depending on the processor.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Observations = NDArray[np.float32]
EpisodeSeed = Callable[[int, int, int], int]


class BatchedEnv(ABC):
    """S x N copies of one environment, stepped together, each bit for bit Gymnasium's own.

    Args:
        episode_seed: `(seed_index, env_index, episode) -> int`, the seed with which that episode
            is reset, as in `env.reset(seed=...)`; episodes are numbered from 0.
        num_seeds: S, at least 1.
        num_envs: N, environments of each seed, at least 1.
        autoreset: start the next episode in the step that ends one; otherwise each environment
            plays one episode and then stays idle.
        max_episode_steps: the time limit, at least 1, or None for no limit.

    Attributes:
        ended: `[S, N]`, True where an environment is idle because its episode is over (only
            without autoreset).
    """

    def __init__(
        self,
        episode_seed: EpisodeSeed,
        num_seeds: int,
        num_envs: int,
        autoreset: bool,
        max_episode_steps: int | None,
    ) -> None:
        self.num_seeds = self._at_least_one("num_seeds", num_seeds)
        self.num_envs = self._at_least_one("num_envs", num_envs)
        self.autoreset = bool(autoreset)
        self.max_episode_steps = (
            None
            if max_episode_steps is None
            else self._at_least_one("max_episode_steps", max_episode_steps)
        )
        self._episode_seed = episode_seed
        grid = (self.num_seeds, self.num_envs)
        self.ended: Flags = np.zeros(grid, dtype=np.bool_)
        self._elapsed = np.zeros(grid, dtype=np.int64)
        self._episode = np.zeros(grid, dtype=np.int64)
        self._state: Floats | None = None

    # What a twin supplies.

    env_id: ClassVar[str]  # Gymnasium's name of the environment
    original: ClassVar[str]  # Gymnasium's entry point, `module:Class`
    observation_space: ClassVar[gymnasium.Space[Any]]  # of one environment
    action_space: ClassVar[gymnasium.Space[Any]]  # of one environment: Discrete (from 0), or Box
    _state_size: ClassVar[int]  # D, the number of components of a state

    @abstractmethod
    def _first(self, rng: np.random.Generator) -> tuple[Floats, Observations]:
        """Return the state `[D]` and the observation with which an episode starts."""

    @abstractmethod
    def _advance(self, state: Floats, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags]:
        """Return next states `[D, S, N]`, rewards and terminations `[S, N]`, in new arrays.

        `actions` is `[S, N]` int64 within range for a Discrete space, and `[S, N, d]` of the
        space's dtype within bounds for a Box.
        """

    def _observe(self, state: Floats) -> Observations:
        """Return the observations of states `[D, S, N]` in a new array `[S, N, ...]`.

        By default the state itself, in single precision.
        """
        return state.transpose(1, 2, 0).astype(np.float32, order="C")

    # What every twin does.

    def reset(self) -> Observations:
        """Start episode 0 in every environment; return the observations `[S, N, ...]`."""
        starts = [
            self._start(seed, env, 0)
            for seed in range(self.num_seeds)
            for env in range(self.num_envs)
        ]
        grid = (self.num_seeds, self.num_envs)
        states = np.stack([state for state, _ in starts], axis=-1, dtype=np.float64)
        self._state = states.reshape(self._state_size, *grid)
        self.ended = np.zeros(grid, dtype=np.bool_)
        self._elapsed = np.zeros(grid, dtype=np.int64)
        self._episode = np.zeros(grid, dtype=np.int64)
        obs = np.stack([obs for _, obs in starts])
        return obs.reshape(*grid, *obs.shape[1:])

    def step(self, actions: ArrayLike) -> tuple[Floats, Flags, Flags, Observations, Observations]:
        """Take one step in every environment that is not idle.

        An environment that is idle (without autoreset, after its episode) has reward 0, both flags
        False and the observation with which its episode ended.

        Args:
            actions: `[S, N]` integers for a Discrete space; `[S, N, d]` numbers for a Box, clipped
                to its bounds and cast to its dtype.

        Returns:
            reward `[S, N]`; terminated `[S, N]` and truncated `[S, N]`, both True where an episode
            terminates on its last allowed step; the true next observation `[S, N, ...]` of each
            transition; and the observation to act on next, which differs from it only where
            an episode ended: there it is the first of the next episode.

        Raises:
            ValueError: the actions have a wrong shape or type, or one is out of range.
            RuntimeError: `reset` was never called.
        """
        state = self._started("step")
        next_state, reward, terminated = self._advance(state, self._checked(actions))
        self._elapsed += ~self.ended
        if self.max_episode_steps is None:
            truncated = np.zeros_like(terminated)
        else:
            truncated = self._elapsed >= self.max_episode_steps
        if not self.autoreset:
            idle = self.ended
            next_state[:, idle] = state[:, idle]
            reward[idle] = 0.0
            terminated[idle] = False
            truncated[idle] = False
        self._state = next_state
        next_obs = self._observe(next_state)
        obs = next_obs.copy()
        is_last = terminated | truncated
        if is_last.any():
            if self.autoreset:
                self._start_next_episodes(next_state, obs, is_last)
            else:
                self.ended = self.ended | is_last
        return reward, terminated, truncated, next_obs, obs

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return everything that changes, each entry with a leading seed axis.

        `state` `[S, N, D]`: the physical state; `elapsed_steps` `[S, N]`: steps of the running
        episode; `episode` `[S, N]`: its number; `ended` `[S, N]`: idle environments.
        """
        state = self._started("state_dict")
        return {
            "state": state.transpose(1, 2, 0).copy(),
            "elapsed_steps": self._elapsed.copy(),
            "episode": self._episode.copy(),
            "ended": self.ended.copy(),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue bit for bit from a state that `state_dict` returned, even without a reset.

        Raises:
            ValueError: an entry is missing, unknown, or of a wrong shape.
        """
        grid = (self.num_seeds, self.num_envs)
        expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "state": ((*grid, self._state_size), np.float64),
            "elapsed_steps": (grid, np.int64),
            "episode": (grid, np.int64),
            "ended": (grid, np.bool_),
        }
        if set(state) != set(expected):
            raise ValueError(
                f"{self.env_id}: loading a state: expected the entries {sorted(expected)}, "
                f"got {sorted(state)}"
            )
        entries = {}
        for name, (shape, dtype) in expected.items():
            entry = np.asarray(state[name])
            if entry.shape != shape or entry.dtype != dtype:
                raise ValueError(
                    f"{self.env_id}: loading a state: expected {name} as {np.dtype(dtype)} "
                    f"{list(shape)}, got {entry.dtype} {list(entry.shape)}"
                )
            entries[name] = entry
        self._state = entries["state"].transpose(2, 0, 1).copy()
        self._elapsed = entries["elapsed_steps"].copy()
        self._episode = entries["episode"].copy()
        self.ended = entries["ended"].copy()

    def close(self) -> None:  # noqa: B027 (not abstract: there is nothing to close)
        """Do nothing: nothing is held open."""

    def _start(self, seed_index: int, env_index: int, episode: int) -> tuple[Floats, Observations]:
        seed = self._episode_seed(seed_index, env_index, episode)
        if type(seed) is not int or seed < 0:
            raise ValueError(
                f"{self.env_id}: starting episode {episode} of environment "
                f"[{seed_index}, {env_index}]: expected a Python int >= 0 from episode_seed, "
                f"got {seed!r}"
            )
        return self._first(seeding.np_random(seed)[0])

    def _start_next_episodes(self, state: Floats, obs: Observations, is_last: Flags) -> None:
        self._episode += is_last
        self._elapsed[is_last] = 0
        seeds, envs = (index.tolist() for index in is_last.nonzero())
        episodes = self._episode[is_last].tolist()
        for seed_index, env_index, episode in zip(seeds, envs, episodes, strict=True):
            first_state, first_obs = self._start(seed_index, env_index, episode)
            state[:, seed_index, env_index] = first_state
            obs[seed_index, env_index] = first_obs

    def _started(self, doing: str) -> Floats:
        if self._state is None:
            raise RuntimeError(f"{self.env_id}: {doing} before reset: call reset() first")
        return self._state

    def _checked(self, actions: ArrayLike) -> NDArray[Any]:
        array = np.asarray(actions)
        grid = (self.num_seeds, self.num_envs)
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            self._check_form(array, grid, "iu", "integers")
            array = array.astype(np.int64, copy=False)
            wrong = (array < 0) | (array >= space.n)
            if wrong.any():
                raise self._wrong_action(array, wrong, f"an integer from 0 to {space.n - 1}")
            return array
        assert isinstance(space, spaces.Box)
        self._check_form(array, grid + space.shape, "fiu", "numbers")
        nan = np.isnan(array)
        if nan.any():
            raise self._wrong_action(array, nan, "a number")
        clipped: NDArray[Any] = np.clip(array, space.low, space.high)
        return clipped.astype(space.dtype, copy=False)

    def _check_form(
        self, array: NDArray[Any], shape: tuple[int, ...], kinds: str, words: str
    ) -> None:
        if array.shape != shape or array.dtype.kind not in kinds:
            raise ValueError(
                f"{self.env_id}: step: expected actions as {words} of shape {list(shape)}, "
                f"got {array.dtype} of shape {list(array.shape)}"
            )

    def _wrong_action(self, array: NDArray[Any], wrong: Flags, expected: str) -> ValueError:
        position = [int(index) for index in np.argwhere(wrong)[0]]
        return ValueError(
            f"{self.env_id}: step: expected {expected} as the action at {position}, "
            f"got {array[tuple(position)]}"
        )

    def _at_least_one(self, name: str, value: int) -> int:
        number = operator.index(value)
        if number < 1:
            raise ValueError(f"{self.env_id}: expected {name} to be at least 1, got {number}")
        return number
