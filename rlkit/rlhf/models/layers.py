"""Layers and dropout whose random numbers follow from a seed alone, and evaluation without either.

Initial weights come from a numpy generator. Dropout can only draw from torch's global generator,
which is seeded for that time and then restored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


def normal(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Draw weights from N(0, std^2), float32."""
    return torch.from_numpy((std * rng.standard_normal(shape)).astype(np.float32))


def linear(num_in: int, num_out: int, std: float, rng: np.random.Generator) -> nn.Linear:
    """Return a linear layer without drawing from torch's generator."""
    layer = nn.Linear(num_in, num_out, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(normal(rng, std, num_out, num_in))
        layer.bias.zero_()
    return layer


@contextlib.contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Let dropout draw from `seed` within the block; restore torch's generator (CPU) after it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():  # dropout there draws from a generator of its own
            torch.cuda.manual_seed_all(seed)
        elif torch.backends.mps.is_available():
            torch.mps.manual_seed(seed)
        yield


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Turn dropout and gradients off within the block; each part returns to its mode after it."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
