"""The hand-written gelu against torch's."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.rlhf.models.activations import gelu_tanh

FLOAT64 = 1e-12


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


def test_gelu_tanh_is_that_of_torch_and_so_is_its_gradient() -> None:
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.gelu(x, approximate="tanh")
    assert largest(gelu_tanh(x) - expected) < 1e-14
    weights = torch.linspace(1, 2, 4001, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(y, x, weights)[0] for y in (gelu_tanh(x), expected))
    assert largest(ours - theirs) < 1e-13
