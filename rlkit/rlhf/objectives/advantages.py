"""Advantages of tokens and of whole responses.

Arrays are [B, T] with a mask that is True for each token the policy chose, end of sequence
included. Nothing here takes part in a gradient. Whitening is `rlkit.maths.returns.standardise` with
the mask and dim=(0, 1), over all responses of a batch.
"""

import torch
from torch import Tensor

from rlkit.maths.returns import gae, standardise
from rlkit.maths.shapes import require_axes, require_flags, require_shape

__all__ = ["check_groups", "grpo_advantages", "rloo_advantages", "to_tokens", "token_gae"]


def token_gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    discount: float,
    gae_lambda: float,
    truncated: Tensor | None = None,
    final_values: Tensor | None = None,
) -> Tensor:
    """Return the generalised advantage of each token of a response.

        δ_t = r_t + γ V(s_{t+1}) - V(s_t),    A_t = δ_t + γ λ A_{t+1}

    where s_{t+1} is the state of the next decision. After the last one V = 0, at the length limit
    too: the limit is part of the task, as it is for the optimum of rlkit.rlhf.exact.optimum. With
    `final_values` a truncated response is worth V(s_T) more there.

    Args:
        rewards: r_t for the choice of token t, shape [B, T].
        values: V(s_t), the value before that choice, shape [B, T].
        mask: True = a decision of the policy, boolean, shape [B, T]; other slots are transparent.
        discount: γ in [0, 1]. Below 1 the score of a long response hardly counts at its start.
        gae_lambda: λ in [0, 1].
        truncated: the length limit stopped the response, boolean, shape [B], as reported by the
            sampler; it cannot be inferred from widths. Needed with `final_values` only.
        final_values: V(s_T) after the last token, shape [B]; read where `truncated`.

    Returns:
        A_t, shape [B, T], 0 outside the mask. The target of the critic is A_t + V(s_t).

    Raises:
        ValueError: shapes differ, a flag is not boolean, a tensor requires a gradient, γ or λ is
            outside [0, 1], or `final_values` is given without `truncated`.

    Source: Schulman et al. (2016), arXiv 1506.02438, eqs. 11-12 and 16.
    """
    require_axes("token_gae", "[B, T]", rewards=rewards)
    require_flags("token_gae", rewards.shape, mask=mask)
    num_rows, length = rewards.shape
    if final_values is None:
        after = values.new_zeros(num_rows)
        bootstrapped = torch.zeros(num_rows, dtype=torch.bool, device=mask.device)
    elif truncated is None:
        raise ValueError("token_gae: expected truncated [B] together with final_values")
    else:
        require_flags("token_gae", (num_rows,), truncated=truncated)
        require_shape("token_gae", (num_rows,), final_values=final_values)
        after, bootstrapped = final_values, truncated
    following = _next_decision(mask)
    is_last = following == length
    next_values = torch.cat([values, after.unsqueeze(1)], dim=1).gather(1, following)
    advantages = gae(
        rewards.T,
        values.T,
        next_values.T,
        (is_last & ~bootstrapped.unsqueeze(1)).T,
        is_last.T,
        discount=discount,
        gae_lambda=gae_lambda,
        mask=mask.T,
    )
    return advantages.T.contiguous()


def rloo_advantages(rewards: Tensor, group_size: int) -> Tensor:
    """Return how much better each response is than the mean of the others to its prompt.

        A_i = r_i - 1/(K-1) Σ_{j≠i} r_j = K/(K-1) (r_i - mean)

    Args:
        rewards: r of each response, the KL penalty included where there is one, shape [B]. The K
            responses to a prompt are neighbours: rows gK .. gK + K-1 belong to group g.
        group_size: K of at least 2, a divisor of B.

    Returns:
        A, shape [B]. The baseline does not depend on the response itself, so the gradient has no
        bias; each group sums to 0.

    Raises:
        ValueError: B is not a multiple of K, or K is below 2.

    Source: Kool et al. (2019), "Buy 4 REINFORCE samples, get a baseline for free!", eq. 8;
    Ahmadian et al. (2024), arXiv 2402.14740, eq. 7.
    """
    groups = _groups("rloo_advantages", rewards, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred * (group_size / (group_size - 1))).flatten()


def grpo_advantages(rewards: Tensor, group_size: int, *, scale: bool = True) -> Tensor:
    """Return how many standard deviations each response is above the mean of its group.

        A_i = (r_i - mean) / (std + 1e-8),    std with the divisor K-1

    Args:
        rewards: as for `rloo_advantages`, shape [B].
        group_size: K of at least 2, a divisor of B.
        scale: False omits the division, which gives more weight to prompts whose responses differ
            little (Liu et al. 2025, arXiv 2503.20783, section 3.1).

    Returns:
        A, shape [B]; 0 for a group whose rewards are all equal.

    Raises:
        ValueError: B is not a multiple of K, or K is below 2.

    Source: Shao et al. (2024), arXiv 2402.03300, section 4.1.2.
    """
    groups = _groups("grpo_advantages", rewards, group_size)
    if not scale:
        return (groups - groups.mean(dim=1, keepdim=True)).flatten()
    return standardise(groups, dim=1).flatten()


def to_tokens(advantages: Tensor, mask: Tensor) -> Tensor:
    """Give each token of a response the advantage of the response.

    Args:
        advantages: shape [B].
        mask: True = a decision of the policy, boolean, shape [B, T].

    Returns:
        Shape [B, T], 0 outside the mask.

    Raises:
        ValueError: the numbers of rows differ.
    """
    require_axes("to_tokens", "[B, T]", mask=mask)
    require_shape("to_tokens", mask.shape[:1], advantages=advantages)
    return advantages.unsqueeze(1).expand(mask.shape).masked_fill(~mask, 0.0)


def check_groups(prompts: Tensor, group_size: int) -> None:
    """Require that neighbours that form a group respond to the same prompt.

    Args:
        prompts: ids, shape [B, P].
        group_size: K of at least 2.

    Raises:
        ValueError: B is not a multiple of K, K is below 2, or a group mixes prompts.
    """
    groups = _groups("check_groups", prompts, group_size)
    mixed = (groups != groups[:, :1]).flatten(1).any(1)
    if bool(mixed.any()):
        raise ValueError(
            f"check_groups: expected the {group_size} responses to a prompt to be neighbours, but "
            f"group {int(mixed.int().argmax())} holds different prompts; repeat each prompt "
            "group_size times in a row before sampling, and do not shuffle before the advantages"
        )


def _groups(function: str, x: Tensor, group_size: int) -> Tensor:
    if group_size < 2 or x.ndim == 0 or len(x) == 0 or len(x) % group_size:
        raise ValueError(
            f"{function}: expected groups of at least 2 that divide the batch, got group_size "
            f"{group_size} for an array of shape {tuple(x.shape)}"
        )
    return x.view(-1, group_size, *x.shape[1:])


def _next_decision(mask: Tensor) -> Tensor:
    """Return the slot of the first decision after each slot, T if there is none, int64 [B, T]."""
    length = mask.shape[1]
    slots = torch.arange(length, device=mask.device).expand(mask.shape)
    own = slots.masked_fill(~mask, length)
    from_here = own.flip(1).cummin(1).values.flip(1)
    return torch.cat([from_here[:, 1:], torch.full_like(from_here[:, :1], length)], dim=1)
