"""Losses of reinforcement learning, one number per element.

A loss has the shape of its inputs, and the caller averages it: normally with `masked_mean` over the
elements of one seed, then a sum over seeds, so that no seed's gradient depends on another's.

All losses are to be minimised. Conventions:

* squared errors carry the factor 1/2, so the gradient is the error itself;
* advantages, targets and everything called `behaviour_` or `reference_` are constants: the caller
  detaches them;
* where only some elements are decisions of the policy, clean the inputs with `fill_masked`
  first and average with `masked_mean` afterwards. Dropping an element of the loss alone is not
  enough: the derivative of exp at a poisoned element is infinite, and 0 * inf is NaN.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from rlkit.maths.shapes import require_same_shape

__all__ = [
    "binary_cross_entropy_loss",
    "clipped_value_loss",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "value_loss",
]


def policy_gradient_loss(log_prob: Tensor, advantages: Tensor) -> Tensor:
    """Return the score-function loss of REINFORCE and actor-critic.

        L = -A log π(a|s),    so that    -∇L = A ∇ log π(a|s)

    Args:
        log_prob: log π(a_t|s_t) under the policy being trained, nats, any shape.
        advantages: A_t, or a return, in units of reward, same shape, constant.

    Returns:
        The loss of each element, same shape. Only its gradient has a meaning.

    Raises:
        ValueError: the shapes differ.

    Source: Williams (1992), "Simple statistical gradient-following algorithms", theorem 1;
    Sutton and Barto (2018), eq. 13.8.
    """
    require_same_shape("policy_gradient_loss", log_prob=log_prob, advantages=advantages)
    return -advantages * log_prob


def ppo_clip_loss(
    log_prob: Tensor,
    behaviour_log_prob: Tensor,
    advantages: Tensor,
    *,
    clip_epsilon: float,
) -> Tensor:
    """Return the clipped surrogate loss of PPO.

        L = -min(ρ A, clip(ρ, 1-ε, 1+ε) A),    ρ = π(a|s) / π_behaviour(a|s)

    The minimum uses only one edge of the clip: 1+ε where A >= 0 and 1-ε where A < 0. That edge is
    applied to log ρ, before the exponential. The value is the same, and an element past its edge
    has a gradient of exactly zero even where ρ itself overflows.

    Args:
        log_prob: log π(a_t|s_t) under the policy being trained, nats, any shape.
        behaviour_log_prob: the same under the policy that acted, as sampled, same shape, constant.
        advantages: A_t, same shape, constant.
        clip_epsilon: ε in [0, 1).

    Returns:
        The loss of each element, same shape.

    Raises:
        ValueError: the shapes differ, or ε is outside [0, 1).

    Source: Schulman et al. (2017), arXiv 1707.06347, eq. 7, with the sign of a loss.
    """
    require_same_shape(
        "ppo_clip_loss",
        log_prob=log_prob,
        behaviour_log_prob=behaviour_log_prob,
        advantages=advantages,
    )
    if not 0.0 <= clip_epsilon < 1.0:
        raise ValueError(f"ppo_clip_loss: expected clip_epsilon in [0, 1), got {clip_epsilon}")
    log_floor = log_prob.new_tensor(math.log1p(-clip_epsilon))
    log_ceiling = log_prob.new_tensor(math.log1p(clip_epsilon))
    negative = advantages < 0
    log_ratio = torch.clamp(
        log_prob - behaviour_log_prob,
        min=torch.where(negative, log_floor, -math.inf),
        max=torch.where(negative, math.inf, log_ceiling),
    )
    return -advantages * torch.exp(log_ratio)


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Return half the squared error of a value estimate.

        L = (v - R)² / 2,    so that    dL/dv = v - R

    A library that writes (v - R)² with coefficient c is this loss with coefficient 2c.

    Args:
        values: v(s_t) being trained, in units of return, any shape.
        targets: R_t, same shape, constant.

    Returns:
        The loss of each element, same shape.

    Raises:
        ValueError: the shapes differ.

    Source: Sutton and Barto (2018), eq. 9.1 and the update 9.5 that follows from it.
    """
    require_same_shape("value_loss", values=values, targets=targets)
    return 0.5 * functional.mse_loss(values, targets, reduction="none")


def clipped_value_loss(
    values: Tensor, behaviour_values: Tensor, targets: Tensor, *, clip_range: float
) -> Tensor:
    """Return half the squared error of a value estimate that may not move far in one update.

        L = max((v - R)², (v_clip - R)²) / 2,    v_clip = v_old + clip(v - v_old, -c, c)

    The maximum makes it pessimistic: the gradient vanishes only where v has already moved by more
    than c towards R. Without a clip, use `value_loss`.

    Args:
        values: v(s_t) being trained, in units of return, any shape.
        behaviour_values: v_old(s_t), predicted when the rollout was collected, same shape,
            constant.
        targets: R_t, same shape, constant.
        clip_range: c > 0 in units of return: it depends on the scale of the rewards.

    Returns:
        The loss of each element, same shape.

    Raises:
        ValueError: the shapes differ, or c is not above 0.

    Source: Schulman's ppo2 code, described in Engstrom et al. (2020), arXiv 2005.12729,
    section 3. The formula printed there takes the minimum; the code, and this
    function, take the maximum.
    """
    require_same_shape(
        "clipped_value_loss", values=values, behaviour_values=behaviour_values, targets=targets
    )
    if not clip_range > 0.0:
        raise ValueError(f"clipped_value_loss: expected clip_range above 0, got {clip_range}")
    clipped = behaviour_values + (values - behaviour_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum(
        functional.mse_loss(values, targets, reduction="none"),
        functional.mse_loss(clipped, targets, reduction="none"),
    )


def binary_cross_entropy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of a binary label under a logit.

        L = -[r log σ(y) + (1 - r) log(1 - σ(y))] = (y + |y|)/2 - r y + log(1 + exp(-|y|))

    For a pair, y is the score of the chosen answer minus that of the rejected one and r = 1
    (Bradley-Terry). The second form never overflows, its derivative σ(y) - r is correct at y = 0
    too, and unlike torch's sigmoid and softplus it gives an element the same bits at any position
    in a tensor.

    Args:
        logits: y, any shape.
        labels: r in [0, 1], same shape, constant.

    Returns:
        The loss of each element in nats, same shape.

    Raises:
        ValueError: the shapes differ.

    Source: Bradley and Terry (1952); Ouyang et al. (2022), arXiv 2203.02155, eq. 1.
    """
    require_same_shape("binary_cross_entropy_loss", logits=logits, labels=labels)
    magnitude = logits.abs()
    return 0.5 * (logits + magnitude) - labels * logits + torch.log1p(torch.exp(-magnitude))
