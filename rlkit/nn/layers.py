"""Layers of networks with a seed axis, and their initial weights.

A layer is a batched product over the seeds. The seeds never touch: row s of every result has the
same bytes alone and among others. So a product with an inner or outer width of 1, for which a BLAS
uses other routines when there is a single matrix, is written as a multiplication and a sum.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Init = Callable[[np.random.Generator, int, int, float], Array]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # In place: the product's result is not needed again, and memory traffic dominates the cost.
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the affine map of each seed, y_s = x_s W_s + b_s.

    Args:
        x: [S, B, in], or int64 [S, B]: index i in 0..in-1 stands for the i-th unit vector, whose
            product with the weights is their row i. Only that row is read.
        weight: [S, in, out]
        bias: [S, out]

    Returns:
        [S, B, out]
    """
    if not x.is_floating_point():
        # The gradient of a row is the sum over its decisions in their order, for any S.
        return weight[_seed_column(len(x)), x].add_(bias.unsqueeze(1))
    if weight.shape[1] == 1:
        return x * weight + bias.unsqueeze(1)
    if weight.shape[2] == 1:
        return (x * weight.transpose(1, 2)).sum(-1, keepdim=True) + bias.unsqueeze(1)
    return torch.baddbmm(bias.unsqueeze(1), x, weight)


@functools.cache
def _seed_column(num_seeds: int) -> Tensor:
    """Return the seeds 0..S-1 as a column [S, 1]; cached: making it costs as much as its use."""
    with torch.inference_mode(False):  # it outlives the mode that the caller happens to be in
        return torch.arange(num_seeds, device="cpu").unsqueeze(1)


def mlp(x: Tensor, layers: Sequence[Tensor], *, activation: str) -> Tensor:
    """Return the multi-layer perceptron of each seed: linear layers, an activation between them.

    Args:
        x: [S, B, in], or int64 [S, B] for unit vectors; see `linear`.
        layers: weight [S, in, out] and bias [S, out] of each layer in turn.
        activation: a key of `ACTIVATIONS`.

    Returns:
        [S, B, out]
    """
    act = ACTIVATIONS[activation]
    last = len(layers) - 2
    for i in range(0, last, 2):
        x = act(linear(x, layers[i], layers[i + 1]))
    return linear(x, layers[last], layers[last + 1])


def orthogonal(rng: np.random.Generator, num_in: int, num_out: int, gain: float) -> Array:
    """Draw a matrix [in, out] with orthonormal rows or columns, times `gain` (Saxe et al. 2014).

    The signs are fixed by the diagonal of R, which makes the distribution uniform (Haar).
    """
    tall = rng.standard_normal((max(num_in, num_out), min(num_in, num_out)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return gain * (q if num_in >= num_out else q.T)


def xavier_uniform(rng: np.random.Generator, num_in: int, num_out: int, gain: float) -> Array:
    """Draw a matrix [in, out] of U(-a, a), a = gain sqrt(6 / (in + out)) (Glorot, Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / (num_in + num_out))
    return rng.uniform(-bound, bound, (num_in, num_out))


INITS: dict[str, Init] = {"orthogonal": orthogonal, "xavier": xavier_uniform}


def init_mlp(
    rng: np.random.Generator,
    sizes: Sequence[int],
    *,
    init: str,
    hidden_gain: float,
    output_gain: float,
) -> list[Array]:
    """Draw the weights of one seed's perceptron; biases are zero.

    Args:
        rng: the seed's stream for initialisation.
        sizes: widths from input to output.
        init: a key of `INITS`.
        hidden_gain: gain of all layers but the last.
        output_gain: gain of the last layer.

    Returns:
        weight [in, out] and bias [out] of each layer in turn.
    """
    arrays: list[Array] = []
    for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        gain = output_gain if i == len(sizes) - 2 else hidden_gain
        arrays += [INITS[init](rng, num_in, num_out, gain), np.zeros(num_out)]
    return arrays
