"""Exact answers where every response can be listed.

Maximising E[reward] - kl_coef * KL(pi || ref) over policies pi has one answer,

    pi*(y) = ref(y) exp(reward(y) / kl_coef) / Z,    J* = kl_coef * log Z,

and for every policy J* - J(pi) = kl_coef * KL(pi || pi*). When the responses are few enough to be
listed, all of this is sums: how far a trained policy is from the best one is known, not estimated.

Arrays are float64 [Q, C]: Q prompts, C responses in the order of `all_completions`. Prompts are
equally likely. Log-probabilities are in nats and may be -inf, which contributes nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

if TYPE_CHECKING:
    from rlkit.rlhf.transformer import LanguageModel

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Completions:
    """All C responses of up to T tokens, and how they hang together as a tree of prefixes.

    With K actions besides EOS, the K^l responses that end after l tokens are adjacent, l from 0 to
    T - 1, and the K^T that are cut come last; within a block the order is lexicographic. So the
    children of prefix i of length l are the prefixes i K ... i K + K - 1 of length l + 1.
    """

    responses: Ids  # [C, T]: tokens, then EOS where there is one, then padding
    lengths: Ids  # [C], tokens of each, EOS included
    ended: NDArray[np.bool_]  # [C], True where there is an EOS, False where it was cut
    content: Ids  # [K], the actions besides EOS
    eos: int

    @property
    def max_new_tokens(self) -> int:
        """T."""
        return int(self.responses.shape[1])

    @property
    def num_prefixes(self) -> list[int]:
        """Prefixes without EOS of each length, [1, K, ..., K^T]."""
        return [len(self.content) ** level for level in range(self.max_new_tokens + 1)]

    def blocks(self, table: Floats) -> list[Floats]:
        """Split [Q, C] by length: T arrays [Q, K^l] of those that end after l, and [Q, K^T]."""
        return np.split(table, np.cumsum(self.num_prefixes)[:-1], axis=-1)

    def index(self, responses: Ids) -> Ids:
        """Where each of the responses [n, T] stands, [n]; slots after EOS are ignored.

        Raises:
            ValueError: one has a token that is no action before any EOS.
        """
        digit = np.full(max(self.eos, self.content.max()) + 2, -1)
        digit[self.content] = np.arange(len(self.content))
        prefix = np.zeros(len(responses), dtype=np.int64)
        length = np.zeros_like(prefix)
        live = np.ones(len(responses), dtype=bool)
        for token in responses.T:
            live = live & (token != self.eos)
            known = digit[np.clip(token, -1, len(digit) - 1)]
            if (live & (known < 0)).any():
                raise ValueError(
                    f"index: token {token[live & (known < 0)][0]} in a response is no action"
                )
            prefix = np.where(live, prefix * len(self.content) + known, prefix)
            length += live
        first: Ids = np.concatenate([[0], np.cumsum(self.num_prefixes)])
        return first[length] + prefix


def all_completions(num_actions: int, eos: int, max_new_tokens: int, pad: int) -> Completions:
    """List every response.

    Args:
        num_actions: A, the actions are 0 to A - 1.
        eos: the action that ends a response.
        max_new_tokens: T, EOS included.
        pad: fills the places after EOS; no action.

    Raises:
        ValueError: `eos` is no action, `pad` is one, or T < 1.
    """
    if not 0 <= eos < num_actions or 0 <= pad < num_actions or max_new_tokens < 1:
        raise ValueError(
            f"all_completions: expected 0 <= eos < num_actions <= pad and max_new_tokens >= 1, got "
            f"eos {eos}, num_actions {num_actions}, pad {pad}, max_new_tokens {max_new_tokens}"
        )
    content = np.delete(np.arange(num_actions), eos)
    blocks = []
    for length in range(max_new_tokens + 1):
        block = np.full((len(content) ** length, max_new_tokens), pad)
        powers = len(content) ** np.arange(length)[::-1]
        block[:, :length] = content[np.arange(len(block))[:, None] // powers % len(content)]
        block[:, length : length + 1] = eos  # nothing where length = T
        blocks.append(block)
    responses = np.concatenate(blocks)
    ended = (responses == eos).any(1)
    return Completions(responses, (responses != pad).sum(1), ended, content, eos)


# ---- A model's log-probabilities, and the tree -------------------------------------------------


def token_log_probs(
    model: LanguageModel,
    prompts: Ids,
    completions: Completions,
    temperature: float = 1.0,
    *,
    chunk: int = 512,
) -> list[Floats]:
    """The law of the next token after every prefix, as the model has it.

    A causal model that reads the K^(T-1) longest prefixes sees all shorter ones on the way. The
    state of each prefix is read off once, in the first row that begins with it.

    Args:
        model: the language model; evaluated without dropout.
        prompts: [Q, P], without padding.
        completions: all responses.
        temperature: of the softmax.
        chunk: rows in one forward pass.

    Returns:
        T arrays [Q, K^l, A]: log pi(a | prompt, prefix) for the prefixes of length l.
    """
    depth, sizes = completions.max_new_tokens - 1, completions.num_prefixes[:-1]
    longest = completions.responses[sum(sizes[:-1]) : sum(sizes), :depth]
    result = [np.empty((len(prompts), size, model.num_actions)) for size in sizes]
    was_training = bool(getattr(model, "training", False))
    model.eval()
    try:
        for q, start in itertools.product(range(len(prompts)), range(0, len(longest), chunk)):
            rows = longest[start : start + chunk]
            # Prefix i of a shorter length begins the rows from i * stride on.
            strides = [len(longest) // size for size in sizes]
            prefixes = [
                np.arange(-(-start // stride), -(-(start + len(rows)) // stride))
                for stride in strides
            ]
            first_rows = [i * stride - start for i, stride in zip(prefixes, strides, strict=True)]
            law = _next_token_law(model, prompts[q], rows, first_rows, temperature)
            for table, i, part in zip(result, prefixes, law, strict=True):
                table[q, i] = part
    finally:
        model.train(was_training)
    return result


@torch.no_grad()
def _next_token_law(
    model: LanguageModel, prompt: Ids, rows: Ids, wanted: Sequence[Ids], temperature: float
) -> list[Floats]:
    """log pi of the next token [len(wanted[l]), A] after the first l tokens of the wanted rows."""
    repeated = np.broadcast_to(prompt, (len(rows), len(prompt)))
    tokens = torch.from_numpy(np.concatenate([repeated, rows], axis=1))
    hidden = model(tokens.to(next(model.parameters()).device))
    states = [hidden[i, len(prompt) - 1 + length] for length, i in enumerate(wanted)]
    # Normalised in float64, so that the probabilities of all responses add up to 1.
    logits = model.unembed(torch.cat(states)).cpu().double() / temperature
    law: Floats = torch.log_softmax(logits, dim=-1).numpy()
    return np.split(law, np.cumsum([len(i) for i in wanted])[:-1])


def completion_log_probs(
    model: LanguageModel, prompts: Ids, completions: Completions, temperature: float = 1.0
) -> Floats:
    """log pi(y | prompt) of every response, [Q, C]; see `token_log_probs`."""
    return multiply_up(token_log_probs(model, prompts, completions, temperature), completions)


def multiply_up(token_log_prob: Sequence[Floats], completions: Completions) -> Floats:
    """From the law of the next token [Q, K^l, A] after each prefix to that of responses [Q, C]."""
    prefix = np.zeros((len(token_log_prob[0]), 1))
    blocks = []
    for law in token_log_prob:
        blocks.append(prefix + law[..., completions.eos])
        prefix = (prefix[..., None] + law[..., completions.content]).reshape(len(prefix), -1)
    return np.concatenate([*blocks, prefix], axis=1)


def divide_down(log_prob: Floats, completions: Completions) -> list[Floats]:
    """The inverse of `multiply_up`: from the law of responses to that of the next token.

    After a prefix of probability 0 it is uniform.
    """
    *ended, prefix = completions.blocks(log_prob)
    laws: list[Floats] = []
    for end in reversed(ended):
        joint = np.empty((*end.shape, len(completions.content) + 1))
        joint[..., completions.eos] = end
        joint[..., completions.content] = prefix.reshape(*end.shape, -1)
        prefix = logsumexp(joint, axis=-1)
        reached = np.isfinite(prefix)[..., None]
        total = np.where(reached, prefix[..., None], 0.0)
        laws.insert(0, np.where(reached, joint - total, -math.log(joint.shape[-1])))
    return laws


# ---- Expectations and the optimum --------------------------------------------------------------


class Optimum(NamedTuple):
    """The best policy against a reference."""

    value: Floats  # J* [Q], in units of reward
    log_prob: Floats  # log pi* [Q, C]


def expectation(log_prob: Floats, f: Floats) -> Floats:
    """E[f(y)] under the policy, [Q]."""
    mean: Floats = np.where(log_prob > -np.inf, np.exp(log_prob) * f, 0.0).sum(-1)
    return mean


def kl(log_prob: Floats, other_log_prob: Floats) -> Floats:
    """KL(policy || other) in nats, [Q]; infinite if the policy does what the other never does."""
    seen = log_prob > -np.inf
    ratio = np.where(seen, log_prob, 0.0) - np.where(seen, other_log_prob, 0.0)
    nats: Floats = np.where(seen, np.exp(log_prob) * ratio, 0.0).sum(-1)
    return nats


def objective(
    log_prob: Floats, reference_log_prob: Floats, reward: Floats, kl_coef: float
) -> Floats:
    """J = E[reward] - kl_coef * KL(policy || reference), [Q], in units of reward."""
    return expectation(log_prob, reward) - kl_coef * kl(log_prob, reference_log_prob)


def optimum(reference_log_prob: Floats, reward: Floats, kl_coef: float) -> Optimum:
    """The policy that maximises `objective`, and its value.

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
    """The best policy, token by token; lists by the length l = 0 ... T - 1 of the prefix s."""

    values: list[Floats]  # V*(s) [Q, K^l]: the best objective of what follows s
    log_prob: list[Floats]  # log pi*(a|s) [Q, K^l, A]


def per_token_optimum(
    reference_log_prob: Floats, reward: Floats, kl_coef: float, completions: Completions
) -> PerTokenOptimum:
    """The optimum by dynamic programming from the last token backwards.

        V*(s) = kl_coef * log sum_a ref(a|s) exp(V*(sa) / kl_coef)
        pi*(a|s) = ref(a|s) exp((V*(sa) - V*(s)) / kl_coef)

    V* of a response that is over is its reward. V* is what a perfect critic of the best policy
    says of a prefix when the KL penalty is part of the reward.
    """
    *ended, following = completions.blocks(reward)
    result = PerTokenOptimum([], [])
    laws = divide_down(reference_log_prob, completions)
    for end, law in zip(reversed(ended), reversed(laws), strict=True):
        action_value = np.empty(law.shape)
        action_value[..., completions.eos] = end
        action_value[..., completions.content] = following.reshape(*end.shape, -1)
        tilted = law + action_value / kl_coef
        log_z = logsumexp(tilted, axis=-1)
        following = kl_coef * log_z
        result.values.insert(0, following)
        result.log_prob.insert(0, tilted - log_z[..., None])
    return result


def standardise_under(log_prob: Floats, f: Floats) -> tuple[float, float]:
    """(gain, bias) such that gain * f + bias has mean 0 and variance 1 over prompts and responses.

    Raises:
        ValueError: f is constant.
    """
    mean = float(expectation(log_prob, f).mean())
    variance = float(expectation(log_prob, (f - mean) ** 2).mean())
    if not variance > 0:
        raise ValueError("standardise_under: f is constant under this policy, so it has no scale")
    return 1 / math.sqrt(variance), -mean / math.sqrt(variance)


def correlation(log_prob: Floats, f: Floats, g: Floats) -> float:
    """Pearson's correlation of f and g over prompts and responses of the policy."""
    x, y = (gain * h + bias for h in (f, g) for gain, bias in [standardise_under(log_prob, h)])
    return float(expectation(log_prob, x * y).mean())


# ---- Best of n ---------------------------------------------------------------------------------


def best_of_n(log_prob: Floats, reward: Floats, n: float) -> Floats:
    """The law of the best of n independent responses, ties broken evenly among the draws.

        q(y) = pi(y) (F(r)^n - F(r-)^n) / (F(r) - F(r-)),    r = reward(y),

    where F is the distribution function of the reward under pi and F(r-) its limit from below.

    Args:
        log_prob: log pi [Q, C].
        reward: [Q, C]; responses are tied where it is exactly equal.
        n: draws, at least 1.

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
        # magnifies what log F lacks where F is close to 1. A group whose probability underflows
        # gets its limit: n pi(y) F^(n-1).
        with np.errstate(divide="ignore", invalid="ignore"):
            share = mass / mass.cumsum()  # of each group in all that is not better than it
            log_step = np.log1p(-share)  # log F(r-) - log F(r)
            log_f = np.append(log_step[:0:-1].cumsum()[::-1], 0.0)
            log_wins = n * log_f + np.log(-np.expm1(n * log_step))
            log_gain = np.where(mass > 0, log_wins - np.log(mass), math.log(n) + (n - 1) * log_f)
        result[q, seen] = log_prob[q, seen] + log_gain[group]
    return result


def best_of_n_kl_bound(n: ArrayLike) -> Floats:
    """log n - (n - 1)/n, never below KL(best of n || policy), and far above it where many tie.

    Beirami et al. (2024), Theoretical guarantees on the best-of-n alignment policy.
    """
    n = np.asarray(n, dtype=np.float64)
    bound: Floats = np.log(n) - (n - 1) / n
    return bound


class Frontier(NamedTuple):
    """A family of policies, one entry each, averaged over prompts."""

    setting: Floats  # [M], kl_coef or n
    kl: Floats  # [M], KL(policy || reference) in nats
    proxy: Floats  # [M], the expected reward that was optimised
    gold: Floats  # [M], the expected reward that was meant


def _frontier(
    laws: Sequence[Floats], setting: ArrayLike, reference: Floats, proxy: Floats, gold: Floats
) -> Frontier:
    measured = [
        (kl(law, reference).mean(), expectation(law, proxy).mean(), expectation(law, gold).mean())
        for law in laws
    ]
    return Frontier(np.asarray(setting, dtype=np.float64), *np.array(measured).T)


def tilted_frontier(
    reference_log_prob: Floats, proxy: Floats, gold: Floats, kl_coefs: Sequence[float]
) -> Frontier:
    """The optimum of `proxy` for each kl_coef."""
    laws = [optimum(reference_log_prob, proxy, kl_coef).log_prob for kl_coef in kl_coefs]
    return _frontier(laws, kl_coefs, reference_log_prob, proxy, gold)


def best_of_n_frontier(
    reference_log_prob: Floats, proxy: Floats, gold: Floats, ns: Sequence[float]
) -> Frontier:
    """The best of n by `proxy` for each n."""
    laws = [best_of_n(reference_log_prob, proxy, n) for n in ns]
    return _frontier(laws, ns, reference_log_prob, proxy, gold)


# ---- Preferences -------------------------------------------------------------------------------


def pair_accuracy(log_prob: Floats, score: Floats, gold: Floats, scale: float = 1.0) -> float:
    """How often a score prefers the response that the label prefers.

    Two independent responses to a random prompt; the label prefers the first with probability
    sigmoid(scale * (gold_1 - gold_2)). Equal scores count one half.

    Args:
        log_prob: the policy that wrote the responses, [Q, C].
        score: what is judged, [Q, C].
        gold: what the labels follow, [Q, C]; the cost grows with its number of different values.
        scale: of the labels, 1 / unit of gold. Infinite for labels without noise, and then only
            pairs whose gold differs count.
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
    """The accuracy of gold itself on its noisy labels, which no reward model can exceed."""
    return pair_accuracy(reference_log_prob, gold, gold, scale)
