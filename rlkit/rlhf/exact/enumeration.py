"""Enumerate all responses up to a length, and compute a model's distribution over them.

The responses are the leaves of a tree: a prefix has a child for each action, and ends by EOS or at
the length limit. `all_token_log_probs` returns the distribution of the next token at every inner
node, `responses_from_tokens` turns that into the distribution of whole responses, and
`tokens_from_responses` is its inverse.

Arrays are float64 [Q, C]: Q prompts, C responses in the order of `all_completions`.
Log-probabilities are in nats and may be -inf.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Completions:
    """All C responses of up to T tokens, ordered as a tree of prefixes.

    With K actions besides EOS, the K^l responses that end after l tokens are adjacent, l from 0 to
    T - 1, and the K^T that reach the length limit come last; within a block the order is
    lexicographic. So the children of prefix i of length l are the prefixes i K ... i K + K - 1 of
    length l + 1.
    """

    responses: Ids  # [C, T]: tokens, then EOS where there is one, then padding
    lengths: Ids  # [C], tokens of each, EOS included
    ended: NDArray[np.bool_]  # [C], True = by EOS, False = at the length limit
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
        """Split [Q, C] by length: T arrays [Q, K^l] that end after l tokens, then [Q, K^T]."""
        return np.split(table, np.cumsum(self.num_prefixes)[:-1], axis=-1)

    def index(self, responses: Ids) -> Ids:
        """Return the position of each response [n, T] in the list, [n]; ignore tokens after EOS.

        Raises:
            ValueError: a response has a token before its EOS that is not an action.
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
                    f"index: token {token[live & (known < 0)][0]} in a response is not an action"
                )
            prefix = np.where(live, prefix * len(self.content) + known, prefix)
            length += live
        first: Ids = np.concatenate([[0], np.cumsum(self.num_prefixes)])
        return first[length] + prefix


def all_completions(num_actions: int, eos: int, max_new_tokens: int, pad: int) -> Completions:
    """Enumerate every response.

    Args:
        num_actions: A, the actions are 0 to A - 1.
        eos: the action that ends a response.
        max_new_tokens: T, EOS included.
        pad: fills the positions after EOS; not an action.

    Raises:
        ValueError: `eos` is not an action, `pad` is one, or T < 1.
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


def all_token_log_probs(
    model: LanguageModel,
    prompts: Ids,
    completions: Completions,
    temperature: float = 1.0,
    *,
    chunk: int = 512,
) -> list[Floats]:
    """Return a model's log-probabilities of the next token after every prefix.

    A causal model that reads the K^(T-1) longest prefixes also computes the states of all shorter
    ones. The state of each prefix is taken once, from the first row that begins with it.

    Args:
        model: the language model; dropout is off.
        prompts: [Q, P], without padding.
        completions: all responses.
        temperature: of the softmax.
        chunk: rows per forward pass.

    Returns:
        T arrays [Q, K^l, A]: log pi(a | prompt, prefix) for the prefixes of length l.
    """
    depth, sizes = completions.max_new_tokens - 1, completions.num_prefixes[:-1]
    longest = completions.responses[sum(sizes[:-1]) : sum(sizes), :depth]
    result = [np.empty((len(prompts), size, model.num_actions)) for size in sizes]
    with evaluating(model):
        for q, start in itertools.product(range(len(prompts)), range(0, len(longest), chunk)):
            rows = longest[start : start + chunk]
            # Prefix i of a shorter length begins the rows from i * stride.
            strides = [len(longest) // size for size in sizes]
            prefixes = [
                np.arange(-(-start // stride), -(-(start + len(rows)) // stride))
                for stride in strides
            ]
            first_rows = [i * stride - start for i, stride in zip(prefixes, strides, strict=True)]
            parts = _next_token_log_probs(model, prompts[q], rows, first_rows, temperature)
            for table, i, part in zip(result, prefixes, parts, strict=True):
                table[q, i] = part
    return result


@torch.no_grad()
def _next_token_log_probs(
    model: LanguageModel, prompt: Ids, rows: Ids, row_indices: Sequence[Ids], temperature: float
) -> list[Floats]:
    """Return log pi of the next token after the first l tokens of the rows row_indices[l]."""
    repeated = np.broadcast_to(prompt, (len(rows), len(prompt)))
    tokens = torch.from_numpy(np.concatenate([repeated, rows], axis=1))
    hidden = model(tokens.to(next(model.parameters()).device))
    states = [hidden[i, len(prompt) - 1 + length] for length, i in enumerate(row_indices)]
    # Normalised in float64, so that the probabilities of all responses add up to 1.
    logits = model.unembed(torch.cat(states)).cpu().double() / temperature
    log_probs: Floats = torch.log_softmax(logits, dim=-1).numpy()
    return np.split(log_probs, np.cumsum([len(i) for i in row_indices])[:-1])


def completion_log_probs(
    model: LanguageModel, prompts: Ids, completions: Completions, temperature: float = 1.0
) -> Floats:
    """Return log pi(y | prompt) of every response, [Q, C]; see `all_token_log_probs`."""
    tokens = all_token_log_probs(model, prompts, completions, temperature)
    return responses_from_tokens(tokens, completions)


def responses_from_tokens(token_log_prob: Sequence[Floats], completions: Completions) -> Floats:
    """Return log-probabilities of responses [Q, C] from those of next tokens [Q, K^l, A]."""
    prefix = np.zeros((len(token_log_prob[0]), 1))
    blocks = []
    for level in token_log_prob:
        blocks.append(prefix + level[..., completions.eos])
        prefix = (prefix[..., None] + level[..., completions.content]).reshape(len(prefix), -1)
    return np.concatenate([*blocks, prefix], axis=1)


def tokens_from_responses(log_prob: Floats, completions: Completions) -> list[Floats]:
    """Return log-probabilities of next tokens from those of responses [Q, C].

    The inverse of `responses_from_tokens`; uniform after a prefix of probability 0.
    """
    *ended, prefix = completions.blocks(log_prob)
    levels: list[Floats] = []
    for end in reversed(ended):
        joint = np.empty((*end.shape, len(completions.content) + 1))
        joint[..., completions.eos] = end
        joint[..., completions.content] = prefix.reshape(*end.shape, -1)
        prefix = logsumexp(joint, axis=-1)
        reached = np.isfinite(prefix)[..., None]
        total = np.where(reached, prefix[..., None], 0.0)
        levels.insert(0, np.where(reached, joint - total, -math.log(joint.shape[-1])))
    return levels
