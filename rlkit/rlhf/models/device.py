"""Where the weights of language models lie: on the processor, or on a GPU.

A model, its optimiser and what is computed inside of it are on its device. Everything with one
number per token or per response (ids, masks, log-probabilities, scores, losses) stays on the
processor, where random numbers are drawn as well, and so do checkpoints.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import nn

from rlkit.errors import UsageError

Device = Literal["cpu", "cuda", "mps"]
_current: contextvars.ContextVar[str] = contextvars.ContextVar("device", default="cpu")


def require_device(name: str) -> str:
    """Return a device that can be used here.

    Raises:
        UsageError: it is none, or this machine or this torch does not have it.
    """
    if name not in get_args(Device):
        raise UsageError(
            f"option device (--device): expected one of {', '.join(get_args(Device))}, got {name!r}"
        )
    if name == "cuda":
        is_available, what = torch.cuda.is_available(), "no GPU of NVIDIA or AMD"
    else:
        is_available, what = torch.backends.mps.is_available(), "no GPU of Apple"
    if name != "cpu" and not is_available:
        raise UsageError(
            f"option device (--device): {name} is not available: torch {torch.__version__} sees "
            f"{what} here; omit the option to use the processor"
        )
    return name


@contextlib.contextmanager
def placing(name: str) -> Iterator[None]:
    """Let models that are made within the block be on a device."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def current_device() -> torch.device:
    """Return the device on which models are made."""
    return torch.device(_current.get())


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
