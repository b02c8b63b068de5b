"""Best of n: sample n responses and keep the one with the highest score, without training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.evaluation.evaluate import sample_all
from rlkit.rlhf.models.language_model import LanguageModel


class BestOfN(NamedTuple):
    """The best of n responses to each of Q prompts."""

    sequences: Sequences  # Q of them
    scores: NDArray[np.float64]  # [Q], of the chosen responses
    all_scores: NDArray[np.float64]  # [Q, n], of all samples
    all_sequences: Sequences  # Q n of them, grouped by prompt


def best_of_n(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    score: Score,
    n: int,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
) -> BestOfN:
    """Sample n responses to each prompt and keep the best, the first one among equals.

    Args:
        model: the sampled policy.
        task: the task of the prompts.
        prompts: ids [Q, P], padded on the left.
        score: the score that decides.
        n: responses per prompt, >= 1.
        rng: the source of randomness.
        temperature: of sampling.
    """
    if n < 1:
        raise UsageError(f"best of n: expected n >= 1, got {n}")
    sequences, _ = sample_all(model, task, prompts.repeat(n, axis=0), rng, temperature)
    scores = np.asarray(score(sequences), dtype=np.float64).reshape(len(prompts), n)
    best = scores.argmax(axis=1)
    rows: Tensor = torch.from_numpy(np.arange(len(prompts)) * n + best)
    return BestOfN(sequences.select(rows), scores.max(axis=1), scores, sequences)


def expected_best(
    all_scores: NDArray[np.float64], values: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Estimate the expected value of the best of n, without bias, from N >= n samples per prompt.

        E[v of the best of n] = sum_i v_(i) C(i - 1, n - 1) / C(N, n),    i = 1..N by rising score

    Args:
        all_scores: the scores that decide, [Q, N]; equal scores are ordered as sampled.
        values: the quantity to average, the score itself or another reward, [Q, N].
        n: from 1 to N.

    Returns:
        [Q]

    Source: Nakano et al. (2021), arXiv 2112.09332, appendix I; Chen et al. (2021) for pass@k.
    """
    num_samples = all_scores.shape[1]
    if not 1 <= n <= num_samples:
        raise ValueError(f"expected_best: expected n from 1 to {num_samples}, got {n}")
    order = np.argsort(all_scores, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    # C(i-1, n-1) / C(N, n), by a product that does not overflow, from the top rank downwards.
    weights = np.zeros(num_samples)
    weights[-1] = n / num_samples
    for i in range(num_samples - 1, n - 1, -1):  # rank i from rank i + 1
        weights[i - 1] = weights[i] * (i - n + 1) / i
    result: NDArray[np.float64] = ranked @ weights
    return result
