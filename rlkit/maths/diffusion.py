"""Diffusion: data that is turned into noise step by step, and the way back.

A sample x_0 becomes noisier over the steps t = 1..T, by x_t = sqrt(alpha_t) x_{t-1} +
sqrt(1 - alpha_t) eps with eps ~ N(0, I). With bar_alpha_t = alpha_1 ... alpha_t, all of these
steps together are one step of the same form (Ho et al. 2020, arXiv 2006.11239).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "cosine_alphas",
    "diffusion_marginal",
    "diffusion_step",
    "predicted_start",
    "reverse_posterior",
]

_OFFSET = 0.008  # s of the cosine schedule: the first steps add some noise too
_MOST_NOISE = 0.999  # the largest 1 - alpha_t, without which alpha_T would be 0


def cosine_alphas(num_steps: int) -> Tensor:
    """Return alpha_t of the cosine schedule (Nichol and Dhariwal 2021, eq. 17).

        bar_alpha_t = f(t) / f(0),  f(t) = cos^2(pi/2 (t/T + s) / (1 + s)),
        alpha_t = bar_alpha_t / bar_alpha_{t-1} >= 0.001

    Args:
        num_steps: T, >= 1.

    Returns:
        float64 [T], alpha_1 first; their products are bar_alpha_t.
    """
    times = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    bars = torch.cos((times + _OFFSET) / (1 + _OFFSET) * (math.pi / 2)).square()
    return (bars[1:] / bars[:-1]).clamp(min=1 - _MOST_NOISE)


def diffusion_step(x: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
    """Return x_t = sqrt(alpha_t) x_{t-1} + sqrt(1 - alpha_t) eps (Ho et al. 2020, eq. 2).

    Args:
        x: x_{t-1}, any shape.
        alpha: alpha_t in (0, 1], broadcast against x.
        noise: eps, standard normal, of the shape of x.
    """
    return alpha.sqrt() * x + (1 - alpha).sqrt() * noise


def diffusion_marginal(start: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """Return a sample of x_t given x_0 in one step (Ho et al. 2020, eq. 4).

        x_t = sqrt(bar_alpha_t) x_0 + sqrt(1 - bar_alpha_t) eps

    Its distribution is that of t calls of `diffusion_step`.

    Args:
        start: x_0, any shape.
        alpha_bar: bar_alpha_t in (0, 1], broadcast against x_0.
        noise: eps, standard normal, of the shape of x_0.
    """
    return diffusion_step(start, alpha_bar, noise)


def predicted_start(x: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the x_0 from which a noise leads to x_t, which solves `diffusion_marginal` for it.

        x_0 = (x_t - sqrt(1 - bar_alpha_t) eps) / sqrt(bar_alpha_t)

    Args:
        x: x_t, any shape.
        noise: eps, or its prediction, of the shape of x.
        alpha_bar: bar_alpha_t in (0, 1], broadcast against x.
    """
    return (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


def reverse_posterior(
    x: Tensor, start: Tensor, alpha: Tensor, alpha_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of x_{t-1} given x_t and x_0 (Ho et al. 2020, eq. 7).

        mean = (sqrt(bar_alpha_{t-1}) (1 - alpha_t) x_0
                + sqrt(alpha_t) (1 - bar_alpha_{t-1}) x_t) / (1 - bar_alpha_t)
        variance = (1 - alpha_t) (1 - bar_alpha_{t-1}) / (1 - bar_alpha_t)

    It is Gaussian; at t = 1 it is x_0 itself.

    Args:
        x: x_t, any shape.
        start: x_0, of the shape of x.
        alpha: alpha_t in (0, 1), broadcast against x.
        alpha_bar: bar_alpha_t, likewise; bar_alpha_{t-1} is bar_alpha_t / alpha_t.
    """
    before = (alpha_bar / alpha).clamp(max=1.0)
    total = 1 - alpha_bar
    of_start = before.sqrt() * (1 - alpha) / total
    of_x = alpha.sqrt() * (1 - before) / total
    return of_start * start + of_x * x, (1 - alpha) * (1 - before) / total
