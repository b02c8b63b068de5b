"""Checks of the shapes of tensors, and what is said where one fails."""

import torch
from torch import Tensor


def shape_error(function: str, expected: Tensor, **arguments: Tensor) -> ValueError:
    """Names the first of the arguments whose shape is not that of `expected`."""
    name, got = next((n, a) for n, a in arguments.items() if a.shape != expected.shape)
    return ValueError(
        f"{function}: expected {name} of shape {tuple(expected.shape)}, the shape of the first "
        f"argument, got {tuple(got.shape)}; losses do not broadcast"
    )


def check_mask(function: str, x: Tensor, mask: Tensor) -> None:
    if mask.dtype != torch.bool or mask.ndim != 2 or mask.shape != x.shape:
        raise ValueError(
            f"{function}: expected arrays [B, T] and a boolean mask of that shape, got "
            f"{tuple(x.shape)} and {tuple(mask.shape)} of {mask.dtype}"
        )
