"""A device that is not the processor, on machines without a GPU.

Its tensors say that they are on "meta", but have values, which are those of the processor to the
bit. As on a GPU, an operation on such a tensor and one of the processor is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

AWAY = torch.device("meta")
_MOVES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class AwayTensor(Tensor):
    """A tensor on the other device; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> AwayTensor:
        made: AwayTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=AWAY,
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"AwayTensor({self.inner!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Lets tensors be made on the other device, and moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    away = [x for x in flat if isinstance(x, AwayTensor)]
    here = [x for x in flat if not isinstance(x, AwayTensor)]
    if away and any(x.ndim for x in here) and func not in _MOVES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    target = kwargs.get("device")
    goes_away = bool(away) if target is None else torch.device(target).type == AWAY.type
    if func is torch.ops.aten.copy_.default:
        goes_away = isinstance(args[0], AwayTensor)
    if target is not None and torch.device(target).type == AWAY.type:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is torch.ops.aten._to_copy.default and kwargs.get("device") is None and away:
        goes_away = True
    known = {id(x.inner): x for x in away}
    inner = tree_map(lambda x: x.inner if isinstance(x, AwayTensor) else x, (args, kwargs))
    result = func(*inner[0], **inner[1])

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or not goes_away:
            return x
        return known.get(id(x)) if id(x) in known else AwayTensor(x)

    return tree_map(wrapped, result)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Let the device "meta" be another one with values within the block."""
    with _Factories():
        yield
