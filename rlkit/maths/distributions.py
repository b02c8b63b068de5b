"""Categorical and diagonal Gaussian distributions as plain functions.

A distribution is given by its parameters: `logits [..., A]`, or `mean [..., D]` and `log_std`. The
caller draws the noise of a sample, so that every random number has one known origin. Parameters may
have any leading shape. Only the last axis is ever summed, so a seed's results do not depend on the
seeds beside it.

An action with logit -inf is impossible: its probability is 0, it is never sampled, and it adds 0 to
entropies and divergences (0 log 0 = 0).
"""

import math

import torch
from torch import Tensor

from rlkit.maths.shapes import require_broadcastable, require_same_shape, require_shape

__all__ = [
    "categorical_entropy",
    "categorical_log_prob",
    "categorical_log_prob_and_entropy",
    "categorical_mode",
    "categorical_sample",
    "gaussian_entropy",
    "gaussian_log_prob",
    "gaussian_sample",
]

# exp(-1e4) is 0 in every floating-point type in use: raising a log-probability to this level
# changes no probability, and makes 0 * log 0 a product of finite numbers.
_LOG_OF_ZERO = -1e4

# torch's log_softmax is 2 to 5 times slower than its parts on rows shorter than a vector register.
_VECTOR_WIDTH = 16

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


# --- categorical ----------------------------------------------------------------------------------


def categorical_log_prob(logits: Tensor, actions: Tensor) -> Tensor:
    """Return the log-probability of actions.

        log π(a) = z_a - log Σ_b exp(z_b)

    Args:
        logits: z, shape [..., A].
        actions: integers in 0..A-1 (int64), shape [...].

    Returns:
        log π(a) in nats, shape [...].

    Raises:
        ValueError: the shape of actions is not that of logits without its last axis.

    Source: the softmax distribution, Sutton and Barto (2018), eq. 13.2.
    """
    require_shape("categorical_log_prob", logits.shape[:-1], actions=actions)
    return _chosen(log_softmax(logits), actions)


def categorical_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of a categorical distribution.

        H(π) = -Σ_a π(a) log π(a),    ln A where all actions are equally likely

    Args:
        logits: shape [..., A].

    Returns:
        H in nats, shape [...].

    Source: Shannon (1948), section 6.
    """
    return _entropy(log_softmax(logits))


def categorical_log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return `categorical_log_prob` and `categorical_entropy` from one log-softmax.

    Args, raises: as `categorical_log_prob`.

    Returns:
        log π(a) and H(π) in nats, both of shape [...].
    """
    require_shape("categorical_log_prob_and_entropy", logits.shape[:-1], actions=actions)
    log_probs = log_softmax(logits)
    return _chosen(log_probs, actions), _entropy(log_probs)


def categorical_sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the action at which the cumulative distribution passes a uniform number.

        a = min{a : F(a) > u F(A-1)},    F(a) = Σ_{b <= a} π(b)

    The factor F(A-1) allows any multiple of π, and a sum that differs from 1 by rounding. The
    threshold is kept strictly below F(A-1), so there always is such an action, and since F rises at
    it, its probability is not 0.

    Args:
        logits: shape [..., A].
        uniform: u in [0, 1), shape [...]; converted to the precision of logits.

    Returns:
        a in 0..A-1, int64, shape [...]; 0 where logits are NaN.

    Raises:
        ValueError: the shape of uniform is not that of logits without its last axis.

    Source: inverse transform sampling, Devroye (1986), section III.2.
    """
    require_shape("categorical_sample", logits.shape[:-1], uniform=uniform)
    cumulative = torch.exp(logits - logits.amax(-1, keepdim=True)).cumsum(-1)
    total = cumulative[..., -1]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(uniform.to(total.dtype) * total, below_total)
    return (cumulative <= threshold.unsqueeze(-1)).sum(-1)


def categorical_mode(logits: Tensor) -> Tensor:
    """Return the most likely action, the lowest index among equals.

        a = min argmax_a z_a

    Args:
        logits: z, shape [..., A].

    Returns:
        a in 0..A-1, int64, shape [...].
    """
    return logits.argmax(-1)


def log_softmax(logits: Tensor) -> Tensor:
    """Return the log-probabilities of all actions, [..., A], for logits [..., A]."""
    if logits.shape[-1] >= _VECTOR_WIDTH:
        return logits.log_softmax(-1)
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


def _chosen(log_probs: Tensor, actions: Tensor) -> Tensor:
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def _entropy(log_probs: Tensor) -> Tensor:
    finite = log_probs.clamp(min=_LOG_OF_ZERO)
    return -(finite.exp() * finite).sum(-1)


# --- diagonal Gaussian ----------------------------------------------------------------------------


def gaussian_log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Return the log-density of actions under independent normal components.

        log π(a) = Σ_i [-((a_i - μ_i)/σ_i)²/2 - log σ_i - log(2π)/2]

    Args:
        mean: μ, shape [..., D].
        log_std: log σ, shape [..., D], or one that broadcasts to it ([S, 1, D]: per seed).
        actions: a as sampled, before any clipping to the action space, shape [..., D].

    Returns:
        log π(a), shape [...]. It may be positive, since a density may exceed 1.

    Raises:
        ValueError: actions does not have the shape of mean.

    Source: the normal density; Sutton and Barto (2018), eq. 13.19.
    """
    require_same_shape("gaussian_log_prob", mean=mean, actions=actions)
    require_broadcastable("gaussian_log_prob", mean.shape, log_std=log_std)
    z = (actions - mean) * torch.exp(-log_std)
    return (-0.5 * z.square() - log_std - _HALF_LOG_TWO_PI).sum(-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Return the differential entropy of independent normal components.

        H(π) = Σ_i [log σ_i + log(2πe)/2]

    Args:
        log_std: log σ, shape [..., D].

    Returns:
        H in nats, shape [...]; negative for a narrow distribution.

    Source: Cover and Thomas (2006), theorem 8.4.1.
    """
    return (log_std + (_HALF_LOG_TWO_PI + 0.5)).sum(-1)


def gaussian_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Return the action for standard normal noise.

        a = μ + σ ε

    Args:
        mean: μ, shape [..., D].
        log_std: log σ, shape [..., D], or one that broadcasts to it.
        noise: ε, standard normal, shape [..., D].

    Returns:
        a, shape [..., D], unbounded: clip only the copy that goes to the environment.

    Raises:
        ValueError: noise does not have the shape of mean.

    Source: Kingma and Welling (2014), arXiv 1312.6114, section 2.4.
    """
    require_same_shape("gaussian_sample", mean=mean, noise=noise)
    require_broadcastable("gaussian_sample", mean.shape, log_std=log_std)
    return mean + torch.exp(log_std) * noise
