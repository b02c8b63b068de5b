"""Any known finite MDP as a grid [S, N] of environments, stepped all at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State
from rlkit.environments.batch_env import BatchStep
from rlkit.environments.table_kernels import Place, Table
from rlkit.maths.compiled import unsigned
from rlkit.seeding import NoiseBlocks, SeedStreams, uniform_rows
from rlkit.tabular.mdp import TabularMDP

Array = NDArray[Any]


class TabularBatchEnv:
    """Samples successors and first states from the tables of a model.

    Two uniform numbers per step and environment decide, one for the successor and one for the first
    state of the next episode; they come from the seed's stream for its environments.

    Args:
        mdp: the model, with its time limit.
        streams: the streams of each seed.
        num_envs: N.
        purpose: the branch of the streams, "env" or "evaluation".
        autoreset: False to play one episode each.
    """

    def __init__(
        self,
        mdp: TabularMDP,
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        purpose: str = "env",
        autoreset: bool = True,
    ) -> None:
        self._mdp, self._streams, self._purpose = mdp, tuple(streams), purpose
        self._autoreset = autoreset
        self.num_seeds, self.num_envs = len(self._streams), num_envs
        self.observation_space = spaces.Discrete(mdp.num_states)
        self.action_space = spaces.Discrete(mdp.num_actions)
        # The last possible successor gets the remainder, so that rounding never picks another.
        self._successors = mdp.padded()
        self._cumulative = _cumulative(self._successors.probability)
        self._start = _cumulative(mdp.initial_distribution)
        self._state: Array = np.zeros((self.num_seeds, num_envs), dtype=np.int64)
        self._elapsed: Array = np.zeros_like(self._state)

    def compiled(self) -> tuple[Table, list[Place], NoiseBlocks]:
        """Return the model for `table_kernels`, the place of each seed (views) and the noise."""
        self._state, self._elapsed = self._state.copy(), self._elapsed.copy()
        places = [Place(*both) for both in zip(self._state, self._elapsed, strict=True)]
        return self._table, places, self._noise

    @functools.cached_property
    def _table(self) -> Table:
        mdp = self._mdp
        padded = np.arange(self._cumulative.shape[-1]) < np.diff(mdp.row_start).reshape(
            mdp.num_states, mdp.num_actions, 1
        )
        return Table(
            row_start=unsigned(mdp.row_start),
            cumulative=self._cumulative[padded],
            next_state=mdp.next_state,
            reward=mdp.reward,
            terminated=mdp.terminated,
            first_state=self._start,
            num_actions=np.uint32(mdp.num_actions),
            time_limit=np.iinfo(np.int64).max if mdp.time_limit is None else mdp.time_limit,
        )

    @property
    def obs(self) -> Array:
        """The observations to act on next, [S, N]."""
        return self._state.copy()

    @property
    def ended(self) -> Array:
        return self._ended

    def reset(self) -> Array:
        shape = (self.num_seeds, self.num_envs)
        self._noise = NoiseBlocks(
            [stream.generator(self._purpose) for stream in self._streams],
            uniform_rows(2, self.num_envs),
            block_length=256,
        )
        self._ended = np.zeros(shape, dtype=bool)
        self._elapsed = np.zeros(shape, dtype=np.int64)
        self._state = np.searchsorted(self._start, self._noise.next()[:, 1], side="right")
        return self._state.copy()

    def step(self, actions: Array) -> BatchStep:
        mdp, state = self._mdp, self._state
        noise = self._noise.next()
        branch = (self._cumulative[state, actions] <= noise[:, 0, :, None]).sum(axis=-1)
        reward = self._successors.reward[state, actions, branch]
        terminated = self._successors.terminated[state, actions, branch]
        next_obs = self._successors.next_state[state, actions, branch]
        self._elapsed += 1
        if mdp.time_limit is None:
            truncated = np.zeros_like(terminated)
        else:
            truncated = self._elapsed >= mdp.time_limit
        if not self._autoreset:
            idle = self._ended.copy()
            reward = np.where(idle, 0.0, reward)
            terminated, truncated = terminated & ~idle, truncated & ~idle
            next_obs = np.where(idle, state, next_obs)
            self._ended |= terminated | truncated
            self._state = next_obs
            return BatchStep(reward, terminated, truncated, next_obs, next_obs.copy())
        is_last = terminated | truncated
        self._state = next_obs
        if is_last.any():
            first = np.searchsorted(self._start, noise[:, 1], side="right")
            self._state = np.where(is_last, first, next_obs)
            self._elapsed[is_last] = 0
        return BatchStep(reward, terminated, truncated, next_obs, self._state.copy())

    def state_dict(self) -> State:
        return {
            "state": self._state.copy(),
            "elapsed": self._elapsed.copy(),
            "ended": self._ended.copy(),
            "noise": self._noise.state(),
        }

    def load_state_dict(self, state: State) -> None:
        self.reset()
        self._state = np.array(state["state"])
        self._elapsed = np.array(state["elapsed"])
        self._ended = np.array(state["ended"])
        self._noise.load(np.asarray(state["noise"]))

    def close(self) -> None:
        pass


def _cumulative(probability: Array) -> Array:
    """Return cumulative probabilities along the last axis, 1 from the last possible outcome on."""
    total = np.cumsum(probability, axis=-1)
    outcomes = np.arange(probability.shape[-1])
    last_possible = np.where(probability > 0.0, outcomes, -1).max(axis=-1, keepdims=True)
    cumulative: Array = np.where(outcomes >= last_possible, 1.0, total)
    return cumulative
