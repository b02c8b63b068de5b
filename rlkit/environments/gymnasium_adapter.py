"""A grid of Gymnasium environments as a BatchEnv."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit.agent import State
from rlkit.environments.batch_env import Array, BatchStep
from rlkit.environments.stepping.local import Copies, CopyProblem, LocalCopies
from rlkit.environments.stepping.states import SavedState
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import EnvironmentFault, SeedError
from rlkit.seeding import SeedStreams

MakeCopies = Callable[[int], Copies]

LONG_EPISODE = 10_000  # steps, after which the environment's own state is kept, if it offers it


class GymBatchEnv:
    """Any Gymnasium environment as a BatchEnv, its copies stepped in a plain loop or elsewhere.

    Episode k of copy n of a seed is reset with an integer of its own from the seed's tree of
    streams. The state of a copy is thus the number of its episode and the actions since its reset:
    loading replays them, which works for every environment that is determined by its seed and the
    actions. Where an episode has become long and the environment offers its own state, that is
    kept in place of the actions. Nothing is ever unpickled.

    Args:
        make_env: returns a new environment; called S * N times.
        streams: the streams of each seed.
        num_envs: N.
        purpose: the branch of the streams for resets, "env" or "evaluation".
        autoreset: False to play one episode each.
        make_copies: returns a number of copies; by default they are in this process.
        action_masks: whether to read the environments' action masks.
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env[Any, Any]],
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        purpose: str = "env",
        autoreset: bool = True,
        make_copies: MakeCopies | None = None,
        action_masks: bool = False,
    ) -> None:
        self._streams = tuple(streams)
        self._purpose = purpose
        self._of = "evaluation " if purpose == "evaluation" else ""
        self._env_offset = 0
        # Called before each copy is reset or stepped. If it raises, the grid must be reset.
        self.before_each: Callable[[], None] | None = None
        self._autoreset = autoreset
        self.num_seeds, self.num_envs = len(self._streams), num_envs
        self._grid = [(s, n) for s in range(self.num_seeds) for n in range(num_envs)]
        number = len(self._grid)
        self._copies = (
            LocalCopies(make_env, number, action_masks=action_masks)
            if make_copies is None
            else make_copies(number)
        )
        self.name = self._copies.name
        self.observation_space = self._copies.observation_space
        self.action_space = self._copies.action_space
        self._layout = ActionLayout(self.action_space)
        self._has_masks = action_masks
        # Of the observations to act on next, and of the true successors of the last step; bool
        # [S, N, choices], or None without masks.
        self.action_masks: Array | None = None
        self.next_action_masks: Array | None = None
        discrete = isinstance(self.observation_space, spaces.Discrete)
        self._obs_dtype = np.dtype(np.int64 if discrete else self.observation_space.dtype)
        self._may_be_infinite = self._obs_dtype.kind == "f"
        self.long_episode = LONG_EPISODE
        self._keeps_states = self._copies.offers_state
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
        # Since the reset; of long episodes whose state was kept, since then.
        self._actions: list[list[Any]] = [[] for _ in self._grid]
        self._steps_before = np.zeros(shape, dtype=np.int64)  # of these episodes, until then
        obs_shape = self.observation_space.shape or ()
        self._obs = np.empty((*shape, *obs_shape), dtype=self._obs_dtype)
        self.action_masks = self._new_masks()
        self._reset_some(range(len(self._grid)), self._obs)
        if self._may_be_infinite:
            self._require_finite("observation at reset", self._obs)
        return self._obs.copy()

    def _reset_some(self, copies: Iterable[int], obs: Array) -> None:
        """Start the next episodes of some copies and write their first observations to `obs`."""
        seeds = {i: self._episode_seed(i) for i in copies}
        for i in seeds:
            self._actions[i] = []
            self._steps_before[self._grid[i]] = 0
        with self._placing_problems():
            for i, first in self._copies.reset(seeds, self.before_each):
                obs[self._grid[i]] = first.obs
                _put(self.action_masks, self._grid[i], first.action_mask)

    def _new_masks(self) -> Array | None:
        """Return masks that allow everything, as after the end of an episode."""
        if not self._has_masks:
            return None
        return np.ones((self.num_seeds, self.num_envs, self._layout.num_choices), dtype=bool)

    def _episode_seed(self, i: int) -> int:
        s, n = self._grid[i]
        copy, episode = self._env_offset + n, int(self._episode[s, n])
        return self._streams[s].episode_seed(self._purpose, copy, episode)

    def step(self, actions: Array) -> BatchStep:
        shape = (self.num_seeds, self.num_envs)
        reward = np.zeros(shape)
        terminated, truncated = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        next_obs, obs = self._obs.copy(), self._obs
        running = {i: actions[s, n] for i, (s, n) in enumerate(self._grid) if not self._ended[s, n]}
        for i, action in running.items():
            self._actions[i].append(action)
        masks = self._new_masks()
        with self._placing_problems():
            for i, one in self._copies.step(running, self.before_each):
                place = self._grid[i]
                next_obs[place], reward[place] = one.obs, one.reward
                terminated[place], truncated[place] = one.terminated, one.truncated
                _put(masks, place, one.action_mask)
        if self._may_be_infinite:
            self._require_finite("observation", next_obs)
        obs[...] = next_obs
        self.next_action_masks = masks
        self.action_masks = None if masks is None else masks.copy()
        last = terminated | truncated
        if not self._autoreset:
            self._ended |= last
        elif last.any():
            self._episode += last
            self._reset_some(np.flatnonzero(last).tolist(), obs)
            if self._may_be_infinite:
                self._require_finite("observation at reset", obs)
        return BatchStep(reward, terminated, truncated, next_obs, obs.copy())

    def _require_finite(self, what: str, values: Array) -> None:
        is_finite = np.isfinite(values)
        # The first False is the smallest entry; to find it takes half the time of `all`.
        if not is_finite.item(is_finite.argmin()):
            s, n, *rest = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
            value = values[(s, n, *rest)]
            entry = f", entry {rest}" if rest else ""
            raise self._fault(s, n, f"the {what} is {value}{entry}; it must be finite")

    def _place(self, s: int, n: int) -> str:
        actions = self._actions[s * self.num_envs + n]
        action = f", action {np.asarray(actions[-1]).tolist()}" if actions else ""
        return (
            f"environment {self.name}, {self._of}copy {self._env_offset + n}, "
            f"episode {int(self._episode[s, n])}, "
            f"step {int(self._steps_before[s, n]) + len(actions)}{action}"
        )

    def _fault(self, s: int, n: int, problem: str) -> EnvironmentFault:
        return EnvironmentFault(self._streams[s].index, f"{self._place(s, n)}: {problem}")

    @contextlib.contextmanager
    def _placing_problems(self) -> Iterator[None]:
        """Raise the problem of a copy as an error of its seed that names its place."""
        try:
            yield
        except CopyProblem as error:
            s, n = self._grid[error.copy]
            if error.steps is not None:
                del self._actions[error.copy][error.steps :]
            kind = EnvironmentFault if error.problem.is_fault else SeedError
            text = f"{self._place(s, n)}: {error.problem}"
            raise kind(self._streams[s].index, text, error.problem.trace) from error.__cause__

    @property
    def keeps_states(self) -> bool:
        """Whether the environment offers states, which are kept in place of many actions."""
        return self._keeps_states

    @property
    def longest_replay(self) -> int:
        """The steps of the longest running episode, which resuming plays again."""
        return 0 if self._keeps_states else max(map(len, self._actions))

    def state_dict(self) -> State:
        states = self._states_of_long_episodes() if self._keeps_states else {}
        lengths = np.array([len(actions) for actions in self._actions], dtype=np.int64)
        lengths = lengths.reshape(self.num_seeds, self.num_envs)
        state: State = {
            "episode": self._episode.copy(),
            "ended": self._ended.copy(),
            "num_actions": lengths,
            "actions": [self._action_log(s, lengths[s]) for s in range(self.num_seeds)],
            "obs": self._obs.copy(),
        }
        if self._keeps_states:
            state["steps_before"] = self._steps_before.copy()
            state["states"] = [self._state_rows(s, states) for s in range(self.num_seeds)]
        return state

    def _states_of_long_episodes(self) -> dict[int, bytes]:
        """Return the states of copies in long episodes, whose actions are forgotten."""
        steps = self._steps_before.ravel() + [len(actions) for actions in self._actions]
        long = np.flatnonzero((steps > self.long_episode) & ~self._ended.ravel()).tolist()
        with self._placing_problems():
            states = dict(self._copies.save(long, None))
        for i in states:
            self._steps_before[self._grid[i]] = steps[i]
            self._actions[i] = []
        return states

    def _state_rows(self, s: int, states: Mapping[int, bytes]) -> Array:
        """Return the states of one seed's copies as JSON, in UTF-8."""
        own = [states.get(s * self.num_envs + n, b"").decode() for n in range(self.num_envs)]
        return np.frombuffer(json.dumps(own).encode(), dtype=np.uint8)

    def _action_log(self, s: int, lengths: Array) -> Array:
        """Return the actions of one seed's running episodes, [N, L, ...], padded to the longest."""
        shape = (self.num_envs, int(lengths.max()), *self._layout.shape)
        log = np.zeros(shape, dtype=self._layout.dtype)
        for n in range(self.num_envs):
            actions = self._actions[s * self.num_envs + n]
            if actions:
                log[n, : len(actions)] = actions
        return log

    def load_state_dict(self, state: State) -> None:
        self._keeps_states &= "states" in state  # an older rlkit kept none
        self.reset()
        self.action_masks = self._new_masks()
        self._episode = np.array(state["episode"])
        self._ended = np.array(state["ended"])
        episodes, states = {}, {}
        for i, (s, n) in enumerate(self._grid):
            self._actions[i] = list(state["actions"][s][n, : int(state["num_actions"][s][n])])
            seed = self._episode_seed(i)
            if self._keeps_states and (steps := int(state["steps_before"][s][n])):
                self._steps_before[s, n] = steps
                kept = json.loads(np.asarray(state["states"][s], dtype=np.uint8).tobytes())[n]
                states[i] = SavedState(seed, kept.encode())
                self._obs[s, n] = state["obs"][s][n]
            else:
                episodes[i] = seed, tuple(self._actions[i])
        with self._placing_problems():
            for i, now in self._copies.replay(episodes, self.before_each):
                self._obs[self._grid[i]] = now.obs
                _put(self.action_masks, self._grid[i], now.action_mask)
            restored = dict(self._copies.restore(states, self.before_each))
        # An environment that is not determined by its seed and the actions cannot be resumed
        # exactly; the run continues from its present observations, and is marked.
        self.exact_resume = bool(np.array_equal(self._obs, np.asarray(state["obs"]))) and all(
            restored[i] == saved.state for i, saved in states.items()
        )

    def close(self) -> None:
        self._copies.close()


def _put(masks: Array | None, place: tuple[int, int], mask: Array | None) -> None:
    """Write the mask of one environment."""
    if masks is not None and mask is not None:
        masks[place] = mask
