"""Direct preference optimisation: the policy learns from preferences without a reward model.

    L = -log sigmoid(beta h),    h = log pi(y_w)/pi_ref(y_w) - log pi(y_l)/pi_ref(y_l)

(Rafailov et al. 2023), or the identity preference loss (h - 1/(2 beta))^2 (Azar et al. 2023). The
log-probabilities are sums over the response's tokens, EOS included; the prompt is given.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rlkit.rlhf.data.preferences import Preferences
from rlkit.rlhf.data.sequences import Sequences, batched_log_probs, response_log_probs
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
    """Return the trainer of `policy`, in place, towards the optimum that the preferences imply.

    Args:
        policy: starts as a copy of the reference.
        reference: constant; its log-probabilities are computed once.
        preferences: pairs of responses.
        config: options.
        streams: of this seed.
    """
    reference.eval()
    reference_chosen, reference_rejected = (
        batched_log_probs(reference, responses).sum(-1)
        for responses in (preferences.chosen, preferences.rejected)
    )

    def loss(index: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        batch = preferences.select(index)
        pairs = Sequences.concatenate([batch.chosen, batch.rejected])
        log_prob, _, _ = response_log_probs(policy, pairs)
        chosen, rejected = sequence_log_prob(log_prob, pairs.response_mask).chunk(2)
        arguments = (chosen, rejected, reference_chosen[index], reference_rejected[index])
        if config.loss == "ipo":
            losses, chosen_rewards, rejected_rewards = ipo_loss(*arguments, beta=config.beta)
        else:
            losses, chosen_rewards, rejected_rewards = dpo_loss(
                *arguments, beta=config.beta, label_smoothing=config.label_smoothing
            )
        metrics = {
            "accuracy": float(pairwise_accuracy(chosen_rewards, rejected_rewards)),
            "reward_margin": float((chosen_rewards - rejected_rewards).mean()),
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
