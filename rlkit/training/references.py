"""Values to compare a curve with: the optimum, the threshold and a random agent's return."""

from __future__ import annotations

import math

import numpy as np

from rlkit.agents.random import RandomActor
from rlkit.environments.environment import Environment
from rlkit.errors import UsageError
from rlkit.evaluation import ENDLESS_STEPS, play_many
from rlkit.seeding import SeedStreams
from rlkit.tabular.bandits.beliefs import bayes_optimal_return, num_beliefs
from rlkit.tabular.planning.undiscounted import best_total_return
from rlkit.tabular.reading.beliefs import Belief
from rlkit.tabular.returns import (
    LimitTooLong,
    best_return_under_limit,
    return_under_limit,
    total_return,
)

_MOST_BELIEFS = 10_000_000  # states of a bandit's belief: some seconds


def references(environment: Environment) -> list[tuple[str, float]]:
    """Return the lines to compare with: the optimum, "solved" and random play, where known."""
    lines = [
        ("optimum", optimum(environment)),
        ("solved", environment.reward_threshold),
        ("random", random_return(environment)),
    ]
    return [
        (label, float(value))
        for label, value in lines
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]


def random_return(environment: Environment, *, episodes: int = 200) -> float | None:
    """Return the return of random play: exact if the model is known, else the mean of episodes.

    Without a time limit it is the return of whole episodes, or of the first `ENDLESS_STEPS` where
    random play may never end and keep earning rewards. None where episodes would have to be
    played one environment at a time.
    """
    mdp = environment.mdp
    if mdp is not None:
        uniform = np.full((mdp.num_states, mdp.num_actions), 1.0 / mdp.num_actions)
        whole = total_return(mdp, uniform) if mdp.time_limit is None else None
        if whole is not None:
            return whole
        try:
            return float(return_under_limit(mdp, uniform, mdp.time_limit or ENDLESS_STEPS)[0])
        except LimitTooLong:
            return None
    if environment.kind != "native":
        return None
    streams = (SeedStreams(0, 0),)
    actor = RandomActor(environment.action_space, streams)
    return float(play_many(actor, environment, streams, episodes, kind="native").returns.mean())


def optimum(environment: Environment) -> float | None:
    """Return the best achievable expected episode return, where it is known.

    It is the optimum under the model's time limit. Without a limit it is the best total reward,
    and None where no policy has a finite one or it is unbounded. Of a bandit that is drawn anew
    each episode it is the Bayes-optimal return, where its computation takes seconds.
    """
    mdp = environment.mdp
    if mdp is None:
        return _bayes_optimum(environment.belief)
    if mdp.time_limit is None:
        return best_total_return(mdp)
    try:
        return best_return_under_limit(mdp)
    except LimitTooLong:
        return None


def require_optimum(environment: Environment) -> None:
    """Require a known optimum, which regret is measured to, before anything is trained.

    Raises:
        UsageError: it is not known.
    """
    if optimum(environment) is None:
        reason = environment.model.problem or (
            "it publishes no transition table P, or no policy has one"
        )
        raise UsageError(
            f"regret (--regret): the exact optimum of {environment.reference} is not known: "
            f"{reason}"
        )


def _bayes_optimum(belief: Belief | None) -> float | None:
    if belief is None or belief.time_limit is None:
        return None
    num_states = num_beliefs(len(belief.priors), belief.time_limit - 1)
    if num_states > _MOST_BELIEFS:
        return None
    return bayes_optimal_return(belief.priors, belief.time_limit)
