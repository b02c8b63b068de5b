"""Supervised fine-tuning: make demonstrations likely.

    L = -mean over examples of sum_t log pi(a_t|s_t) / mean number of tokens,

the response's tokens only, its EOS among them: prompts are given, not learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences, response_log_probs
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.training.configs import SFTConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.seeding import SeedStreams


def supervised_fine_tuning(
    model: LanguageModel, demonstrations: Sequences, config: SFTConfig, streams: SeedStreams
) -> ExampleTrainer:
    """The stage that trains `model`, in place, on demonstrations.

    Its metric `loss` is the mean negative log-likelihood of a response token, in nats.
    """

    def loss(index: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        batch = demonstrations.select(index)
        log_prob, _, _ = response_log_probs(model, batch)
        return -log_prob[batch.response_mask], {}

    return ExampleTrainer(model, len(demonstrations.tokens), loss, config, streams)


@torch.no_grad()
def negative_log_likelihood(
    model: LanguageModel, sequences: Sequences, *, batch_size: int = 512, temperature: float = 1.0
) -> tuple[float, int]:
    """Sum over all response tokens, in nats, and their number; the same for any batch size."""
    total, count = 0.0, 0
    before = model.training
    model.eval()
    for start in range(0, len(sequences.tokens), batch_size):
        batch = sequences.select(slice(start, start + batch_size))
        log_prob, _, _ = response_log_probs(model, batch, temperature)
        total -= float(log_prob.double().sum())
        count += int(batch.response_mask.sum())
    model.train(before)
    return total, count
