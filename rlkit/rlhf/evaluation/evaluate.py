"""How good a policy is, and how far it went from its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.sequences import Sequences, response_log_probs, response_states
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.evaluation.summary import kl_estimate, summarise, win_rate
from rlkit.rlhf.evaluation.text_metrics import (
    corpus_bleu,
    distinct_n,
    mean_cosine_similarity,
    perplexity,
    rouge_l,
    rouge_n,
)
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood

_CHUNK = 512  # sequences sampled at once


def evaluate_policy(
    policy: LanguageModel,
    reference: LanguageModel,
    task: LanguageTask,
    rng: np.random.Generator,
    *,
    scores: dict[str, Score],
    demonstrations: Sequences | None = None,
    num_samples: int = 1024,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Compare a policy with its reference on the same prompts.

    Args:
        policy: what was trained.
        reference: what it started from.
        task: where prompts come from.
        rng: where the randomness comes from.
        scores: by name: the trained reward, the gold reward, whatever is known.
        demonstrations: held-out ones; for perplexity, BLEU and ROUGE.
        num_samples: responses of each of the two.
        temperature: of sampling.

    Returns:
        Plain data: `kl` and its standard error in nats, `length`, `ended` and `diversity` (in the
        reference's embeddings), each also of the reference as `reference_...`, `perplexity`,
        `scores` by name with the policy's and the reference's distribution and the win rate, and
        `overlap` with the demonstrations.
    """
    prompts = np.asarray(task.sample_prompts(rng, num_samples))
    ours, log_prob = sample_all(policy, task, prompts, rng, temperature)
    theirs, _ = sample_all(reference, task, prompts, rng, temperature)
    log_ratio = log_prob - sequence_log_probs(reference, ours, temperature)
    kl, kl_error = kl_estimate(log_ratio)
    found: dict[str, Any] = {
        "num_samples": num_samples,
        "kl": kl,
        "kl_standard_error": kl_error,
        "length": float(ours.lengths.double().mean()),
        "reference_length": float(theirs.lengths.double().mean()),
        "ended": ended_fraction(ours, task.eos),
        "reference_ended": ended_fraction(theirs, task.eos),
        # By one model, so that both and those of other policies can be compared.
        "diversity": diversity(reference, ours),
        "reference_diversity": diversity(reference, theirs),
        "perplexity": {
            "of_samples_under_reference": _perplexity(reference, ours, temperature),
        },
        "scores": {name: _compare(score, ours, theirs) for name, score in scores.items()},
    }
    if demonstrations is not None:
        found["perplexity"] |= {
            "of_demonstrations": _perplexity(policy, demonstrations, 1.0),
            "of_demonstrations_under_reference": _perplexity(reference, demonstrations, 1.0),
        }
        answers, _ = sample_all(policy, task, demonstrations.prompts.numpy(), rng, temperature)
        found["overlap"] = overlap(answers, demonstrations)
    return found


def sample_all(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    rng: np.random.Generator,
    temperature: float = 1.0,
) -> tuple[Sequences, NDArray[np.float64]]:
    """A response to each prompt [n, P], and its log-probability [n] as sampled."""
    parts = [
        generate(model, task, prompts[start : start + _CHUNK], rng, temperature=temperature)
        for start in range(0, len(prompts), _CHUNK)
    ]
    sums = torch.cat([part.log_prob.double().sum(1) for part in parts])
    return Sequences.concatenate(part.sequences for part in parts), sums.numpy()


@torch.no_grad()
def sequence_log_probs(
    model: LanguageModel, sequences: Sequences, temperature: float = 1.0
) -> NDArray[np.float64]:
    """log pi(y|x) of each response, [n]."""
    model.eval()
    parts = []
    for start in range(0, len(sequences.tokens), _CHUNK):
        rows = sequences.select(slice(start, start + _CHUNK))
        log_prob, _, _ = response_log_probs(model, rows, temperature)
        parts.append(log_prob.double().sum(1))
    return torch.cat(parts).numpy()


def ended_fraction(sequences: Sequences, eos: int) -> float:
    """The share of responses whose last token is EOS."""
    last = (sequences.lengths - 1).unsqueeze(1)
    return float((sequences.responses.gather(1, last) == eos).double().mean())


@torch.no_grad()
def diversity(model: LanguageModel, sequences: Sequences, *, most: int = 512) -> dict[str, float]:
    """How different responses are: distinct n-grams, and the mean cosine of their embeddings.

    An embedding is the mean of the hidden states in which `model` would choose a response's tokens,
    so it knows the prompt, and all but the last token. The cosine nears 1 where responses collapse
    to one, and depends on the model.
    """
    rows = sequences.select(slice(0, most))
    model.eval()
    states = response_states(model, rows).masked_fill(~rows.response_mask.unsqueeze(2), 0.0)
    embeddings = states.sum(1) / rows.lengths.unsqueeze(1)
    words = word_lists(rows)
    return {
        "distinct_1": distinct_n(words, 1),
        "distinct_2": distinct_n(words, 2),
        "distinct_responses": len(set(map(tuple, words))) / len(words),
        "mean_cosine": mean_cosine_similarity(embeddings.double().numpy()),
    }


def overlap(sequences: Sequences, demonstrations: Sequences) -> dict[str, float]:
    """BLEU and ROUGE of responses against the demonstration to the same prompt."""
    hypotheses, references = word_lists(sequences), word_lists(demonstrations)
    pairs = list(zip(hypotheses, references, strict=True))
    return {
        "bleu": corpus_bleu(hypotheses, [[reference] for reference in references]),
        "rouge_1": float(np.mean([rouge_n(*pair, 1).f1 for pair in pairs])),
        "rouge_2": float(np.mean([rouge_n(*pair, 2).f1 for pair in pairs])),
        "rouge_l": float(np.mean([rouge_l(*pair).f1 for pair in pairs])),
    }


def word_lists(sequences: Sequences) -> list[Sequence[str]]:
    """The ids of each response, EOS included, as words."""
    rows = zip(sequences.responses.tolist(), sequences.lengths.tolist(), strict=True)
    return [[str(token) for token in row[:length]] for row, length in rows]


def _perplexity(model: LanguageModel, sequences: Sequences, temperature: float) -> float:
    return perplexity(*negative_log_likelihood(model, sequences, temperature=temperature))


def _compare(score: Score, ours: Sequences, theirs: Sequences) -> dict[str, Any]:
    a, b = (np.asarray(score(x), dtype=np.float64) for x in (ours, theirs))
    rate, error = win_rate(a, b)
    return {
        "policy": summarise(a)._asdict(),
        "reference": summarise(b)._asdict(),
        "win_rate": rate,
        "win_rate_standard_error": error,
    }
