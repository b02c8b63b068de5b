"""What the tests of networks share: numbers, and small networks with a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit.nn.layers import init_mlp, mlp
from rlkit.nn.parameters import Parameters


def draw(seed: int, *shape: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def network(seed: int, sizes: tuple[int, ...]) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    policy = init_mlp(rng, sizes, init="orthogonal", hidden_gain=1.4, output_gain=1.0)
    value = init_mlp(rng, (*sizes[:-1], 1), init="xavier", hidden_gain=1.0, output_gain=1.0)
    return {"policy": policy, "extra": [np.zeros(sizes[-1])], "value": value}


def all_losses(parameters: Parameters, x: Tensor) -> Tensor:
    outputs = mlp(x, parameters["policy"], activation="tanh") + parameters["extra"][0].unsqueeze(1)
    values = mlp(x, parameters["value"], activation="tanh").squeeze(-1)
    return (outputs.log_softmax(-1)[..., 0] * values).mean(dim=1)
