"""Losses of reinforcement learning, one number per element.

Nothing here takes the mean of a batch by itself: a loss comes back in the shape of its inputs,
and the caller decides what is averaged with what, normally `masked_mean` over the elements of
one seed and then the sum over seeds, so that no seed's gradient depends on another's.

Conventions, all losses are to be minimised:

* squared errors carry the factor 1/2, so the gradient is the error itself;
* advantages, targets and everything called `behaviour_` or `reference_` are constants, the
  caller detaches them;
* where only some elements are decisions of the policy, clean the inputs with `fill_masked`
  first and average with `masked_mean` afterwards. Dropping an element of the loss alone is not
  enough: the derivative of exp at a poisoned element is infinite, and 0 * inf is NaN.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "binary_cross_entropy_loss",
    "clipped_value_loss",
    "fill_masked",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "masked_mean",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "value_loss",
]


def _shape_error(function: str, expected: Tensor, **arguments: Tensor) -> ValueError:
    """Names the first of the arguments whose shape is not that of `expected`."""
    name, got = next((n, a) for n, a in arguments.items() if a.shape != expected.shape)
    return ValueError(
        f"{function}: expected {name} of shape {tuple(expected.shape)}, the shape of the first "
        f"argument, got {tuple(got.shape)}; losses do not broadcast"
    )


def policy_gradient_loss(log_prob: Tensor, advantages: Tensor) -> Tensor:
    """The score-function loss of REINFORCE and actor-critic.

        L = -A log π(a|s),    so that    -∇L = A ∇ log π(a|s)

    Args:
        log_prob: log π(a_t|s_t) under the policy being trained, nats, any shape.
        advantages: A_t, or a return, in units of reward, same shape, constant.

    Returns:
        The loss of each element, same shape. Its value means nothing, its gradient does.

    Raises:
        ValueError: the shapes differ.

    Source: Williams (1992), "Simple statistical gradient-following algorithms", theorem 1;
    Sutton and Barto (2018), eq. 13.8.
    """
    if log_prob.shape != advantages.shape:
        raise _shape_error("policy_gradient_loss", log_prob, advantages=advantages)
    return -advantages * log_prob


def ppo_clip_loss(
    log_prob: Tensor,
    behaviour_log_prob: Tensor,
    advantages: Tensor,
    *,
    clip_epsilon: float | Tensor,
) -> Tensor:
    """The clipped surrogate of PPO.

        L = -min(ρ A, clip(ρ, 1-ε, 1+ε) A),    ρ = π(a|s) / π_behaviour(a|s)

    The minimum only ever uses one edge of the clip: 1+ε where A >= 0 and 1-ε where A < 0. That
    edge is applied here to log ρ, before the exponential. The value is the same, and an element
    past its edge has exactly zero gradient even where ρ itself overflows.

    Args:
        log_prob: log π(a_t|s_t) under the policy being trained, nats, any shape.
        behaviour_log_prob: the same under the policy that acted, as sampled, same shape, constant.
        advantages: A_t, same shape, constant.
        clip_epsilon: ε in [0, 1), a number, or a tensor that broadcasts to that shape (one ε for
            each seed: shape [S, 1]). The values of a tensor are not checked.

    Returns:
        The loss of each element, same shape.

    Raises:
        ValueError: the shapes differ, or ε is outside [0, 1).

    Source: Schulman et al. (2017), arXiv 1707.06347, eq. 7, with the sign of a loss.
    """
    if not log_prob.shape == behaviour_log_prob.shape == advantages.shape:
        raise _shape_error(
            "ppo_clip_loss", log_prob, behaviour_log_prob=behaviour_log_prob, advantages=advantages
        )
    if isinstance(clip_epsilon, Tensor):
        if not _broadcasts_to(clip_epsilon.shape, log_prob.shape):
            raise ValueError(
                "ppo_clip_loss: expected clip_epsilon to be a number or to broadcast to "
                f"{tuple(log_prob.shape)}, got shape {tuple(clip_epsilon.shape)}"
            )
        log_floor, log_ceiling = torch.log1p(-clip_epsilon), torch.log1p(clip_epsilon)
    elif 0.0 <= clip_epsilon < 1.0:
        log_floor = log_prob.new_tensor(math.log1p(-clip_epsilon))
        log_ceiling = log_prob.new_tensor(math.log1p(clip_epsilon))
    else:
        raise ValueError(f"ppo_clip_loss: expected clip_epsilon in [0, 1), got {clip_epsilon}")
    negative = advantages < 0
    log_ratio = torch.clamp(
        log_prob - behaviour_log_prob,
        min=torch.where(negative, log_floor, -math.inf),
        max=torch.where(negative, math.inf, log_ceiling),
    )
    return -advantages * torch.exp(log_ratio)


def _broadcasts_to(shape: Sequence[int], target: Sequence[int]) -> bool:
    if len(shape) > len(target):
        return False
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return all(size in (1, wanted) for size, wanted in pairs)


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Half the squared error of a value estimate.

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
    if values.shape != targets.shape:
        raise _shape_error("value_loss", values, targets=targets)
    return 0.5 * functional.mse_loss(values, targets, reduction="none")


def clipped_value_loss(
    values: Tensor, behaviour_values: Tensor, targets: Tensor, *, clip_range: float
) -> Tensor:
    """Half the squared error of a value estimate that may not move far in one update.

        L = max((v - R)², (v_clip - R)²) / 2,    v_clip = v_old + clip(v - v_old, -c, c)

    The maximum makes it pessimistic: the gradient vanishes only where v has already moved by
    more than c and towards R. For the loss without a clip call `value_loss`.

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
    section 3. (The printed formula takes the minimum; the code, and this, the maximum.)
    """
    if not values.shape == behaviour_values.shape == targets.shape:
        raise _shape_error(
            "clipped_value_loss", values, behaviour_values=behaviour_values, targets=targets
        )
    if not clip_range > 0.0:
        raise ValueError(f"clipped_value_loss: expected clip_range above 0, got {clip_range}")
    clipped = behaviour_values + (values - behaviour_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum(
        functional.mse_loss(values, targets, reduction="none"),
        functional.mse_loss(clipped, targets, reduction="none"),
    )


def binary_cross_entropy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of a yes-or-no label under a logit.

        L = -[r log σ(y) + (1 - r) log(1 - σ(y))] = (y + |y|)/2 - r y + log(1 + exp(-|y|))

    For a pair, y is the score of the chosen answer minus that of the rejected one and r = 1
    (Bradley-Terry). The second form never overflows, its derivative σ(y) - r is also right at
    y = 0, and unlike torch's own sigmoid and softplus it gives every element the same bits
    wherever it stands in a tensor.

    Args:
        logits: y, any shape.
        labels: r in [0, 1], same shape, constant.

    Returns:
        The loss of each element in nats, same shape.

    Raises:
        ValueError: the shapes differ.

    Source: Bradley and Terry (1952); Ouyang et al. (2022), arXiv 2203.02155, eq. 1.
    """
    if logits.shape != labels.shape:
        raise _shape_error("binary_cross_entropy_loss", logits, labels=labels)
    magnitude = logits.abs()
    return 0.5 * (logits + magnitude) - labels * logits + torch.log1p(torch.exp(-magnitude))


def kl_k1(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """The plain estimate of D_KL(π‖π_ref) from one action drawn from π.

        k1 = log π(a) - log π_ref(a),    E_π[k1] = D_KL(π‖π_ref)

    Unbiased, of either sign, with a large variance. As a *loss* it is useless: the expectation
    of its gradient over actions of π is zero. It belongs in the reward.

    Args:
        log_prob: log π(a_t|s_t), nats, any shape, with a_t drawn from π.
        reference_log_prob: log π_ref(a_t|s_t), same shape, constant.

    Returns:
        The estimate from each element in nats, same shape.

    Raises:
        ValueError: the shapes differ.

    Source: Schulman (2020), "Approximating KL divergence", k1.
    """
    if log_prob.shape != reference_log_prob.shape:
        raise _shape_error("kl_k1", log_prob, reference_log_prob=reference_log_prob)
    return log_prob - reference_log_prob


def kl_k2(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """The squared estimate of D_KL(π‖π_ref) from one action drawn from π.

        k2 = (log π(a) - log π_ref(a))² / 2

    Biased, never negative, with a small variance near π = π_ref. As a *loss* the expectation of
    its gradient is exactly ∇ D_KL(π‖π_ref).

    Args, returns, raises: as `kl_k1`.

    Source: Schulman (2020), "Approximating KL divergence", k2.
    """
    if log_prob.shape != reference_log_prob.shape:
        raise _shape_error("kl_k2", log_prob, reference_log_prob=reference_log_prob)
    return 0.5 * (log_prob - reference_log_prob).square()


def kl_k3(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """The estimate of D_KL(π‖π_ref) from one action drawn from π that is never negative.

        k3 = π_ref(a)/π(a) - 1 - log(π_ref(a)/π(a)),    E_π[k3] = D_KL(π‖π_ref)

    Unbiased as a *value*. As a *loss* the expectation of its gradient is that of the other
    divergence, ∇ D_KL(π_ref‖π).

    Args, returns, raises: as `kl_k1`.

    Source: Schulman (2020), "Approximating KL divergence", k3.
    """
    if log_prob.shape != reference_log_prob.shape:
        raise _shape_error("kl_k3", log_prob, reference_log_prob=reference_log_prob)
    log_ratio = reference_log_prob - log_prob
    return torch.expm1(log_ratio) - log_ratio


def fill_masked(mask: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Puts 0 wherever `mask` is False, whatever stood there, NaN included.

        y = x where m, else 0

    Give it every input of a loss before the loss is computed. The gradient at a masked element
    is exactly 0.

    Args:
        mask: True = a decision of the policy, boolean, any shape.
        tensors: tensors of the same shape.

    Returns:
        The cleaned tensors in the order given.

    Raises:
        ValueError: a shape differs or the mask is not boolean.
    """
    _check_mask("fill_masked", mask, *tensors)
    return tuple(x.masked_fill(~mask, 0.0) for x in tensors)


def masked_mean(
    x: Tensor, mask: Tensor | None = None, *, dim: int | Sequence[int], keepdim: bool = False
) -> Tensor:
    """The mean over some dimensions of the elements that count.

        mean(x) = Σ_{i: m_i} x_i / max(1, Σ_i [m_i])

    Every mean is a mean over tokens (or transitions) within one index of the dimensions that
    stay. Reduced dimensions are brought to the end and made contiguous before the sum, since
    torch adds in an order that depends on the layout: so a seed alone and among others gives
    the same bits, wherever its axis is.

    Args:
        x: any shape.
        mask: True = counts, boolean, same shape; None = everything counts.
        dim: the dimension or dimensions to reduce.
        keepdim: leave the reduced dimensions in place with size 1.

    Returns:
        x without the reduced dimensions. Where nothing counts the mean is 0, and so is its
        gradient.

    Raises:
        ValueError: the shapes differ, the mask is not boolean, or there is nothing to reduce.
    """
    if mask is None and not keepdim and x.ndim == 2 and dim in (1, (1,)) and x.numel():
        return x.contiguous().sum(-1) / x.shape[1]  # the common case, thousands of times a run
    if mask is not None:
        _check_mask("masked_mean", mask, x)
    dims = [dim] if isinstance(dim, int) else sorted(dim)
    if not all(-x.ndim <= d < x.ndim for d in dims):
        raise ValueError(f"masked_mean: expected dim within {x.ndim} dimensions, got {dim}")
    dims = sorted({d % x.ndim for d in dims})
    kept = [d for d in range(x.ndim) if d not in dims]
    size = math.prod(x.shape[d] for d in dims)
    if not dims or size == 0:
        raise ValueError(
            f"masked_mean: expected at least one element along dim {dim}, got {tuple(x.shape)}"
        )

    order, leading = [*kept, *dims], [x.shape[d] for d in kept]

    def rows(tensor: Tensor) -> Tensor:
        if order != sorted(order):
            tensor = tensor.permute(order)
        return tensor.reshape(*leading, size).contiguous()

    if mask is None:
        mean = rows(x).sum(-1) / size
    else:
        total = rows(x.masked_fill(~mask, 0.0)).sum(-1)
        mean = total / rows(mask).sum(-1).clamp(min=1)
    if keepdim:
        return mean.reshape([1 if d in dims else x.shape[d] for d in range(x.ndim)])
    return mean


def _check_mask(function: str, mask: Tensor, *tensors: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"{function}: expected mask to be boolean, got {mask.dtype}")
    for i, tensor in enumerate(tensors):
        if tensor.shape != mask.shape:
            raise ValueError(
                f"{function}: expected tensor {i} to have the mask's shape {tuple(mask.shape)}, "
                f"got {tuple(tensor.shape)}"
            )
