"""Plays whole episodes of a learner of tables with its own kernels, and keeps each of them.

A run counts environment steps, but the figures of the book count episodes. The loop below is the
compiled one without a tracker: act, step, learn, until the episode ends.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.environments.table import TabularBatchEnv
from rlkit.environments.table_kernels import Outcome, Place, Table, step
from rlkit.maths.compiled import compose
from rlkit.seeding import SeedStreams
from rlkit.tabular import mdp_from_env

Array = NDArray[Any]
MOST_STEPS = 1_000_000  # of a seed, for the sizes of its tables


class Episodes(NamedTuple):
    """The episodes of each seed."""

    returns: Array  # [S, E]
    lengths: Array  # [S, E]
    tables: Array  # [S, states, actions], at the end
    each_table: Array  # [S, E, states, actions], after each episode; E is 0 unless kept


def act(*arguments: Any) -> None:
    """Stand for an agent's kernel in the text of the loop."""


learn = act


def _play(
    table: Table,
    place: Place,
    env_generator: np.random.Generator,
    state: Any,
    generator: np.random.Generator,
    buffers: tuple[Array, Array, Array, Array, Array],
    outcome: Outcome,
    returns: Array,
    lengths: Array,
    each_table: Array,
) -> None:
    obs, noise, actions, env_noise, metrics = buffers
    for episode in range(returns.shape[0]):
        ended = False
        while not ended:
            for i in range(noise.shape[0]):
                noise[i, 0] = generator.random()
            act(state, obs, noise, actions)
            env_noise[0, 0], env_noise[1, 0] = env_generator.random(), env_generator.random()
            step(table, place, actions, env_noise, outcome)
            learn(state, obs, actions, outcome, metrics)
            obs[0] = place.state[0]
            returns[episode] += outcome.reward[0]
            lengths[episode] += 1
            ended = outcome.terminated[0] or outcome.truncated[0]
        if each_table.shape[0]:
            for s in range(each_table.shape[1]):
                for a in range(each_table.shape[2]):
                    each_table[episode, s, a] = state.table.q[s, a]


_model = functools.cache(mdp_from_env)  # it is compared with the environment at length


def play_episodes(
    agent: str,
    make: Callable[[], gym.Env[Any, Any]],
    *,
    num_seeds: int,
    num_episodes: int,
    keep_tables: bool = False,
    **options: Any,
) -> Episodes:
    """Return the first episodes of a learner of tables in an environment with a known model."""
    mdp, kind = _model(make), find_agent(agent)
    streams = tuple(SeedStreams(0, s) for s in range(num_seeds))
    env = TabularBatchEnv(mdp, streams, 1)
    env.reset()
    spaces = env.observation_space, env.action_space
    learner: Any = kind(Task(*spaces, streams, 1, MOST_STEPS, mdp), kind.Config(**options))
    loop = compose(_play, **learner.kernels._asdict())
    table, places, _ = env.compiled()
    size = mdp.num_states, mdp.num_actions
    returns, lengths = np.zeros((2, num_seeds, num_episodes))
    each_table = np.zeros((num_seeds, num_episodes if keep_tables else 0, *size))
    outcome = Outcome(np.empty(1), np.empty(1, bool), np.empty(1, bool), np.empty(1, np.int64))
    for s in range(num_seeds):
        noise, metrics = np.empty_like(learner.noise.row), np.empty(len(learner.metrics))
        action = np.empty(1, dtype=np.int64)
        buffers = (places[s].state.copy(), noise, action, np.empty((2, 1)), metrics)
        loop(
            table,
            places[s],
            streams[s].generator("env", 1),
            learner.kernel_state(s, MOST_STEPS),
            streams[s].generator("action", 1),
            buffers,
            outcome,
            returns[s],
            lengths[s],
            each_table[s],
        )
    q = learner.actor().action_values(np.tile(np.arange(size[0]), (num_seeds, 1)))
    return Episodes(returns, lengths, q, each_table)
