"""The exact distribution of the best of n responses, and frontiers of reward against KL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlkit.rlhf.exact.optimum import Floats, expectation, kl, optimum


def best_of_n(log_prob: Floats, reward: Floats, n: float) -> Floats:
    """Return the distribution of the best of n independent responses, ties broken uniformly.

        q(y) = pi(y) (F(r)^n - F(r-)^n) / (F(r) - F(r-)),    r = reward(y),

    where F is the distribution function of the reward under pi and F(r-) its limit from below.

    Args:
        log_prob: log pi [Q, C].
        reward: [Q, C]; responses of exactly equal reward are tied.
        n: number of draws, at least 1.

    Returns:
        log q [Q, C].
    """
    if not n >= 1:
        raise ValueError(f"best_of_n: expected n >= 1, got {n}")
    if n == 1:  # below, it would be 0 * -inf where probabilities underflow
        return log_prob.copy()
    result = np.full(log_prob.shape, -np.inf)
    for q in range(len(log_prob)):
        seen = log_prob[q] > -np.inf
        _, group = np.unique(reward[q, seen], return_inverse=True)
        mass = np.bincount(group, weights=np.exp(log_prob[q, seen]))
        # In logarithms, since F^n underflows for bad responses, and summed from the top, since n
        # magnifies the rounding error of log F where F is close to 1. A group whose probability
        # underflows gets the limit n pi(y) F^(n-1).
        with np.errstate(divide="ignore", invalid="ignore"):
            share = mass / mass.cumsum()  # of each group among all responses that are not better
            log_step = np.log1p(-share)  # log F(r-) - log F(r)
            log_f = np.append(log_step[:0:-1].cumsum()[::-1], 0.0)
            log_wins = n * log_f + np.log(-np.expm1(n * log_step))
            log_gain = np.where(mass > 0, log_wins - np.log(mass), math.log(n) + (n - 1) * log_f)
        result[q, seen] = log_prob[q, seen] + log_gain[group]
    return result


def best_of_n_kl_bound(n: ArrayLike) -> Floats:
    """Return log n - (n - 1)/n, an upper bound of KL(best of n || policy), loose with many ties.

    Beirami et al. (2024), Theoretical guarantees on the best-of-n alignment policy.
    """
    n = np.asarray(n, dtype=np.float64)
    bound: Floats = np.log(n) - (n - 1) / n
    return bound


class Frontier(NamedTuple):
    """A family of policies, one entry each, averaged over prompts."""

    setting: Floats  # [M], kl_coef or n
    kl: Floats  # [M], KL(policy || reference) in nats
    proxy: Floats  # [M], expected optimised reward
    gold: Floats  # [M], expected gold reward


def _frontier(
    log_probs: Sequence[Floats], setting: ArrayLike, reference: Floats, proxy: Floats, gold: Floats
) -> Frontier:
    values = [
        (kl(p, reference).mean(), expectation(p, proxy).mean(), expectation(p, gold).mean())
        for p in log_probs
    ]
    return Frontier(np.asarray(setting, dtype=np.float64), *np.array(values).T)


def tilted_frontier(
    reference_log_prob: Floats, proxy: Floats, gold: Floats, kl_coefs: Sequence[float]
) -> Frontier:
    """Return the frontier of the optimal policies for `proxy`, one for each kl_coef."""
    policies = [optimum(reference_log_prob, proxy, kl_coef).log_prob for kl_coef in kl_coefs]
    return _frontier(policies, kl_coefs, reference_log_prob, proxy, gold)


def best_of_n_frontier(
    reference_log_prob: Floats, proxy: Floats, gold: Floats, ns: Sequence[float]
) -> Frontier:
    """Return the frontier of the best of n by `proxy`, one for each n."""
    policies = [best_of_n(reference_log_prob, proxy, n) for n in ns]
    return _frontier(policies, ns, reference_log_prob, proxy, gold)
