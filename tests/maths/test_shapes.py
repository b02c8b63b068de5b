"""Checks of shapes: what passes, and that a message names function, argument, expected and got."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from rlkit.maths.shapes import (
    require_axes,
    require_broadcastable,
    require_detached,
    require_flags,
    require_floats,
    require_same_shape,
    require_shape,
)

X, Y = torch.zeros(3, 2), torch.zeros(3, 1)
FLAG = torch.zeros(3, 2, dtype=torch.bool)


def test_what_fits_passes() -> None:
    require_shape("f", (3, 2), x=X, y=X)
    require_same_shape("f", x=X, y=X.double())
    require_axes("f", "[B, T]", x=X, y=Y)
    require_flags("f", (3, 2), flag=FLAG, mask=None)
    require_broadcastable("f", (4, 3, 2), x=X, y=Y, z=torch.zeros(()))
    require_detached("f", x=X)
    require_floats("f", x=X, y=Y)


WRONG: list[tuple[Callable[[], None], str]] = [
    (
        lambda: require_shape("f", (3, 2), x=X, y=Y),
        "f: expected y of shape (3, 2), got (3, 1)",
    ),
    (
        lambda: require_same_shape("f", x=X, y=X, z=Y),
        "f: expected z of shape (3, 2), the shape of x, got (3, 1)",
    ),
    (
        lambda: require_axes("f", "[B, T]", x=X, y=X[0]),
        "f: expected y of shape [B, T], got (2,)",
    ),
    (
        lambda: require_flags("f", (3, 2), a=FLAG, b=FLAG[:1]),
        "f: expected b of shape (3, 2), got (1, 2)",
    ),
    (
        lambda: require_flags("f", (3, 2), a=FLAG, b=X),
        "f: expected b to be boolean, got torch.float32",
    ),
    (
        lambda: require_broadcastable("f", (3, 1), y=Y, x=X),
        "f: expected x to broadcast to the shape (3, 1), got (3, 2)",
    ),
    (
        lambda: require_broadcastable("f", (2,), x=X),
        "f: expected x to broadcast to the shape (2,), got (3, 2)",
    ),
    (
        lambda: require_detached("f", x=X, y=Y.clone().requires_grad_()),
        "f: expected y without a gradient, got one that requires it; detach it first",
    ),
    (
        lambda: require_floats("f", x=X, y=Y.double()),
        "f: expected y in the floating-point precision of x (torch.float32), got torch.float64",
    ),
    (
        lambda: require_floats("f", x=X.long()),
        "f: expected x in the floating-point precision of x (torch.int64), got torch.int64",
    ),
]


@pytest.mark.parametrize(("check", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_does_not_fit_is_named(check: Callable[[], None], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check()
