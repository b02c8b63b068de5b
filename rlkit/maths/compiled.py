"""How kernels are compiled: one decorator, and the news that it takes a while."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function of numbers and arrays when it is first called.

    The machine code is kept on disk beside the source, or in the user's cache where that folder
    cannot be written. The interpreter's lock is released during a call, so that threads share the
    work. Sums are in the order in which they are written, as in NumPy's float64, and division by
    zero gives inf or NaN: checks for it keep loops from being vectorised.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        compiled = numba.njit(**options)(function)
    return compiled


def unsigned(indices: NDArray[Any]) -> NDArray[np.uint32]:
    """Return indices >= 0 as kernels want them; those in 32 bits are not copied."""
    if indices.dtype == np.int32:
        return indices.view(np.uint32)
    return indices.astype(np.uint32)


def num_threads() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        return os.cpu_count() or 1


class _Listener(event.Listener):
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._done = say, False

    def on_start(self, event: Any) -> None:
        if not self._done:
            self._done = True
            self._say("compiling; this is done once, and takes some seconds")

    def on_end(self, event: Any) -> None:
        pass


@contextlib.contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """Call `say` once, when something must be compiled that is not in the cache."""
    with event.install_listener("numba:compile", _Listener(say)):
        yield
