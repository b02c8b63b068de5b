"""Compare a policy with its reference: KL divergence, scores, diversity, text metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.errors import RlkitWarning
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.sequences import Sequences, batched_log_probs, response_states
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.evaluation.overlap import (
    HOW_TO_INSTALL,
    Text,
    corpus_bleu,
    metrics_installed,
    rouge,
)
from rlkit.rlhf.evaluation.summary import kl_estimate, summarise, win_rate
from rlkit.rlhf.evaluation.text_metrics import distinct_n, mean_cosine_similarity, perplexity
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood

_CHUNK = 512  # sequences per forward pass


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
    decode: Callable[[Sequence[int]], str] | None = None,
) -> dict[str, Any]:
    """Compare a policy with its reference on the same prompts.

    Args:
        policy: the trained policy.
        reference: the policy that it was trained from.
        task: the source of prompts.
        rng: the source of randomness.
        scores: by name, such as the trained reward and the gold reward.
        demonstrations: held-out demonstrations, for perplexity, BLEU and ROUGE.
        num_samples: responses of the policy, and of the reference.
        temperature: of sampling.
        decode: turns ids into text, whose words BLEU and ROUGE then compare; None = they compare
            ids, as suits tasks with a token per word.

    Returns:
        Plain data: `kl` and its standard error in nats, `length`, `ended` and `diversity` (in the
        reference's embeddings), each also of the reference as `reference_...`, `perplexity`,
        `scores` by name with the distributions of policy and reference and the win rate, and
        `overlap` and `reference_overlap` with the demonstrations (BLEU in [0, 100], ROUGE in [0,
        1]).

    Warns:
        RlkitWarning: `overlap` is omitted, since the extra `metrics` is not installed.
    """
    prompts = np.asarray(task.sample_prompts(rng, num_samples))
    ours, log_prob = sample_all(policy, task, prompts, rng, temperature)
    theirs, _ = sample_all(reference, task, prompts, rng, temperature)
    log_ratio = log_prob - sequence_log_probs(reference, ours, temperature)
    kl, kl_error = kl_estimate(log_ratio)
    report: dict[str, Any] = {
        "num_samples": num_samples,
        "kl": kl,
        "kl_standard_error": kl_error,
        "length": float(ours.lengths.double().mean()),
        "reference_length": float(theirs.lengths.double().mean()),
        "ended": ended_fraction(ours, task.eos),
        "reference_ended": ended_fraction(theirs, task.eos),
        # All in the embeddings of one model, so that policies can be compared.
        "diversity": diversity(reference, ours),
        "reference_diversity": diversity(reference, theirs),
        "perplexity": {
            "of_samples_under_reference": _perplexity(reference, ours, temperature),
        },
        "scores": {name: _compare(score, ours, theirs) for name, score in scores.items()},
    }
    if demonstrations is not None:
        report["perplexity"] |= {
            "of_demonstrations": _perplexity(policy, demonstrations, 1.0),
            "of_demonstrations_under_reference": _perplexity(reference, demonstrations, 1.0),
        }
        if metrics_installed():
            asked = demonstrations.prompts.numpy()
            for name, model in (("overlap", policy), ("reference_overlap", reference)):
                answers, _ = sample_all(model, task, asked, rng, temperature)
                report[name] = overlap(answers, demonstrations, decode)
        else:
            warnings.warn(HOW_TO_INSTALL, RlkitWarning, stacklevel=2)
    return report


def sample_all(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    rng: np.random.Generator,
    temperature: float = 1.0,
) -> tuple[Sequences, NDArray[np.float64]]:
    """Sample a response to each prompt [n, P]; return also the log-probabilities [n]."""
    parts = [
        generate(model, task, prompts[start : start + _CHUNK], rng, temperature=temperature)
        for start in range(0, len(prompts), _CHUNK)
    ]
    sums = torch.cat([part.log_prob.double().sum(1) for part in parts])
    return Sequences.concatenate(part.sequences for part in parts), sums.numpy()


def sequence_log_probs(
    model: LanguageModel, sequences: Sequences, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return log pi(y|x) of each response, [n]."""
    log_probs = batched_log_probs(model, sequences, temperature, batch_size=_CHUNK)
    sums: NDArray[np.float64] = log_probs.double().sum(1).numpy()
    return sums


def ended_fraction(sequences: Sequences, eos: int) -> float:
    """Return the fraction of responses whose last token is EOS."""
    ends = (sequences.lengths - 1).unsqueeze(1)
    return float((sequences.responses.gather(1, ends) == eos).double().mean())


def diversity(model: LanguageModel, sequences: Sequences, *, most: int = 512) -> dict[str, float]:
    """Measure how much responses differ: distinct n-grams, mean cosine of their embeddings.

    An embedding is the mean of the hidden states from which `model` would choose the tokens of a
    response, so it depends on the prompt and on all but the last token. The cosine approaches 1
    where responses collapse to one. Only the first `most` responses are used.
    """
    rows = sequences.select(slice(0, most))
    parts = []
    with evaluating(model):
        size = model.rows_at_once(rows.tokens.shape[1], most)
        for part in rows.split(size):
            states = response_states(model, part).cpu()
            parts.append(states.masked_fill(~part.response_mask.unsqueeze(2), 0.0).sum(1))
    embeddings = torch.cat(parts) / rows.lengths.unsqueeze(1)
    ids = response_ids(rows)
    return {
        "distinct_1": distinct_n(ids, 1),
        "distinct_2": distinct_n(ids, 2),
        "distinct_responses": len(set(map(tuple, ids))) / len(ids),
        "mean_cosine": mean_cosine_similarity(embeddings.double().numpy()),
    }


def overlap(
    sequences: Sequences,
    demonstrations: Sequences,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> dict[str, float]:
    """Return BLEU and ROUGE of responses against the demonstration for the same prompt."""
    sides: list[list[Text]] = [
        [ids if decode is None else decode(ids) for ids in response_ids(side)]
        for side in (sequences, demonstrations)
    ]
    hypotheses, references = sides
    return {"bleu": corpus_bleu(hypotheses, references), **rouge(hypotheses, references)}


def response_ids(sequences: Sequences) -> list[list[int]]:
    """Return the ids of each response, EOS included."""
    rows = zip(sequences.responses.tolist(), sequences.lengths.tolist(), strict=True)
    return [row[:length] for row, length in rows]


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
