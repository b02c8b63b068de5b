"""The belief about Bernoulli arms as a finite MDP, whose optimum is the Bayes-optimal return.

An arm with a Beta(alpha, beta) prior that gave s successes and f failures has the posterior
Beta(alpha + s, beta + f), by Bayes' theorem, and succeeds at the next pull with probability
(alpha + s) / (alpha + beta + s + f). So the counts of all arms are the state of a finite MDP.

States are numbered by their pulls: the prior is state 0, the states after one pull follow, and so
on. With the partial sums S_1 <= S_2 <= ... <= S_2K of the counts s_1, f_1, ..., s_K, f_K, a state
has the number sum_i C(S_i + i - 1, i): the combinatorial number system.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import ArrayLike

from rlkit.options import require_count
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.memory import require_memory


def belief_mdp(priors: ArrayLike, horizon: int) -> TabularMDP:
    """Return the MDP of the belief about Bernoulli arms over `horizon` pulls.

    Its optimum under the time limit is the Bayes-optimal return: no agent that starts from these
    priors collects more on average over bandits that are drawn from them. Every pull gives reward 1
    or 0, and the episode terminates at the last one.

    Args:
        priors: alpha and beta of each arm, > 0, `[K, 2]`.
        horizon: the number of pulls, at least 1.

    Raises:
        ValueError: they are not such numbers, or the model would not fit into memory.
    """
    prior = check_priors(priors)
    horizon = require_count("horizon", horizon, at_least=1)
    num_arms = len(prior)
    num_states = num_beliefs(num_arms, horizon - 1)
    num_rows = num_states * num_arms
    require_memory(
        f"the belief about {num_arms} arms over {horizon} pulls", 2 * num_rows, 3 * num_rows
    )
    counts = belief_counts(np.arange(num_states), num_arms)
    success = _success(prior, counts)
    is_last = counts.sum(axis=(1, 2)) == horizon - 1
    state = np.arange(num_states, dtype=np.int32)
    next_state = np.where(is_last[:, None, None], state[:, None, None], _successors(counts))
    return TabularMDP(
        probability=np.stack([success, 1.0 - success], axis=-1).ravel(),
        next_state=next_state.astype(np.int32).ravel(),
        reward=np.tile([1.0, 0.0], num_rows),
        terminated=np.repeat(is_last, 2 * num_arms),
        row_start=np.arange(0, 2 * num_rows + 1, 2, dtype=np.int32),
        num_actions=num_arms,
        initial_distribution=(state == 0).astype(np.float64),
        time_limit=horizon,
    )


def bayes_optimal_return(priors: ArrayLike, horizon: int) -> float:
    """Return the optimum of `belief_mdp` in the memory of the states after equally many pulls.

    Args:
        priors: alpha and beta of each arm, > 0, `[K, 2]`.
        horizon: the number of pulls, at least 1.

    Raises:
        ValueError: they are not such numbers, or the states would not fit into memory.
    """
    prior = check_priors(priors)
    horizon = require_count("horizon", horizon, at_least=1)
    num_arms = len(prior)
    first = [0] + [num_beliefs(num_arms, pulls) for pulls in range(horizon + 1)]
    largest = (first[horizon] - first[horizon - 1]) * num_arms
    require_memory(f"the belief about {num_arms} arms after {horizon} pulls", 2 * largest, largest)
    values = np.zeros(first[horizon + 1] - first[horizon])
    for pulls in reversed(range(horizon)):
        counts = belief_counts(np.arange(first[pulls], first[pulls + 1]), num_arms)
        success = _success(prior, counts)
        future = values[_successors(counts) - first[pulls + 1]]
        q = success * (1.0 + future[..., 0]) + (1.0 - success) * future[..., 1]
        values = q.max(axis=1)
    return float(values[0])


def _success(prior: FloatArray, counts: IntArray) -> FloatArray:
    """Return the probability that the next pull of each arm succeeds, `[..., K]`."""
    posterior = prior + counts
    return np.asarray(posterior[..., 0] / posterior.sum(axis=-1))


def _successors(counts: IntArray) -> IntArray:
    """Return the number of the belief after a success and a failure of each arm, `[..., K, 2]`."""
    following = np.empty_like(counts)
    for place in np.ndindex(counts.shape[-2:]):
        counts[(..., *place)] += 1
        following[(..., *place)] = belief_state(counts)
        counts[(..., *place)] -= 1
    return following


def check_priors(priors: ArrayLike) -> FloatArray:
    """Return Beta priors as float64 `[K, 2]`.

    Raises:
        ValueError: there is no arm, or a parameter is not a finite number above 0.
    """
    expected = "priors: expected alpha > 0 and beta > 0 of each of at least one arm, [K, 2]"
    try:
        prior = np.asarray(priors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {priors!r:.80}") from error
    if prior.ndim != 2 or prior.shape[1] != 2 or not len(prior):
        raise ValueError(f"{expected}, got the shape {prior.shape}")
    if not (np.isfinite(prior) & (prior > 0)).all():
        raise ValueError(f"{expected}, got {prior.tolist()}")
    return prior


def num_beliefs(num_arms: int, pulls: int) -> int:
    """Return the number of states after at most so many pulls."""
    return comb(pulls + 2 * num_arms, 2 * num_arms)


def belief_state(counts: ArrayLike) -> IntArray:
    """Return the number of each belief, `[...]`.

    Args:
        counts: successes and failures of each arm, `[..., K, 2]`.
    """
    given = np.asarray(counts)
    sums = given.reshape(*given.shape[:-2], -1).cumsum(axis=-1)
    table = _binomials(int(sums.max(initial=0)), sums.shape[-1])
    return np.asarray(sum(table[i][sums[..., i]] for i in range(sums.shape[-1])))


def belief_counts(states: ArrayLike, num_arms: int) -> IntArray:
    """Return the successes and failures of each arm, `[..., num_arms, 2]`, of numbered beliefs."""
    rest = np.array(states, dtype=np.int64)
    size, most = 2 * num_arms, 0
    while num_beliefs(num_arms, most) <= rest.max(initial=0):
        most += 1
    table = _binomials(most, size)
    sums = np.empty((*rest.shape, size), dtype=np.int64)
    for i in reversed(range(size)):
        sums[..., i] = np.searchsorted(table[i], rest, side="right") - 1
        rest -= table[i][sums[..., i]]
    return np.diff(sums, axis=-1, prepend=0).reshape(*rest.shape, num_arms, 2)


def _binomials(most: int, size: int) -> IntArray:
    """Return C(S + i, i + 1) for i < size and S <= most, `[size, most + 1]`."""
    rows = [[comb(total + i, i + 1) for total in range(most + 1)] for i in range(size)]
    return np.array(rows, dtype=np.int64)
