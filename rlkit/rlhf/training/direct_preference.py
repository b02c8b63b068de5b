"""Direct preference optimisation: the policy learns from preferences without a reward model.

    L = -log sigmoid(beta h),    h = log pi(y_w)/pi_ref(y_w) - log pi(y_l)/pi_ref(y_l)

(Rafailov et al. 2023), or the identity preference loss (h - 1/(2 beta))^2 (Azar et al. 2023). The
log-probabilities are sums over the response's tokens, EOS included; the prompt is given.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlkit.rlhf.data.preferences import Preferences
from rlkit.rlhf.data.sequences import Sequences, response_log_probs
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.objectives.preference_losses import (
    dpo_loss,
    ipo_loss,
    pairwise_accuracy,
    sequence_log_prob,
)
from rlkit.rlhf.training.configs import DPOConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.seeding import SeedStreams


def direct_preference_optimisation(
    policy: LanguageModel,
    reference: LanguageModel,
    preferences: Preferences,
    config: DPOConfig,
    streams: SeedStreams,
) -> ExampleTrainer:
    """The stage that trains `policy`, in place, towards the optimum that the preferences imply.

    Args:
        policy: starts as the reference does.
        reference: frozen; its log-probabilities are computed once.
        preferences: pairs of responses.
        config: options.
        streams: of this seed.
    """
    reference.eval()
    log_ratios = [
        reference_sums(reference, part) for part in (preferences.chosen, preferences.rejected)
    ]

    def loss(index: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        batch = preferences.select(index)
        pairs = Sequences(
            *(torch.cat(two) for two in zip(batch.chosen, batch.rejected, strict=True))
        )
        log_prob, _, _ = response_log_probs(policy, pairs)
        chosen, rejected = sequence_log_prob(log_prob, pairs.response_mask).chunk(2)
        arguments = (chosen, rejected, log_ratios[0][index], log_ratios[1][index])
        if config.loss == "ipo":
            losses, won, lost = ipo_loss(*arguments, beta=config.beta)
        else:
            losses, won, lost = dpo_loss(
                *arguments, beta=config.beta, label_smoothing=config.label_smoothing
            )
        metrics = {
            "accuracy": float(pairwise_accuracy(won, lost)),
            "reward_margin": float((won - lost).mean()),
        }
        return losses, metrics

    return ExampleTrainer(
        policy,
        len(preferences),
        loss,
        config,
        streams,
        metrics=("accuracy", "reward_margin"),
    )


@torch.no_grad()
def reference_sums(
    reference: LanguageModel, sequences: Sequences, *, batch_size: int = 512
) -> Tensor:
    """log pi_ref(y|x) of each response, [B]."""
    sums = []
    for start in range(0, len(sequences.tokens), batch_size):
        rows = sequences.select(slice(start, start + batch_size))
        log_prob, _, _ = response_log_probs(reference, rows)
        sums.append(sequence_log_prob(log_prob, rows.response_mask))
    return torch.cat(sums)
