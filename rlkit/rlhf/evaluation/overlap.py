"""BLEU and ROUGE of responses against demonstrations, by sacrebleu and rouge-score.

Both libraries belong to the extra `metrics` and are imported only when they are used. Texts are
compared as tokens: a string is split at white space, and a sequence of ids or words is used as it
is. Neither library tokenises, stems or lower-cases anything.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Hashable, Sequence

import numpy as np

Text = str | Sequence[Hashable]
_ORDERS = 4  # of n-grams in BLEU

HOW_TO_INSTALL = (
    "BLEU and ROUGE are omitted, because they need the packages sacrebleu and rouge-score; install "
    'them by: pip install "rlkit[metrics]"'
)


def metrics_installed() -> bool:
    """Return whether the packages of the extra `metrics` can be imported."""
    packages = ("sacrebleu", "rouge_score")
    return all(importlib.util.find_spec(name) is not None for name in packages)


def corpus_bleu(hypotheses: Sequence[Text], references: Sequence[Text]) -> float:
    """Return the BLEU of a corpus, in [0, 100]; matches are summed over all texts, then divided.

        BLEU = 100 min(1, exp(1 - r/c)) (p_1 p_2 p_3 p_4)^(1/4)

    with p_n the fraction of the hypotheses' n-grams that match one of their reference, each counted
    at most as often as it occurs there, and c and r the numbers of tokens of hypotheses and
    references. The k-th order without a match counts as 1/2^k matches. It is NaN where no reference
    has four tokens: texts so short have no p_4, and even equal ones would get 0.

    Args:
        hypotheses: generated texts, [n] with n >= 1.
        references: one for each hypothesis, [n].

    Raises:
        ValueError: there is no text, or the numbers of texts differ.

    Source: Papineni et al. (2002); smoothing "exp" of sacrebleu, which does the counting.
    """
    _require_pairs("corpus_bleu", hypotheses, references)
    if max(len(tokens_of(text)) for text in references) < _ORDERS:
        return math.nan
    import sacrebleu

    # As numbers, so that nothing in a token can be taken for white space.
    numbers: dict[Hashable, int] = {}

    def line(text: Text) -> str:
        return " ".join(str(numbers.setdefault(token, len(numbers))) for token in tokens_of(text))

    lines = [line(text) for text in hypotheses], [[line(text) for text in references]]
    return sacrebleu.corpus_bleu(*lines, smooth_method="exp", tokenize="none").score


def rouge(hypotheses: Sequence[Text], references: Sequence[Text]) -> dict[str, float]:
    """Return the mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over pairs of texts, each in [0, 1].

    ROUGE-n compares n-grams, ROUGE-L the longest common subsequence:

        F1 = 2 P R / (P + R),    P = common / in the hypothesis,    R = common / in the reference

    Args and errors: as for `corpus_bleu`.

    Source: Lin (2004); rouge-score does the counting.
    """
    _require_pairs("rouge", hypotheses, references)
    from rouge_score.rouge_scorer import RougeScorer

    names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(names.values()), use_stemmer=False, tokenizer=_Tokenizer())
    pairs = zip(references, hypotheses, strict=True)
    scores = [scorer.score(reference, hypothesis) for reference, hypothesis in pairs]
    return {
        ours: float(np.mean([score[theirs].fmeasure for score in scores]))
        for ours, theirs in names.items()
    }


class _Tokenizer:
    """The interface that rouge-score expects of a tokenizer."""

    def tokenize(self, text: Text) -> list[Hashable]:
        return tokens_of(text)


def tokens_of(text: Text) -> list[Hashable]:
    return list(text.split()) if isinstance(text, str) else list(text)


def _require_pairs(function: str, hypotheses: Sequence[Text], references: Sequence[Text]) -> None:
    for texts in (hypotheses, references):
        if isinstance(texts, str):
            raise ValueError(f"{function}: expected a list of texts, got the text {texts!r:.80}")
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{function}: expected one reference for each hypothesis and at least one, got "
            f"{len(references)} and {len(hypotheses)}"
        )
