"""Perplexity and diversity, against closed forms, slow twins and scipy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences, pack
from rlkit.rlhf.evaluation.text_metrics import distinct_n, mean_cosine_similarity, perplexity
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood

# The same float64 quantity computed in another order of operations.
ROUNDING = 1e-12


# --- perplexity -----------------------------------------------------------------------------------


class Markov(torch.nn.Module):
    """A language model by table: the next token depends on the last one alone, [A, A] logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits.double()
        self.vocab_size, self.num_actions = len(logits) + 1, len(logits)
        self.context_length, self.width = 100, self.vocab_size

    def rows_at_once(self, length: int, most: int) -> int:
        return most

    def forward(self, tokens: Tensor, *, num_last: int, **_: Any) -> Tensor:
        return torch.nn.functional.one_hot(tokens[:, -num_last:], self.vocab_size).double()

    def unembed(self, hidden: Tensor) -> Tensor:
        return hidden[..., : self.num_actions] @ self.logits

    def new_cache(self, batch_size: int, max_length: int) -> Any:
        raise NotImplementedError


PAD = 4
PROMPTS = [[0, 1], [2], [3, 3, 1], [0], [1]]
RESPONSES = [[1, 2, 3], [3], [0, 1, 0, 2, 3], [2, 3], [1, 1, 1, 1, 1]]


def ragged(**widths: int) -> Sequences:
    return pack(PROMPTS, RESPONSES, pad=PAD, **widths)


@pytest.mark.claim(49)
def test_a_uniform_model_is_as_perplexed_as_it_has_actions() -> None:
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert model_perplexity(Markov(torch.zeros(4, 4)), ragged()) == pytest.approx(4)


def model_perplexity(model: Markov, sequences: Sequences, batch_size: int = 512) -> float:
    nll = negative_log_likelihood(model, sequences, batch_size=batch_size)  # type: ignore[arg-type]
    return perplexity(*nll)


def by_hand(model: Markov) -> float:
    """One sequence and one token at a time, in the textbook's formula."""
    total, count = 0.0, 0
    table = torch.log_softmax(model.logits, dim=-1)
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        for last, token in itertools.pairwise([prompt[-1], *response]):
            total -= float(table[last, token])
            count += 1
    return math.exp(total / count)


@pytest.mark.claim(49)
def test_perplexity_is_the_same_for_any_batch_and_padding() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 4)))
    model = Markov(logits)
    for batch_size in (1, 2, 3, 5):
        for widths in ({}, {"prompt_length": 6, "max_new_tokens": 9}):
            found = model_perplexity(model, ragged(**widths), batch_size=batch_size)
            assert found == pytest.approx(by_hand(model), rel=ROUNDING)


def test_perplexity_as_a_mean_of_means_would_be_seen() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 4)))
    model, sequences = Markov(logits), ragged()
    each = [model_perplexity(model, sequences.select(slice(i, i + 1))) for i in range(5)]
    mean_of_means = math.exp(np.mean(np.log(each)))
    assert abs(mean_of_means - by_hand(model)) > 0.01


def test_perplexity_of_nothing_is_rejected_and_of_the_impossible_infinite() -> None:
    with pytest.raises(ValueError, match="num_tokens >= 1"):
        perplexity(0.0, 0)
    assert perplexity(math.inf, 3) == math.inf
    assert perplexity(1e6, 3) == math.inf


# --- diversity ------------------------------------------------------------------------------------


def test_distinct_n_counts_over_all_responses() -> None:
    responses = ["a b a b", "a b", ""]
    assert distinct_n(responses, 1) == pytest.approx(2 / 6)
    assert distinct_n(responses, 2) == pytest.approx(2 / 4)
    assert distinct_n([[1, 2], [3, 4]], 2) == 1.0
    assert math.isnan(distinct_n(responses, 5))
    with pytest.raises(ValueError, match="n >= 1"):
        distinct_n(responses, 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 6))
def test_the_mean_cosine_is_that_over_all_pairs(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    # Rows of very different lengths, as those of long and short responses are.
    rows = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-5, 5, size=(n, 1))
    expected = 1 - pdist(rows, "cosine").mean()
    # scipy's 1 - cosine loses digits that the mean of a few pairs does not give back.
    assert mean_cosine_similarity(rows) == pytest.approx(expected, abs=1e-10)


def test_the_mean_cosine_is_one_after_collapse_and_zero_between_orthogonal_rows() -> None:
    row = np.array([0.3, -2.0, 1.7])
    assert mean_cosine_similarity(np.stack([row, 5 * row, row * 1e-200])) == pytest.approx(1)
    assert mean_cosine_similarity(np.eye(4)) == pytest.approx(0, abs=ROUNDING)
    assert mean_cosine_similarity([row, -row]) == pytest.approx(-1)
    assert mean_cosine_similarity(np.full((3, 2), 1e300)) == pytest.approx(1)


def test_empty_responses_are_like_each_other_and_unlike_all_others() -> None:
    assert mean_cosine_similarity(np.zeros((3, 2))) == pytest.approx(1)
    # Of six pairs one is (0, 0), cosine 1, one is (a, a), cosine 1, and four are mixed.
    rows = [[0, 0], [0, 0], [1, 2], [1, 2]]
    assert mean_cosine_similarity(rows) == pytest.approx(2 / 6)


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, math.nan], [math.inf]])
def test_embeddings_of_another_shape_or_not_finite_are_rejected(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected finite embeddings"):
        mean_cosine_similarity(bad)
