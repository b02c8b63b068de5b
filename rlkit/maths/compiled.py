"""How kernels are compiled: one decorator, and the news that it takes a while."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys as runtime
from numpy.typing import NDArray

from rlkit.user_code import content_digest

Item = TypeVar("Item")
Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function of numbers and arrays when it is first called.

    The machine code is kept on disk beside the source, or in the user's cache where that folder
    cannot be written. The interpreter's lock is released during a call, so that threads share the
    work. Sums are in the order in which they are written, as in NumPy's float64, and division by
    zero gives inf or NaN: checks for it keep loops from being vectorised.
    """
    return _compiled(function, _Cache)


def lean_kernel(function: Function) -> Function:
    """Compile a function that makes and returns no arrays, as `kernel` does otherwise.

    Arrays are not counted as references: that takes ten times as long as a step of a table, and
    the code that counts them is compiled anew in every process.
    """
    return _compiled(function, _LeanCache, _nrt=False)


def _compiled(function: Function, cache: Any, **more: Any) -> Function:
    compiled: Any = numba.njit(nogil=True, error_model="numpy", **more)(function)
    with contextlib.suppress(RuntimeError):  # no folder for the cache can be written
        compiled._cache = cache(function)
    return compiled  # type: ignore[no-any-return]


class _LeanCache(FunctionCache):
    """Loads machine code without the functions that numba compiles others with.

    Importing them takes longer than to train a table. Only what hashes (dict, set, str) would need
    them to run.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with self._guard_against_spurious_io_errors():
            load: Any = self._load_overload
            return load(sig, target_context)


class _Cache(_LeanCache):
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        runtime.initialize(target_context)
        return super().load_overload(sig, target_context)


def part(function: Function) -> Function:
    """Compile a function that becomes part of the loops of `compose`; it must not make arrays."""
    compiled: Any = numba.njit(inline="always", nogil=True, error_model="numpy")(function)
    return compiled  # type: ignore[no-any-return]


def with_parts(function: Any, replaced: Mapping[Any, Any]) -> Any:
    """Return a part in which others take the place of some of the parts that it leads to."""
    if function in replaced:
        return replaced[function]
    code, globals_ = function.py_func.__code__, function.py_func.__globals__
    used = {name: globals_.get(name) for name in code.co_names}
    changed = {
        name: with_parts(each, replaced) for name, each in used.items() if hasattr(each, "py_func")
    }
    if all(changed[name] is used[name] for name in changed):
        return function
    return part(types.FunctionType(code, {**globals_, **changed}, code.co_name))


def compose(text: Callable[..., Any], **parts: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with these parts in place of its global names.

    The machine code is kept beside the file of the first part, under a name with a digest of the
    text, of all parts that it uses, of their global numbers, of their files and of the attribute
    `meaning` of those that have one, so that it is compiled anew when one of them changes. Of their
    files, because the types of arguments are stored by name, and an index with a name that is gone
    could not be read.
    """
    first = next(iter(parts.values())).py_func  # type: ignore[attr-defined]
    globals_ = {**text.__globals__, **parts}
    digest = hashlib.sha256()
    digest.update(repr([getattr(each, "meaning", None) for each in parts.values()]).encode())
    codes = _codes(text.__code__, globals_, {})
    for file in sorted({code.co_filename for code in codes}):
        digest.update((content_digest(file) or "").encode())
    for code, names in codes.items():
        used = (code.co_names, _plain(code.co_consts), *_numbers(code, names))
        digest.update(code.co_code + repr(used).encode())
    owner = first.__module__.replace(".", "_")
    name = f"{text.__name__}_{owner}_{digest.hexdigest()[:16]}"
    code = text.__code__.replace(
        co_filename=first.__code__.co_filename, co_name=name, co_qualname=name
    )
    function = types.FunctionType(code, globals_, name)
    function.__module__ = first.__module__
    return lean_kernel(function)


def _codes(
    code: types.CodeType, globals_: dict[str, Any], seen: dict[types.CodeType, dict[str, Any]]
) -> dict[types.CodeType, dict[str, Any]]:
    """Return the code and global names of a function and of all compiled ones that it leads to."""
    if code not in seen:
        seen[code] = globals_
        for name in code.co_names:
            used = globals_.get(name)
            source = getattr(used, "py_func", getattr(used, "_defn", None))  # an intrinsic has that
            if source is not None:
                _codes(source.__code__, source.__globals__, seen)
    return seen


def _numbers(code: types.CodeType, globals_: dict[str, Any]) -> list[Any]:
    """Return the global numbers of a function, which are constants of its machine code."""
    values = (globals_.get(name) for name in code.co_names)
    return [value for value in values if isinstance(value, (int, float, np.number))]


def _plain(constants: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return constants without code objects, whose text contains addresses."""
    return tuple(value for value in constants if not isinstance(value, types.CodeType))


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


def in_threads(function: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Apply a function that spends its time in kernels to items; threads take one after another."""
    queue = iter(items)

    def take() -> None:
        for item in queue:
            function(item)

    others = min(num_threads(), len(items)) - 1
    if others < 1:
        take()
        return
    jobs = [_pool(others).submit(take) for _ in range(others)]
    try:
        take()
    finally:
        wait(jobs)
    for job in jobs:
        job.result()


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Return threads that stay: starting one takes longer than many a kernel."""
    return ThreadPoolExecutor(num_threads)


if hasattr(os, "register_at_fork"):  # threads do not follow into a child
    os.register_at_fork(after_in_child=_pool.cache_clear)


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
