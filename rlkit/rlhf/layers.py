"""Layers whose random numbers follow from a seed, whatever has drawn from torch's generator.

Initial weights come from a numpy generator. Dropout can only draw from torch's global generator,
which is seeded for as long as that takes and then put back to where it was.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rlkit.errors import UsageError


def normal(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Weights from N(0, std^2), float32."""
    return torch.from_numpy((std * rng.standard_normal(shape)).astype(np.float32))


def linear(num_in: int, num_out: int, std: float, rng: np.random.Generator) -> nn.Linear:
    """A linear layer that takes no numbers from torch's generator."""
    layer = nn.Linear(num_in, num_out, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(normal(rng, std, num_out, num_in))
        layer.bias.zero_()
    return layer


class ScalarHead(nn.Module):
    """A number for each state: a value or a score.

    Args:
        width: of the states.
        init: "zero": every output is 0 at first, for values. "reward": weights from
            N(0, 1 / (width + 1)) (Stiennon et al. 2020), so that scores are of order 1.
        rng: draws the weights.
    """

    def __init__(
        self, width: int, init: Literal["zero", "reward"], rng: np.random.Generator
    ) -> None:
        super().__init__()
        if init not in ("zero", "reward"):
            raise UsageError(f"init of a scalar head: expected 'zero' or 'reward', got {init!r}")
        std = 0.0 if init == "zero" else 1 / math.sqrt(width + 1)
        self.weight = nn.Parameter(normal(rng, std, width))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [...]"""
        return hidden @ self.weight + self.bias


@contextlib.contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Let dropout draw from `seed`, and leave torch's global generator (CPU) as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
