"""What the tests of the maths share: numbers to compute with, and the check of a seed's bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# The same quantity in another order of float64 operations: a few ulp of numbers of order 1.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
SEED_COUNTS = [2, 3, 5, 8, 16, 37]
BATCHES = [1, 2, 3, 5, 7, 8, 31, 256]


def f64(data: object) -> Tensor:
    return torch.tensor(data, dtype=torch.float64)


def leaf(data: object) -> Tensor:
    return f64(data).requires_grad_()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def integers(seed: int, high: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(high, size=shape))


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss.sum(), x, retain_graph=True)
    return grad


def seeds_differ(
    function: Callable[..., Tensor], *arrays: Tensor, axis: int = 0, backward: bool = True
) -> bool:
    """Whether some seed alone gets other bytes, forward or backward, than in the batch."""

    def run(*arrays: Tensor) -> list[Tensor]:
        leaves = [a.clone().requires_grad_(backward) for a in arrays]
        out = function(*leaves)
        if not backward:
            return [out]
        grads = torch.autograd.grad(out, leaves, torch.full_like(out, 0.37), allow_unused=True)
        return [out.detach(), *(g for g in grads if g is not None)]

    together = run(*arrays)
    num_seeds = arrays[0].shape[axis]
    for k in sorted({0, num_seeds // 2, num_seeds - 1}):
        alone = run(*(a.narrow(axis, k, 1) for a in arrays))
        for one, all_ in zip(alone, together, strict=True):
            if not torch.equal(one, all_.narrow(axis, k, 1)):
                return True
    return False


def with_impossible_actions(num_actions: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Logits [7, A] where some actions, first and last among them, are impossible."""
    logits = normal(num_actions, 7, num_actions).to(dtype)
    forbidden = normal(num_actions + 1, 7, num_actions) > 0.3
    forbidden[0, -1] = forbidden[1, 0] = True
    forbidden[torch.arange(7), integers(0, num_actions, 7)] = False
    return logits.masked_fill(forbidden, -math.inf)
