"""Perplexity, and the diversity of many responses.

Texts are compared as tokens: a string is split at white space, and a sequence of ids or words is
used as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rlkit.rlhf.evaluation.overlap import Text, tokens_of


def perplexity(total_nll: float, num_tokens: int) -> float:
    """Return exp(total_nll / num_tokens), the equivalent number of equally likely tokens.

    Args:
        total_nll: sum of -log-probability over response tokens, EOS included, in nats.
        num_tokens: number of tokens in that sum, over all sequences; perplexity is not averaged
            per sequence.

    Raises:
        ValueError: there is no token.
    """
    if num_tokens < 1:
        raise ValueError(f"perplexity: expected num_tokens >= 1, got {num_tokens}")
    try:
        return math.exp(total_nll / num_tokens)
    except OverflowError:
        return math.inf


def distinct_n(responses: Sequence[Text], n: int) -> float:
    """Return distinct n-grams divided by all n-grams of the responses, in (0, 1]; nan if none.

    It falls with the number of responses, so compare equal numbers. Source: Li et al. (2016).
    """
    if n < 1:
        raise ValueError(f"distinct_n: expected n >= 1, got {n}")
    ngrams = []
    for response in responses:
        tokens = tokens_of(response)
        ngrams += list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(ngrams)) / len(ngrams) if ngrams else math.nan


def mean_cosine_similarity(embeddings: ArrayLike) -> float:
    """Return the mean cosine between two different rows, in [-1, 1]; 1 = all responses are alike.

    The cosine of a row of zeros is 1 with another row of zeros and 0 with any other row.

    Args:
        embeddings: one for each response, [n, d] with n >= 2.

    Raises:
        ValueError: the shape is another, or a number is not finite.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise ValueError(
            "mean_cosine_similarity: expected finite embeddings [n, d] of n >= 2 responses, got "
            f"shape {rows.shape}"
        )
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    rows = np.concatenate([rows / np.where(largest > 0, largest, 1.0), largest == 0], axis=1)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    # |sum of units|^2 counts each pair twice, and each row with itself, which is 1, once.
    n, total = len(units), units.sum(axis=0)
    return float(np.clip((total @ total - n) / (n * (n - 1)), -1.0, 1.0))
