"""Sets torch up so that the bytes of a seed do not depend on the other seeds."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from rlkit.determinism.torch_settings import OwnSettings

P = ParamSpec("P")
T = TypeVar("T")

_MKL_FREE = 1  # MKL_CBWR_OFF: sums in any order


def _mkl_mode() -> int | None:
    """Return MKL's mode of reproducibility; None if torch has no MKL."""
    import torch

    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return int(library.mkl_serv_cbwr_get(-1))
    except (OSError, AttributeError):
        return None


class _Block:
    """Code that runs with settings of its own, until `restore`."""

    def __init__(self) -> None:
        self.torch: OwnSettings | None = None
        # Code of environments: its NumPy settings are its own, and no block is around it.
        self.apart = contextvars.copy_context()
        self.apart.run(_block.set, None)

    def take_torch(self) -> None:
        """Set torch up, which was imported by now."""
        self.torch = OwnSettings()

    def restore(self) -> None:
        if self.torch is not None:
            self.torch.restore()


_block: contextvars.ContextVar[_Block | None] = contextvars.ContextVar("block", default=None)


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call code of an environment, with the settings of torch and NumPy that such code has made.

    What it sets is there again at its next call, and agents do not see it. Outside a block of
    `own_settings` the call is an ordinary one.
    """
    block = _block.get()
    if block is None:
        return function(*args, **kwargs)
    settings = block.torch
    if settings is None:
        return block.apart.run(function, *args, **kwargs)
    settings.lend()
    try:
        return block.apart.run(function, *args, **kwargs)
    finally:
        settings.take_back()


@contextlib.contextmanager
def own_settings(prepare: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Run agents with settings of their own, whatever was set before, which is restored at the end.

    These are the settings of torch in `torch_settings`, and NumPy's for floating-point errors.
    Importing torch takes longer than training a table, so it is not imported here. If something
    imports it inside the block, such as the constructor of an agent, it is set up at once.

    Args:
        prepare: called when torch is set up.
    """
    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        block = _Block()
        token = _block.set(block)

        def set_up() -> None:
            prepare()
            block.take_torch()

        if "torch" in sys.modules:
            set_up()
        try:
            with _after_import("torch", set_up):
                yield
        finally:
            _block.reset(token)
            block.restore()


@contextlib.contextmanager
def prepared_torch() -> Iterator[None]:
    """Set torch up for many small products: `own_settings`, and memory that is kept for reuse.

    By default glibc returns every block above 128 KiB to the system when it is freed, and
    allocates it again page by page, which costs up to a third of a training step. Warn if torch
    multiplied matrices before `import rlkit`, which then cannot choose MKL's mode.
    """
    _keep_memory()
    with own_settings(_check_mkl):
        yield


def _check_mkl() -> None:
    if _mkl_mode() == _MKL_FREE:
        warnings.warn(
            "torch multiplied matrices before rlkit was imported, so the last digits of a seed "
            "may depend on the seeds beside it; import rlkit first, or start Python with "
            "MKL_CBWR=AUTO",
            stacklevel=7,
        )


def _keep_memory() -> None:
    """Let glibc keep freed blocks for reuse."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 1 << 25)
        libc.mallopt(m_trim_threshold, 1 << 30)
    except (OSError, AttributeError):  # another C library: slower, otherwise the same
        pass


class _Finder:
    """Finds one module as the other finders do, and calls a function when it was imported."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        self._name, self._call = name, call

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        later = itertools.dropwhile(lambda finder: finder is not self, list(sys.meta_path))
        for finder in itertools.islice(later, 1, None):
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            execute(module)
            self._call()

        # Set on the loader itself, because some code looks at the type of a module's loader.
        loader.exec_module = exec_module


@contextlib.contextmanager
def _after_import(name: str, call: Callable[[], None]) -> Iterator[None]:
    """Call a function once a module was imported, if that happens inside the block."""
    finder = _Finder(name, call)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
