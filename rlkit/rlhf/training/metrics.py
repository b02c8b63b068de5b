"""Metrics of a rollout of a KL-penalised policy, beside those of the shared PPO update."""

from __future__ import annotations

from torch import Tensor

from rlkit.maths.divergences import sequence_kl
from rlkit.rlhf.training.rollout import Rollout

TOKEN_METRICS = (
    "score",
    "score_std",
    "objective",
    "kl",
    "kl_standard_error",
    "response_length",
    "ended_fraction",
    "explained_variance",
    "kl_coef",
    "learning_rate",
)
CRITIC_METRICS = (
    "value_loss",
    "explained_variance",
)  # omitted without a critic


def rollout_metrics(rollout: Rollout, targets: Tensor, kl_coef: float) -> dict[str, float]:
    """Return the metrics of the policy that sampled a rollout.

    Args:
        rollout: B responses.
        targets: value targets of the critic, [B, T].
        kl_coef: reward per nat, as used for this rollout.

    Returns:
        `TOKEN_METRICS` except the learning rate; `kl` is in nats per response, `response_length`
        in tokens.
    """
    mask = rollout.sequences.response_mask
    kl_sums = sequence_kl(rollout.behaviour_log_prob, rollout.reference_log_prob, mask)
    kl, num = float(kl_sums.mean()), len(kl_sums)
    unexplained = (targets - rollout.values)[mask].var() / targets[mask].var().clamp(min=1e-8)
    return {
        "score": float(rollout.scores.mean()),
        "score_std": float(rollout.scores.std()) if num > 1 else 0.0,
        "objective": float(rollout.scores.mean()) - kl_coef * kl,
        "kl": kl,
        "kl_standard_error": float(kl_sums.std()) / num**0.5 if num > 1 else 0.0,
        "response_length": float(rollout.sequences.lengths.float().mean()),
        "ended_fraction": 1.0 - float(rollout.truncated.float().mean()),
        "explained_variance": 1.0 - float(unexplained),
        "kl_coef": kl_coef,
    }
