"""Settings of torch that change results: read, set for agents, and given back.

torch must have been imported, which takes longer than training a table.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

_DENORMAL = 5e-324


class _Access(NamedTuple):
    """How the settings are read, all at once because that is done at every step, and written."""

    read: Callable[[], tuple[Any, ...]]
    write: tuple[Callable[[Any], object], ...]
    own: tuple[Any, ...]  # what agents run with


@functools.cache
def _access() -> _Access:
    import torch

    get_num_threads, get_default_dtype = torch.get_num_threads, torch.get_default_dtype
    is_grad_enabled, is_autocast_enabled = torch.is_grad_enabled, torch.is_autocast_enabled
    is_deterministic = torch.are_deterministic_algorithms_enabled
    is_warn_only = torch.is_deterministic_algorithms_warn_only_enabled
    get_precision, num_modes = torch.get_float32_matmul_precision, _num_modes()

    def read() -> tuple[Any, ...]:
        try:
            precision: str | None = get_precision()
        except RuntimeError:  # set per backend
            precision = None
        return (
            get_num_threads(),
            get_default_dtype(),
            is_grad_enabled(),
            is_autocast_enabled("cpu"),
            (is_deterministic(), is_warn_only()),
            precision,
            _modes() if num_modes() else (),
            _DENORMAL * 1.0 == 0.0,
        )

    write = (
        torch.set_num_threads,
        torch.set_default_dtype,
        torch.set_grad_enabled,
        lambda value: torch.set_autocast_enabled("cpu", value),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        lambda value: None if value is None else torch.set_float32_matmul_precision(value),
        _set_modes,
        torch.set_flush_denormal,
    )
    # One thread, because more would change sums for large batches.
    own = (1, torch.float32, True, False, (False, False), "highest", (), False)
    return _Access(read, write, own)


def _write(values: tuple[Any, ...]) -> None:
    read, writers, _ = _access()
    for write, value, present in zip(writers, values, read(), strict=True):
        if value != present:
            write(value)


def _num_modes() -> Callable[[], int]:
    """Return what counts the modes that catch calls of torch, such as a default device."""
    import torch

    return torch._C._len_torch_function_stack


def _modes() -> tuple[Any, ...]:
    """Return these modes from the outside in."""
    import torch

    return tuple([torch._C._get_function_stack_at(i) for i in range(_num_modes()())])


def _set_modes(modes: tuple[Any, ...]) -> None:
    import torch

    for _ in _modes():
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


class OwnSettings:
    """The settings of agents, from construction to `restore`.

    Code of an environment may change settings for itself: `lend` before it runs, `take_back` after.
    """

    def __init__(self) -> None:
        import torch

        self._read, _, own = _access()
        self._is_inferring = torch.is_inference_mode_enabled
        self._before = self._read()
        self._normal = _normal_mode()
        _write(own)
        self._ours: tuple[Any, ...] = ()
        self._theirs: tuple[Any, ...] | None = None  # where they differ
        self._normal_again: contextlib.ExitStack | None = None  # where they infer

    def lend(self) -> None:
        """Set what code of environments has set before."""
        self._ours = self._read()
        if self._normal_again is not None:
            self._normal_again.close()
            self._normal_again = None
        if self._theirs is not None:
            _write(self._theirs)

    def take_back(self) -> None:
        """Set what was set before `lend`, and remember what has changed."""
        theirs = self._read()
        self._theirs = None if theirs == self._ours else theirs
        if self._is_inferring():
            self._normal_again = _normal_mode()
        if self._theirs is not None:
            _write(self._ours)

    def restore(self) -> None:
        """Set what was set before construction."""
        if self._normal_again is not None:
            self._normal_again.close()
        self._normal.close()
        _write(self._before)


def _normal_mode() -> contextlib.ExitStack:
    """Leave torch's inference mode; closing this brings back what was, with or without gradients.

    There is no other way to set it.
    """
    import torch

    stack = contextlib.ExitStack()
    stack.enter_context(torch.inference_mode(False))
    return stack
