"""The optimum of KL-regularised RLHF, and exact expectations over all responses.

The maximum over policies pi of J(pi) = E[reward] - kl_coef * KL(pi || ref) is

    pi*(y) = ref(y) exp(reward(y) / kl_coef) / Z,    J* = kl_coef * log Z,

and for every policy J* - J(pi) = kl_coef * KL(pi || pi*). Where all responses can be enumerated,
these are finite sums, so a trained policy's distance from the optimum is computed, not estimated.

Arrays are float64 [Q, C]: Q prompts, C responses in the order of `enumeration`. Prompts are equally
likely. Log-probabilities are in nats and may be -inf, which contributes nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from rlkit.rlhf.exact.enumeration import Completions, tokens_from_responses
from rlkit.rlhf.objectives.score_scale import ScoreScale

Floats = NDArray[np.float64]


# ---- Expectations and the optimum --------------------------------------------------------------


class Optimum(NamedTuple):
    """The optimal policy for a reward and a reference."""

    value: Floats  # J* [Q], in units of reward
    log_prob: Floats  # log pi* [Q, C]


def expectation(log_prob: Floats, f: Floats) -> Floats:
    """Return E[f(y)] under the policy, [Q]."""
    mean: Floats = np.where(log_prob > -np.inf, np.exp(log_prob) * f, 0.0).sum(-1)
    return mean


def kl(log_prob: Floats, other_log_prob: Floats) -> Floats:
    """Return KL(policy || other) in nats, [Q]; infinite where only other has probability 0."""
    seen = log_prob > -np.inf
    ratio = np.where(seen, log_prob, 0.0) - np.where(seen, other_log_prob, 0.0)
    nats: Floats = np.where(seen, np.exp(log_prob) * ratio, 0.0).sum(-1)
    return nats


def objective(
    log_prob: Floats, reference_log_prob: Floats, reward: Floats, kl_coef: float
) -> Floats:
    """Return J = E[reward] - kl_coef * KL(policy || reference), [Q], in units of reward."""
    return expectation(log_prob, reward) - kl_coef * kl(log_prob, reference_log_prob)


def optimum(reference_log_prob: Floats, reward: Floats, kl_coef: float) -> Optimum:
    """Return the policy that maximises `objective`, and its value.

    Args:
        reference_log_prob: [Q, C].
        reward: [Q, C].
        kl_coef: positive, reward per nat.
    """
    if not kl_coef > 0:
        raise ValueError(f"optimum: expected kl_coef > 0, got {kl_coef}")
    tilted = reference_log_prob + reward / kl_coef
    log_z = logsumexp(tilted, axis=-1)
    return Optimum(kl_coef * log_z, tilted - log_z[..., None])


class PerTokenOptimum(NamedTuple):
    """The optimal policy per token; lists over the length l = 0 ... T - 1 of the prefix s."""

    values: list[Floats]  # V*(s) [Q, K^l]: the best objective from s onwards
    log_prob: list[Floats]  # log pi*(a|s) [Q, K^l, A]


def per_token_optimum(
    reference_log_prob: Floats, reward: Floats, kl_coef: float, completions: Completions
) -> PerTokenOptimum:
    """Return the optimum by dynamic programming, from the last token backwards.

        V*(s) = kl_coef * log sum_a ref(a|s) exp(V*(sa) / kl_coef)
        pi*(a|s) = ref(a|s) exp((V*(sa) - V*(s)) / kl_coef)

    V* of a complete response is its reward. V* is the value function of the optimal policy when the
    KL penalty is part of the reward.
    """
    *ended, following = completions.blocks(reward)
    result = PerTokenOptimum([], [])
    levels = tokens_from_responses(reference_log_prob, completions)
    for end, level in zip(reversed(ended), reversed(levels), strict=True):
        action_value = np.empty(level.shape)
        action_value[..., completions.eos] = end
        action_value[..., completions.content] = following.reshape(*end.shape, -1)
        tilted = level + action_value / kl_coef
        log_z = logsumexp(tilted, axis=-1)
        following = kl_coef * log_z
        result.values.insert(0, following)
        result.log_prob.insert(0, tilted - log_z[..., None])
    return result


def scale_under(log_prob: Floats, f: Floats) -> ScoreScale:
    """Return the scale under which f has mean 0 and variance 1 over a policy's responses.

    Raises:
        ValueError: f is constant.
    """
    mean = float(expectation(log_prob, f).mean())
    variance = float(expectation(log_prob, (f - mean) ** 2).mean())
    if not variance > 0:
        raise ValueError("scale_under: f is constant under this policy, so it has no scale")
    return ScoreScale.from_moments(mean, math.sqrt(variance))


def correlation(log_prob: Floats, f: Floats, g: Floats) -> float:
    """Return Pearson's correlation of f and g over prompts and the policy's responses."""
    x, y = (scale_under(log_prob, h).apply(h) for h in (f, g))
    return float(expectation(log_prob, x * y).mean())


# ---- Preferences -------------------------------------------------------------------------------


def pair_accuracy(log_prob: Floats, score: Floats, gold: Floats, scale: float = 1.0) -> float:
    """Return the probability that a score prefers the response that the label prefers.

    Two independent responses to a random prompt; the label prefers the first with probability
    sigmoid(scale * (gold_1 - gold_2)). Equal scores count one half.

    Args:
        log_prob: the policy that generated the responses, [Q, C].
        score: [Q, C].
        gold: the reward that determines the labels, [Q, C]; the cost grows with its number of
            distinct values.
        scale: of the labels, 1 / unit of gold. If infinite, labels have no noise and only pairs
            with different gold count.
    """
    right = counted = 0.0
    for q in range(len(log_prob)):
        probability = np.exp(log_prob[q])
        values, group = np.unique(gold[q], return_inverse=True)
        _, rank = np.unique(score[q], return_inverse=True)
        mass = np.zeros((rank.max() + 1, len(values)))  # of each pair (score, gold)
        np.add.at(mass, (rank, group), probability)
        below = mass.cumsum(0) - mass / 2  # lower score, and half of those equal to it
        difference = values[:, None] - values[None]
        if math.isinf(scale):
            label, differs = (difference > 0).astype(np.float64), difference != 0
        else:
            label, differs = expit(scale * difference), np.ones_like(difference, dtype=bool)
        wins = mass.T @ below  # [gold of the one preferred by score, gold of the other]
        right += 2 * float((wins * label).sum())
        total = mass.sum(0)
        counted += float((np.outer(total, total) * differs).sum())
    return right / counted


def bayes_accuracy(reference_log_prob: Floats, gold: Floats, scale: float = 1.0) -> float:
    """Return gold's own accuracy on its noisy labels, which no reward model can exceed."""
    return pair_accuracy(reference_log_prob, gold, gold, scale)
