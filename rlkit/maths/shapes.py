"""Checks of the shapes and types of tensors.

Each check raises a ValueError that names the function, the argument, what was expected and what was
got. Arguments are given by keyword, under the names that they have in the function.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def require_shape(function: str, shape: Sequence[int], **arguments: Tensor) -> None:
    """Require a shape of all arguments."""
    for name, x in arguments.items():
        if x.shape != tuple(shape):
            raise ValueError(
                f"{function}: expected {name} of shape {tuple(shape)}, got {tuple(x.shape)}"
            )


def require_same_shape(function: str, **arguments: Tensor) -> None:
    """Require the shape of the first argument of all others: nothing is broadcast."""
    (first, reference), *others = arguments.items()
    for name, x in others:
        if x.shape != reference.shape:
            raise ValueError(
                f"{function}: expected {name} of shape {tuple(reference.shape)}, the shape of "
                f"{first}, got {tuple(x.shape)}"
            )


def require_axes(function: str, axes: str, **arguments: Tensor) -> None:
    """Require arguments with as many dimensions as `axes` names, such as "[B, T]"."""
    for name, x in arguments.items():
        if x.ndim != len(axes.split(",")):
            raise ValueError(f"{function}: expected {name} of shape {axes}, got {tuple(x.shape)}")


def require_flags(function: str, shape: Sequence[int], **flags: Tensor | None) -> None:
    """Require boolean tensors of a shape; None passes."""
    for name, flag in flags.items():
        if flag is None:
            continue
        require_shape(function, shape, **{name: flag})
        if flag.dtype != torch.bool:
            raise ValueError(f"{function}: expected {name} to be boolean, got {flag.dtype}")


def require_broadcastable(function: str, shape: Sequence[int], **arguments: Tensor) -> None:
    """Require arguments that broadcast to a shape."""
    for name, x in arguments.items():
        pairs = zip(reversed(x.shape), reversed(shape), strict=False)
        if x.ndim > len(shape) or any(size not in (1, wanted) for size, wanted in pairs):
            raise ValueError(
                f"{function}: expected {name} to broadcast to the shape {tuple(shape)}, "
                f"got {tuple(x.shape)}"
            )


def require_detached(function: str, **arguments: Tensor) -> None:
    """Require tensors that take part in no gradient."""
    for name, x in arguments.items():
        if x.requires_grad:
            raise ValueError(
                f"{function}: expected {name} without a gradient, got one that requires it; "
                "detach it first"
            )


def require_floats(function: str, **arguments: Tensor) -> None:
    """Require floating-point tensors in the precision of the first."""
    first, reference = next(iter(arguments.items()))
    for name, x in arguments.items():
        if x.dtype != reference.dtype or not x.is_floating_point():
            raise ValueError(
                f"{function}: expected {name} in the floating-point precision of {first} "
                f"({reference.dtype}), got {x.dtype}"
            )
