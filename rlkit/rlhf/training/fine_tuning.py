"""Supervised fine-tuning: make demonstrations likely.

    L = -mean over examples of sum_t log pi(a_t|s_t) / mean number of tokens,

over the tokens of the responses, EOS included; prompts are conditioned on, not learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlkit.rlhf.data.held_out import split_rows
from rlkit.rlhf.data.sequences import Sequences, batched_log_probs, response_log_probs
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.training.configs import SFTConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.seeding import SeedStreams


def supervised_fine_tuning(
    model: LanguageModel, demonstrations: Sequences, config: SFTConfig, streams: SeedStreams
) -> ExampleTrainer:
    """Return the trainer of `model`, in place, on demonstrations.

    Its metric `loss` is the mean negative log-likelihood of a response token, in nats, and so is
    `held_out_loss`, where some demonstrations are held out.
    """
    count = config.num_held_out(len(demonstrations.tokens))
    # By lines, whether or not some are equal: those that will be read later may be equal as well.
    rng = streams.generator("minibatch", 1)
    rows = split_rows(len(demonstrations.tokens), count, rng)
    held_out, training = (demonstrations.select(part) for part in rows)
    if not count:
        training = demonstrations

    def loss(index: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        batch = training.select(index)
        log_prob, _, _ = response_log_probs(model, batch)
        return -log_prob[batch.response_mask], {}

    def held_out_loss() -> Mapping[str, float]:
        total, num_tokens = negative_log_likelihood(model, held_out, batch_size=64)
        return {"held_out_loss": total / num_tokens}

    num_training = len(training.tokens)
    return ExampleTrainer(
        model,
        num_training,
        loss,
        config.passes(num_training),
        streams,
        held_out=held_out_loss if count else None,
        row_length=demonstrations.tokens.shape[1],
    )


def negative_log_likelihood(
    model: LanguageModel, sequences: Sequences, *, batch_size: int = 512, temperature: float = 1.0
) -> tuple[float, int]:
    """Return the sum over all response tokens, in nats, and their number, for any batch size."""
    log_probs = batched_log_probs(model, sequences, temperature, batch_size=batch_size)
    total = 0.0
    for batch in torch.split(log_probs, batch_size):
        total -= float(batch.double().sum())
    return total, int(sequences.response_mask.sum())
