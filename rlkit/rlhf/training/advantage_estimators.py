"""Estimators of the advantages of a rollout's tokens: with a critic, or within groups.

Each is called with the rewards of the tokens and returns the advantages, standardised over all
tokens of the rollout, and the targets of the critic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rlkit.maths.returns import standardise
from rlkit.rlhf.objectives.advantages import (
    check_groups,
    grpo_advantages,
    rloo_advantages,
    to_tokens,
    token_gae,
)
from rlkit.rlhf.training.rollout import Rollout


class AdvantageEstimator(Protocol):
    """How a policy learns which tokens were better than expected."""

    @property
    def group_size(self) -> int:
        """Responses sampled to each prompt; those to one prompt are neighbours in a rollout."""

    def __call__(self, rewards: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return standardised advantages and value targets, both [B, T], from rewards [B, T]."""


@dataclass(frozen=True, kw_only=True)
class CriticAdvantages:
    """Generalised advantage estimation with the values of a critic (PPO)."""

    discount: float
    gae_lambda: float
    bootstrap_truncated: bool
    group_size: ClassVar[int] = 1

    def __call__(self, rewards: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        mask = rollout.sequences.response_mask
        advantages = token_gae(
            rewards,
            rollout.values,
            mask,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
            truncated=rollout.truncated,
            final_values=rollout.final_values if self.bootstrap_truncated else None,
        )
        return _standardised(advantages, mask), advantages + rollout.values


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutAdvantages:
    """The reward of a response less the mean of the others to its prompt (RLOO)."""

    group_size: int

    def __call__(self, rewards: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        check_groups(rollout.sequences.prompts, self.group_size)
        return _of_responses(rloo_advantages(rewards.sum(1), self.group_size), rollout)


@dataclass(frozen=True, kw_only=True)
class GroupRelativeAdvantages:
    """The reward of a response, standardised among those to its prompt (GRPO).

    Without `scale` only the mean of the group is subtracted.
    """

    group_size: int
    scale: bool = True

    def __call__(self, rewards: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        check_groups(rollout.sequences.prompts, self.group_size)
        advantages = grpo_advantages(rewards.sum(1), self.group_size, scale=self.scale)
        return _of_responses(advantages, rollout)


def _of_responses(advantages: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Give the tokens the advantages [B] of their responses; there is no critic to train."""
    mask = rollout.sequences.response_mask
    of_tokens = to_tokens(advantages, mask)
    return _standardised(of_tokens, mask), torch.zeros_like(of_tokens)


def _standardised(advantages: Tensor, mask: Tensor) -> Tensor:
    return standardise(advantages, mask=mask, dim=(0, 1))
