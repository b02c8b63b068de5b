"""The one loop: act, step, learn; and the playing of whole episodes for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor, Agent, Transition
from rlkit.batch_env import BatchEnv

Array = NDArray[Any]


def interact(
    agent: Agent, env: BatchEnv, num_steps: int, *, obs: Array | None = None
) -> Iterator[tuple[Transition, Mapping[str, Array]]]:
    """Let an agent act and learn; yield each transition with the metrics of what was learned.

    Args:
        agent: acts on [S, N, ...] and learns from each transition.
        env: the environments it acts in.
        num_steps: how many steps each environment takes.
        obs: the observations to go on from; the environments are reset when left out.
    """
    if obs is None:
        obs = env.reset()
    for _ in range(num_steps):
        action = agent.act(obs)
        transition = Transition(obs, action, *env.step(action))
        yield transition, agent.learn(transition)
        obs = transition.following_obs


class Episodes(NamedTuple):
    """Whole episodes, one of each environment of the grid [S, M]."""

    returns: Array  # undiscounted sum of the raw rewards
    lengths: Array  # in steps
    cut: Array  # bool: stopped by `max_steps`, not by the environment


def play(actor: Actor, env: BatchEnv, *, max_steps: int) -> Episodes:
    """Play one episode in each environment and count all of them, long or short.

    Args:
        actor: the policy.
        env: built with `autoreset=False`.
        max_steps: where an episode is cut if the environment never ends it.
    """
    obs = env.reset()
    returns = np.zeros((env.num_seeds, env.num_envs))
    lengths = np.zeros((env.num_seeds, env.num_envs), dtype=np.int64)
    for _ in range(max_steps):
        lengths += ~env.ended
        reward, _, _, _, obs = env.step(actor.act(obs))
        returns += reward
        if env.ended.all():
            break
    return Episodes(returns, lengths, ~env.ended)
