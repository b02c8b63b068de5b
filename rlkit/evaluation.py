"""How good the current policy is: exactly where the model is known, by whole episodes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.batch_env import BatchEnv, GymBatchEnv
from rlkit.environments import DEFAULT_EVALUATION_LIMIT, Environment
from rlkit.loop import Episodes, play
from rlkit.seeding import SeedStreams
from rlkit.tabular.exact import return_under_limit, total_return
from rlkit.tabular.mdp import TabularMDP

Array = NDArray[Any]


class Evaluation(NamedTuple):
    """Undiscounted returns of a policy, for each seed."""

    mean: Array  # [S]
    std: Array  # [S], over episodes; NaN where the mean is exact


def evaluation_limit(mdp: TabularMDP) -> int:
    """The model's own time limit, or where evaluation stops if it has none."""
    return DEFAULT_EVALUATION_LIMIT if mdp.time_limit is None else mdp.time_limit


class ExactReturns(NamedTuple):
    """The expected episode return of each seed's policy, by calculation."""

    returns: Array  # [S], float64
    endless: (
        Array  # [S], bool: there is no finite return, and `returns` has that of the first steps
    )


def exact_returns(actor: Actor, mdp: TabularMDP, num_seeds: int) -> ExactReturns | None:
    """The expected return of each seed's policy, or None if the actor cannot tell.

    Under the model's time limit, or else of whole episodes. Without a limit a policy may go on for
    ever and keep earning rewards; then its return is that of its first `evaluation_limit(mdp)`
    steps, and `endless` says so.

    It needs an actor that gives the `probabilities` of its actions.
    """
    probabilities = getattr(actor, "probabilities", None)
    if probabilities is None:
        return None
    policies = probabilities(np.tile(np.arange(mdp.n_states), (num_seeds, 1)))
    if mdp.time_limit is not None:
        returns = return_under_limit(mdp, policies)
        return ExactReturns(returns, np.zeros(num_seeds, dtype=np.bool_))
    # One seed at a time, so that its bytes do not depend on the others.
    whole = [total_return(mdp, policy) for policy in policies]
    endless = np.array([total is None for total in whole], dtype=np.bool_)
    returns = np.array([np.nan if total is None else total for total in whole])
    if endless.any():
        limit = evaluation_limit(mdp)
        returns[endless] = return_under_limit(mdp, policies[endless], limit)
    return ExactReturns(returns, endless)


class Evaluator:
    """Evaluates the seeds of a run, always on the same episodes, with environments of its own.

    Args:
        environment: what to evaluate on.
        streams: the streams of each seed.
        num_episodes: of each seed, where the return is not known exactly.
        kind: how the environments are stepped.
    """

    def __init__(
        self,
        environment: Environment,
        streams: Sequence[SeedStreams],
        num_episodes: int,
        *,
        kind: str,
    ) -> None:
        self._environment, self._streams = environment, streams
        self._num_episodes, self._kind = num_episodes, kind
        self._grid: BatchEnv | None = None
        self._max_steps = step_limit(environment)
        self.was_cut = False  # whether an episode went on beyond what is played

    def __call__(self, actor: Actor) -> Evaluation:
        """Return the mean and deviation of each seed's episode return."""
        num_seeds = len(self._streams)
        if self._environment.mdp is not None:
            exact = exact_returns(actor, self._environment.mdp, num_seeds)
            if exact is not None:
                return Evaluation(exact.returns, np.full(num_seeds, np.nan))
        if self._grid is None:
            self._grid = self._environment.grid(
                self._streams,
                self._num_episodes,
                kind=self._kind,
                purpose="evaluation",
                autoreset=False,
            )
        played = play(actor, self._grid, max_steps=self._max_steps)
        self.was_cut |= bool(played.cut.any())
        return Evaluation(played.returns.mean(axis=1), played.returns.std(axis=1))

    def close(self) -> None:
        """Close the environments."""
        if self._grid is not None:
            self._grid.close()


def play_many(
    actor: Actor,
    environment: Environment,
    streams: Sequence[SeedStreams],
    num_episodes: int,
    *,
    kind: str,
    at_once: int = 50,
) -> Episodes:
    """Play any number of episodes for each seed, with few environments where each is an object.

    Returns:
        the episodes, [S, num_episodes]; the first ones are those that evaluation in training uses.
    """
    limit = step_limit(environment)
    size = min(num_episodes, at_once) if kind == "gymnasium" else num_episodes
    grid = environment.grid(streams, size, kind=kind, purpose="evaluation", autoreset=False)
    parts = []
    try:
        for first in range(0, num_episodes, size):
            if isinstance(grid, GymBatchEnv):
                grid.first_copy = first
            parts.append(play(actor, grid, max_steps=limit))
    finally:
        grid.close()
    columns = zip(*parts, strict=True)
    joined = [np.concatenate(column, axis=1)[:, :num_episodes] for column in columns]
    return Episodes(*joined)


def step_limit(environment: Environment) -> int:
    """Where evaluation cuts an episode: the environment's own limit, or a default without one."""
    probe = environment.make()
    limits = [probe.spec.max_episode_steps if probe.spec is not None else None]
    layer = probe
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        layer = layer.env
    limit = min((one for one in limits if one is not None), default=None)
    probe.close()
    return DEFAULT_EVALUATION_LIMIT if limit is None else limit
