"""Losses on preferences: of a reward model, and of a policy that is trained without one.

As in `rlkit.maths.losses`, functions return the loss of each element and the caller averages. The
policy's losses take the log-probability of a whole response: the sum over its tokens, end of
sequence included, prompt excluded. It is never a mean: only with the sum is the minimiser of DPO
the optimum of the reward and the KL penalty.

The loss of a reward model that learns from single labelled answers instead of pairs is
`rlkit.maths.losses.binary_cross_entropy_loss` of the scores.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.maths.losses import binary_cross_entropy_loss
from rlkit.maths.shapes import require_flags, require_same_shape

__all__ = [
    "DirectLoss",
    "bradley_terry_loss",
    "dpo_loss",
    "ipo_loss",
    "pairwise_accuracy",
    "sequence_log_prob",
]


class DirectLoss(NamedTuple):
    """Losses and implicit rewards of DPO and IPO, each [B]."""

    losses: Tensor  # in nats (DPO) or nats squared (IPO)
    chosen_rewards: Tensor  # β log(π/π_ref) of the chosen response, detached
    rejected_rewards: Tensor  # the same of the rejected one


def bradley_terry_loss(
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    margin: float | Tensor = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the negative log-likelihood of a preference between two scores.

        L = -(1-ε) log σ(d) - ε log σ(-d),    d = r_chosen - r_rejected - m

    Args:
        chosen_scores: r of the preferred response, any shape.
        rejected_scores: r of the other one, same shape.
        margin: m, by how much the scores should differ before the loss counts them as equal, a
            number or a tensor of that shape.
        label_smoothing: ε in [0, 1/2), the assumed share of swapped labels.

    Returns:
        The loss of each pair in nats, same shape; log 2 where d = 0. It does not change when a
        constant is added to all scores.

    Raises:
        ValueError: the shapes differ, or ε is outside [0, 1/2).

    Source: Bradley and Terry (1952); Ouyang et al. (2022), arXiv 2203.02155, eq. 1; the margin is
    that of Touvron et al. (2023), arXiv 2307.09288, eq. 2.
    """
    require_same_shape(
        "bradley_terry_loss", chosen_scores=chosen_scores, rejected_scores=rejected_scores
    )
    if not 0.0 <= label_smoothing < 0.5:
        raise ValueError(
            f"bradley_terry_loss: expected label_smoothing in [0, 0.5), got {label_smoothing}"
        )
    if isinstance(margin, Tensor):
        require_same_shape("bradley_terry_loss", chosen_scores=chosen_scores, margin=margin)
    logits = chosen_scores - rejected_scores - margin
    return binary_cross_entropy_loss(logits, torch.full_like(logits, 1.0 - label_smoothing))


def sequence_log_prob(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Return the log-probability of a response given its prompt.

        log π(y|x) = Σ_{t: m_t} log π(y_t|x, y_<t)

    Args:
        log_prob: log-probability of each token, nats, shape [..., T].
        mask: True = a token of the response, end of sequence included, boolean, same shape.

    Returns:
        The sum, shape [...]; entries outside the mask are ignored.

    Raises:
        ValueError: the shapes differ or the mask is not boolean.
    """
    require_flags("sequence_log_prob", log_prob.shape, mask=mask)
    return log_prob.masked_fill(~mask, 0.0).sum(-1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> DirectLoss:
    """Return the loss of direct preference optimisation: the policy's log-ratios are the scores.

        r(y) = β (log π(y|x) - log π_ref(y|x)),    L = Bradley-Terry loss of r(y_w) and r(y_l)

    Args:
        chosen: log π(y_w|x), summed over tokens, nats, shape [B].
        rejected: log π(y_l|x), likewise.
        reference_chosen: log π_ref(y_w|x), likewise, constant.
        reference_rejected: log π_ref(y_l|x), likewise, constant.
        beta: β > 0, the coefficient of the KL penalty.
        label_smoothing: ε in [0, 1/2): the "conservative" loss.

    Returns:
        The losses and the implicit rewards r.

    Raises:
        ValueError: the shapes differ, or β or ε is out of its range.

    Source: Rafailov et al. (2023), arXiv 2305.18290, eq. 7; for ε Mitchell (2023), "A note on DPO
    with noisy preferences", eq. 3.
    """
    rewards = _implicit_rewards(
        "dpo_loss", chosen, rejected, reference_chosen, reference_rejected, beta
    )
    losses = bradley_terry_loss(*rewards, label_smoothing=label_smoothing)
    return DirectLoss(losses, *(r.detach() for r in rewards))


def ipo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
) -> DirectLoss:
    """Return the loss of identity preference optimisation, with a finite target of log-ratios.

        L = (h - 1/(2β))²,    h = log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l)

    Args, raises: as `dpo_loss`.

    Returns:
        The losses, and β times the two log-ratios as rewards.

    Source: Azar et al. (2024), arXiv 2310.12036, eq. 17, with β for its τ. Log-ratios are of whole
    responses, so sums over tokens, as there; some libraries take means over tokens instead.
    """
    chosen_rewards, rejected_rewards = _implicit_rewards(
        "ipo_loss", chosen, rejected, reference_chosen, reference_rejected, beta
    )
    difference = (chosen - reference_chosen) - (rejected - reference_rejected)
    losses = (difference - 1.0 / (2.0 * beta)).square()
    return DirectLoss(losses, chosen_rewards.detach(), rejected_rewards.detach())


def pairwise_accuracy(chosen_scores: Tensor, rejected_scores: Tensor) -> Tensor:
    """Return the share of pairs whose chosen response has the higher score; ties count one half.

    So a constant score has accuracy 1/2, and swapping chosen and rejected turns a into 1 - a.

    Args:
        chosen_scores: any shape with at least one element.
        rejected_scores: same shape.

    Returns:
        A number in [0, 1], shape [].

    Raises:
        ValueError: the shapes differ, there is no pair, or a score is NaN.
    """
    require_same_shape(
        "pairwise_accuracy", chosen_scores=chosen_scores, rejected_scores=rejected_scores
    )
    difference = chosen_scores.detach().double() - rejected_scores.detach().double()
    if not difference.numel() or bool(difference.isnan().any()):
        raise ValueError(
            "pairwise_accuracy: expected at least one pair and no NaN among the scores, got "
            f"{difference.numel()} pairs, {int(difference.isnan().sum())} of them NaN"
        )
    return 0.5 * (difference.sign() + 1.0).mean()


def _implicit_rewards(
    function: str,
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> tuple[Tensor, Tensor]:
    require_same_shape(
        function,
        chosen=chosen,
        rejected=rejected,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
    )
    if not beta > 0.0:
        raise ValueError(f"{function}: expected beta above 0, got {beta}")
    return beta * (chosen - reference_chosen), beta * (rejected - reference_rejected)
