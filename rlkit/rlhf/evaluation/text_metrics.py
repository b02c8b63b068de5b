"""What is measured of texts, scores and log-probabilities.

Texts are compared as tokens: a string is cut at white space and nothing else is done to it, and a
sequence of ids or words is taken as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.spelling import closest

if TYPE_CHECKING:
    from rlkit.rlhf.data.sequences import Sequences
    from rlkit.rlhf.models.language_model import LanguageModel

Text = str | Sequence[Hashable]
Smoothing = Literal["exp", "floor", "add-k", "none"]

_MAX_ORDER = 4  # BLEU counts n-grams of 1 to 4 tokens


# --- perplexity and KL ----------------------------------------------------------------------------


def perplexity(total_nll: float, num_tokens: int) -> float:
    """exp(total_nll / num_tokens), the number of equally likely tokens that would be as hard.

    Args:
        total_nll: sum of -log-probability over response tokens, EOS included, in nats.
        num_tokens: how many tokens that sum has, over all sequences: it is no mean of means.

    Raises:
        ValueError: there is no token.
    """
    if num_tokens < 1:
        raise ValueError(f"perplexity: expected num_tokens >= 1, got {num_tokens}")
    try:
        return math.exp(total_nll / num_tokens)
    except OverflowError:
        return math.inf


def model_perplexity(
    model: LanguageModel, sequences: Sequences, *, batch_size: int = 512, temperature: float = 1.0
) -> float:
    """The perplexity of responses to a model; the same for any batch size and padding.

    Of demonstrations that were held out it shows what a policy forgets; of a policy's samples under
    the reference it shows how strange they have become.
    """
    from rlkit.rlhf.training.fine_tuning import negative_log_likelihood

    total, num_tokens = negative_log_likelihood(
        model, sequences, batch_size=batch_size, temperature=temperature
    )
    return perplexity(total, num_tokens)


# --- BLEU and ROUGE -------------------------------------------------------------------------------


def sentence_bleu(
    hypothesis: Text, references: Sequence[Text], *, smoothing: Smoothing = "exp"
) -> float:
    """BLEU of one text, in [0, 100]; a text of fewer than 4 tokens is judged by what it has.

    Args:
        hypothesis: what was generated.
        references: what it may look like, at least one.
        smoothing: what a precision without a match becomes, see `corpus_bleu`.
    """
    counts = _bleu_counts("sentence_bleu", hypothesis, references)
    # With add-k an order without any n-gram has the precision 1/1, and sacrebleu counts it.
    short = smoothing != "add-k" and counts.length < _MAX_ORDER
    return _bleu(counts, smoothing, orders=max(1, counts.length) if short else _MAX_ORDER)


def corpus_bleu(
    hypotheses: Sequence[Text],
    references: Sequence[Sequence[Text]],
    *,
    smoothing: Smoothing = "exp",
) -> float:
    """BLEU of a corpus, in [0, 100]: matches are counted over all texts, then divided.

        BLEU = 100 min(1, exp(1 - r/c)) (p_1 p_2 p_3 p_4)^(1/4)

    with p_n the share of the hypotheses' n-grams that stand in a reference, each counted at most as
    often as there; c the tokens of the hypotheses, r of the references closest in length.

    Args:
        hypotheses: what was generated, n texts.
        references: the references of each, n lists. (sacrebleu has this transposed.)
        smoothing: "exp": the k-th order without a match counts 1/2^k matches; "floor": 0.1 of one;
            "add-k": from order 2 on, 1 is added to matches and n-grams; "none": BLEU is then 0.

    Raises:
        ValueError: there is no text or no reference, or their numbers differ.

    Source: Papineni et al. (2002); smoothing as in sacrebleu, without its tokenisation.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"corpus_bleu: expected as many lists of references as hypotheses, and at least one, "
            f"got {len(references)} and {len(hypotheses)}"
        )
    each = [
        _bleu_counts("corpus_bleu", hypothesis, of)
        for hypothesis, of in zip(hypotheses, references, strict=True)
    ]
    total = BleuCounts(*(np.sum(column, axis=0) for column in zip(*each, strict=True)))
    return _bleu(total, smoothing, orders=_MAX_ORDER)


class BleuCounts(NamedTuple):
    """What BLEU is made of."""

    matches: NDArray[np.int64]  # [4], of n-grams of 1 to 4 tokens
    ngrams: NDArray[np.int64]  # [4], in the hypotheses
    length: int  # tokens of the hypotheses
    reference_length: int  # tokens of the references closest in length


def _bleu_counts(function: str, hypothesis: Text, references: Sequence[Text]) -> BleuCounts:
    if isinstance(references, str) or not references:
        raise ValueError(f"{function}: expected a list of references, got {references!r}")
    words, others = _tokens(hypothesis), [_tokens(reference) for reference in references]
    matches, ngrams = np.zeros((2, _MAX_ORDER), dtype=np.int64)
    for n in range(1, _MAX_ORDER + 1):
        found, allowed = _ngrams(words, n), Counter[tuple[Hashable, ...]]()
        for other in others:
            allowed |= _ngrams(other, n)  # the largest count in any one reference
        matches[n - 1] = (found & allowed).total()
        ngrams[n - 1] = found.total()
    nearest = min(map(len, others), key=lambda length: (abs(length - len(words)), length))
    return BleuCounts(matches, ngrams, len(words), nearest)


def _bleu(counts: BleuCounts, smoothing: Smoothing, *, orders: int) -> float:
    if smoothing not in get_args(Smoothing):
        raise ValueError(
            f"BLEU: expected smoothing 'exp', 'floor', 'add-k' or 'none', got {smoothing!r}."
            + closest(str(smoothing), get_args(Smoothing))
        )
    if not counts.matches.any():
        return 0.0  # nothing matches: no smoothing makes that a match
    logs, unmatched = 0.0, 0
    for n in range(orders):
        matches, ngrams = float(counts.matches[n]), float(counts.ngrams[n])
        if smoothing == "add-k" and n > 0:
            matches, ngrams = matches + 1.0, ngrams + 1.0
        if ngrams == 0:
            return 0.0
        if matches == 0:
            unmatched += 1
            matches = {"exp": 0.5**unmatched, "floor": 0.1}.get(smoothing, 0.0)
        if matches == 0:
            return 0.0
        logs += math.log(matches / ngrams)
    brevity = min(0.0, 1.0 - counts.reference_length / counts.length)
    return 100.0 * math.exp(brevity + logs / orders)


class Rouge(NamedTuple):
    """How much two texts overlap, each in [0, 1]."""

    precision: float  # the share of the hypothesis that is in the reference
    recall: float  # the share of the reference that is in the hypothesis
    f1: float  # their harmonic mean


def rouge_n(hypothesis: Text, reference: Text, n: int) -> Rouge:
    """ROUGE-n: common n-grams over those of the hypothesis and over those of the reference.

    Source: Lin (2004), whose measure is the recall; white space cuts tokens, no stemming.
    """
    if n < 1:
        raise ValueError(f"rouge_n: expected n >= 1, got {n}")
    found, wanted = _ngrams(_tokens(hypothesis), n), _ngrams(_tokens(reference), n)
    return _rouge((found & wanted).total(), found.total(), wanted.total())


def rouge_l(hypothesis: Text, reference: Text) -> Rouge:
    """ROUGE-L: the longest common subsequence instead of common n-grams. Source: Lin (2004)."""
    words, wanted = _tokens(hypothesis), _tokens(reference)
    row = [0] * (len(wanted) + 1)
    for word in words:
        diagonal = 0
        for j, other in enumerate(wanted, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return _rouge(row[-1], len(words), len(wanted))


def _rouge(common: int, found: int, wanted: int) -> Rouge:
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(common / found, common / wanted, 2 * common / (found + wanted))


# --- diversity ------------------------------------------------------------------------------------


def distinct_n(responses: Sequence[Text], n: int) -> float:
    """Different n-grams over all n-grams of the responses, in (0, 1]; nan if there is none.

    It falls with the number of responses, so compare equal numbers. Source: Li et al. (2016).
    """
    if n < 1:
        raise ValueError(f"distinct_n: expected n >= 1, got {n}")
    counts = Counter[tuple[Hashable, ...]]()
    for response in responses:
        counts.update(_ngrams(_tokens(response), n))
    return len(counts) / counts.total() if counts else math.nan


def bag_of_tokens(
    tokens: NDArray[np.int64], mask: NDArray[np.bool_], vocab_size: int
) -> NDArray[np.float64]:
    """How often each id stands in each response: embeddings where there is no model of them.

    Args:
        tokens: [n, T].
        mask: [n, T], True = a token of the response.
        vocab_size: number of ids.

    Returns:
        Counts [n, vocab_size].
    """
    tokens, mask = np.asarray(tokens), np.asarray(mask, dtype=bool)
    if tokens.ndim != 2 or tokens.shape != mask.shape:
        raise ValueError(
            f"bag_of_tokens: expected tokens and mask of one shape [n, T], got {tokens.shape} and "
            f"{mask.shape}"
        )
    rows, _ = np.nonzero(mask)
    bags = np.zeros((len(tokens), vocab_size))
    np.add.at(bags, (rows, tokens[mask]), 1.0)
    return bags


def mean_cosine_similarity(embeddings: ArrayLike) -> float:
    """The mean cosine between two different rows, in [-1, 1]; 1 = all responses have collapsed.

    A row of zeros, such as the bag of an empty response, points where only rows of zeros point: its
    cosine is 1 with another and 0 with any other row.

    Args:
        embeddings: one of each response, [n, d] with n >= 2.

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
    # |sum of units|^2 holds each pair twice and each row with itself, which is 1, once.
    n, total = len(units), units.sum(axis=0)
    return float(np.clip((total @ total - n) / (n * (n - 1)), -1.0, 1.0))


# --- scores and lengths ---------------------------------------------------------------------------


def _tokens(text: Text) -> list[Hashable]:
    return list(text.split()) if isinstance(text, str) else list(text)


def _ngrams(tokens: list[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
