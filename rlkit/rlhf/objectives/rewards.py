"""Rewards of tokens, from the score of a response and its divergence from the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.maths.shapes import require_axes, require_detached, require_flags, require_shape


def penalised_rewards(scores: Tensor, kl: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
    """Return the reward of each token: the penalty everywhere, the score at the last one.

        r_t = -β kl_t + [t is the last decision] score

    so that a response's rewards add up to score - β log(π/π_ref) with kl = k1.

    Args:
        scores: of whole responses, shape [B].
        kl: log π - log π_ref of each token as it was sampled, nats, constant, shape [B, T].
        mask: True = a decision of the policy, end of sequence included, boolean, shape [B, T]. The
            last True is the end of sequence, or the last token of a truncated response.
        kl_coef: β.

    Returns:
        Shape [B, T], 0 outside the mask.

    Raises:
        ValueError: shapes differ, the mask is not boolean, a response is empty, or a tensor
            requires a gradient.

    Source: Stiennon et al. (2020), arXiv 2009.01325, section 3.4; Ouyang et al. (2022), arXiv
    2203.02155, eq. 2.
    """
    require_axes("penalised_rewards", "[B, T]", kl=kl)
    require_flags("penalised_rewards", kl.shape, mask=mask)
    require_shape("penalised_rewards", kl.shape[:1], scores=scores)
    require_detached("penalised_rewards", scores=scores, kl=kl)
    empty = ~mask.any(1)
    if bool(empty.any()):
        raise ValueError(
            f"penalised_rewards: response {int(empty.int().argmax())} has no token that could "
            "carry its score; sample at least one, end of sequence included"
        )
    slots = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    last_slot = slots.masked_fill(~mask, -1).amax(1, keepdim=True)
    rewards = (-kl_coef * kl).masked_fill(~mask, 0.0)
    return rewards.scatter_add(1, last_slot, scores.to(rewards.dtype).unsqueeze(1))


def missing_eos_penalty(scores: Tensor, truncated: Tensor, penalty: float) -> Tensor:
    """Subtract `penalty` from the scores of responses that did not end by themselves.

    Args:
        scores: of whole responses, shape [B].
        truncated: the length limit stopped the response, boolean, shape [B], as reported by the
            sampler, which knows the stop token.
        penalty: in units of score, >= 0.

    Returns:
        Shape [B].

    Raises:
        ValueError: shapes differ, `truncated` is not boolean, or the penalty is negative.
    """
    require_flags("missing_eos_penalty", scores.shape, truncated=truncated)
    if not penalty >= 0.0:
        raise ValueError(f"missing_eos_penalty: expected a penalty >= 0, got {penalty}")
    return torch.where(truncated, scores - penalty, scores)
