"""Divergences between distributions: exact, and estimated from samples."""

import torch
from torch import Tensor

from rlkit.maths.distributions import log_softmax
from rlkit.maths.shapes import (
    require_axes,
    require_broadcastable,
    require_flags,
    require_same_shape,
)

__all__ = [
    "categorical_kl",
    "full_kl",
    "gaussian_kl",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "sequence_kl",
]


def kl_k1(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """Return the plain estimate of D_KL(π‖π_ref) from an action drawn from π.

        k1 = log π(a) - log π_ref(a),    E_π[k1] = D_KL(π‖π_ref)

    Unbiased, of either sign, with a large variance. It is for rewards: as a *loss* it is useless,
    because the expectation of its gradient over actions of π is zero.

    Args:
        log_prob: log π(a_t|s_t), nats, any shape, with a_t drawn from π.
        reference_log_prob: log π_ref(a_t|s_t), same shape, constant.

    Returns:
        The estimate from each element, nats, same shape.

    Raises:
        ValueError: the shapes differ.

    Source: Schulman (2020), "Approximating KL divergence", k1.
    """
    require_same_shape("kl_k1", log_prob=log_prob, reference_log_prob=reference_log_prob)
    return log_prob - reference_log_prob


def kl_k2(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """Return the squared estimate of D_KL(π‖π_ref) from an action drawn from π.

        k2 = (log π(a) - log π_ref(a))² / 2

    Biased, never negative, with a small variance near π = π_ref. As a *loss* the expectation of
    its gradient is exactly ∇ D_KL(π‖π_ref).

    Args, returns, raises: as `kl_k1`.

    Source: Schulman (2020), "Approximating KL divergence", k2.
    """
    require_same_shape("kl_k2", log_prob=log_prob, reference_log_prob=reference_log_prob)
    return 0.5 * (log_prob - reference_log_prob).square()


def kl_k3(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """Return the non-negative, unbiased estimate of D_KL(π‖π_ref) from an action drawn from π.

        k3 = π_ref(a)/π(a) - 1 - log(π_ref(a)/π(a)),    E_π[k3] = D_KL(π‖π_ref)

    As a *loss*, the expectation of its gradient is that of the reverse divergence, ∇ D_KL(π_ref‖π).

    Args, returns, raises: as `kl_k1`.

    Source: Schulman (2020), "Approximating KL divergence", k3.
    """
    require_same_shape("kl_k3", log_prob=log_prob, reference_log_prob=reference_log_prob)
    log_ratio = reference_log_prob - log_prob
    return torch.expm1(log_ratio) - log_ratio


def categorical_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Return the divergence of q from p.

        D_KL(p‖q) = Σ_a p(a) log(p(a)/q(a))

    Args:
        p_logits: shape [..., A].
        q_logits: same shape.

    Returns:
        D_KL(p‖q) in nats, shape [...]; +inf where p allows an action that q does not.

    Raises:
        ValueError: the shapes differ.

    Source: Kullback and Leibler (1951), "On information and sufficiency".
    """
    require_same_shape("categorical_kl", p_logits=p_logits, q_logits=q_logits)
    return full_kl(log_softmax(p_logits), log_softmax(q_logits))


def gaussian_kl(p_mean: Tensor, p_log_std: Tensor, q_mean: Tensor, q_log_std: Tensor) -> Tensor:
    """Return the divergence of q from p for independent normal components.

        D_KL(p‖q) = Σ_i [log(σ_q/σ_p) + (σ_p²/σ_q² - 1)/2 + ((μ_p - μ_q)/σ_q)²/2]_i

    Args:
        p_mean, q_mean: μ_p and μ_q, shape [..., D].
        p_log_std, q_log_std: log σ_p and log σ_q, same shape or one that broadcasts to it.

    Returns:
        D_KL(p‖q) in nats, shape [...].

    Raises:
        ValueError: the shapes do not fit.

    Source: Cover and Thomas (2006), section 8.5, worked out for two normal densities.
    """
    require_same_shape("gaussian_kl", p_mean=p_mean, q_mean=q_mean)
    require_broadcastable("gaussian_kl", p_mean.shape, p_log_std=p_log_std, q_log_std=q_log_std)
    log_ratio = p_log_std - q_log_std
    z = (p_mean - q_mean) * torch.exp(-q_log_std)
    return (0.5 * (torch.expm1(2.0 * log_ratio) + z.square()) - log_ratio).sum(-1)


def full_kl(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Return the divergence of two distributions over actions, from all log-probabilities.

        D_KL(π‖π_ref) = Σ_a π(a) (log π(a) - log π_ref(a))

    Args:
        log_probs: log π of every action, nats, shape [..., A]; -inf = an impossible action.
        reference_log_probs: log π_ref of every action, same shape, constant.

    Returns:
        Nats, shape [...].

    Raises:
        ValueError: the shapes differ.
    """
    require_same_shape("full_kl", log_probs=log_probs, reference_log_probs=reference_log_probs)
    probs = log_probs.exp()
    impossible = probs == 0  # 0 log 0 = 0, in value and in gradient
    log_ratio = log_probs.masked_fill(impossible, 0.0) - reference_log_probs.masked_fill(
        impossible, 0.0
    )
    return (probs * log_ratio).sum(-1)


def sequence_kl(log_prob: Tensor, reference_log_prob: Tensor, mask: Tensor) -> Tensor:
    """Return the estimate of D_KL(π‖π_ref) from each response: the number to report as KL.

        Σ_{t: m_t} (log π(y_t) - log π_ref(y_t)),    mean over responses = D_KL in expectation

    Args:
        log_prob: log π of each token as it was sampled, nats, shape [B, T].
        reference_log_prob: log π_ref of each token, same shape.
        mask: True = a decision of the policy, boolean, same shape.

    Returns:
        Nats, shape [B], of either sign. A mean that stays well below 0 shows that the responses
        were not sampled from the policy that scored them.

    Raises:
        ValueError: the shapes differ or the mask is not boolean.
    """
    require_axes("sequence_kl", "[B, T]", log_prob=log_prob)
    require_flags("sequence_kl", log_prob.shape, mask=mask)
    return kl_k1(log_prob, reference_log_prob).masked_fill(~mask, 0.0).sum(1)
