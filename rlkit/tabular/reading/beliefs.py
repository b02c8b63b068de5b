"""Read the priors that a Bernoulli bandit publishes, where every episode is another bandit.

An environment with one observation whose `unwrapped.beta_priors`, `[K, 2]`, are the alpha and beta
of its K arms claims that each reset draws the mean of arm k from Beta(alpha_k, beta_k), and that
the arm then pays 1 with that probability, else 0. As for tables, the claim is tested by playing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from rlkit.processes.calls import describe
from rlkit.tabular.bandits.beliefs import check_priors
from rlkit.tabular.mdp import FloatArray, IntArray
from rlkit.tabular.reading.fit import Rows, find_misfit
from rlkit.tabular.reading.published import UnknownModel, call
from rlkit.tabular.reading.wrappers import TRANSPARENT, layers_of, time_limit

EPISODES = 1_000  # that are played with each arm
_PULLS = 2  # of an episode: with fewer one could not see whether means are redrawn


class Belief(NamedTuple):
    """The distribution that bandits are drawn from."""

    priors: FloatArray  # [K, 2]: alpha and beta of each arm
    time_limit: int | None  # pulls of an episode


def belief_from_env(make_env: Callable[[], gym.Env[Any, Any]]) -> Belief | None:
    """Return the priors that an environment publishes and follows, or None if it has none.

    Args:
        make_env: returns an environment; it is closed again.

    Raises:
        UnknownModel: the rewards do not fit the priors, or the environment raised an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = call("making an environment", make_env)
        try:
            return _checked(env)
        finally:
            call("close", env.close)


def _checked(env: gym.Env[Any, Any]) -> Belief | None:
    layers = layers_of(env)
    try:
        published = getattr(layers[-1], "beta_priors", None)
    except Exception as error:
        raise UnknownModel(f"reading its beta_priors raised {describe(error)}") from error
    states, actions = env.observation_space, env.action_space
    if published is None or any(type(layer) not in TRANSPARENT for layer in layers[:-1]):
        return None
    if not (isinstance(states, Discrete) and states.n == 1 and isinstance(actions, Discrete)):
        return None
    try:
        priors = check_priors(published)
    except ValueError as error:
        raise UnknownModel(f"its beta_priors are not used: {error}") from error
    if len(priors) != actions.n:
        raise UnknownModel(
            f"its beta_priors are not used: expected one pair for each of {actions.n} arms, got "
            f"{len(priors)}"
        )
    limit = time_limit(layers)
    pulls = _PULLS if limit is None else min(limit, _PULLS)
    outcomes = _play(env, len(priors), int(actions.start), pulls)
    _require_fit(priors, outcomes, pulls)
    return Belief(priors, limit)


def _play(env: gym.Env[Any, Any], num_arms: int, start: int, pulls: int) -> IntArray:
    """Return the number of rewards 1 in the first pulls of episodes, `[K, EPISODES]`."""
    successes = np.zeros((num_arms, EPISODES), dtype=np.int64)
    for arm, episode in np.ndindex(successes.shape):
        call("reset", env.reset, seed=arm * EPISODES + episode)
        for _ in range(pulls):
            result = call("step", env.step, start + arm)
            reward = result[1] if isinstance(result, tuple) and len(result) == 5 else None
            if reward not in (0, 1):
                raise UnknownModel(
                    f"its beta_priors are not used: step({start + arm}) returned "
                    f"{describe(result)}, expected a reward of 0 or 1"
                )
            successes[arm, episode] += int(reward)
    return successes


def _require_fit(priors: FloatArray, successes: IntArray, pulls: int) -> None:
    cells = np.stack([_beta_binomial(priors, n, pulls) for n in range(pulls + 1)], axis=1)
    size = pulls + 1
    table = Rows(np.arange(0, cells.size + 1, size), cells.ravel())
    events = (size * np.arange(len(priors))[:, None] + successes).ravel()
    misfit = find_misfit(table, events, {"all episodes": np.ones(events.size, dtype=np.bool_)})
    if misfit is not None:
        arm, number = divmod(misfit.cell, size)
        raise UnknownModel(
            f"its beta_priors are not used: arm {arm}, indexed from 0, paid {number} times in the "
            f"first {pulls} pulls of {misfit.count} of {misfit.total} episodes, expected "
            f"{cells[arm, number] * misfit.total:.0f}; draw the means in reset, from its seed"
        )


def _beta_binomial(priors: FloatArray, successes: int, pulls: int) -> FloatArray:
    """Return P(successes in so many pulls | prior) of each arm, `[K]`.

    Pull by pull: the number of orders times the product of the predictive probabilities.
    """
    alpha, beta = priors.T
    probability = np.ones(len(priors))
    for k in range(pulls):
        won = k < successes
        numerator = alpha + k if won else beta + k - successes
        probability *= numerator / (alpha + beta + k)
        if won:
            probability *= (pulls - k) / (k + 1)
    return probability
