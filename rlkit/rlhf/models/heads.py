"""A head that maps each state to one number."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.layers import normal


class ScalarHead(nn.Module):
    """Maps each state to a number: a value or a score.

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
        """[..., width] -> [...], on the processor."""
        return (hidden @ self.weight + self.bias).cpu()
