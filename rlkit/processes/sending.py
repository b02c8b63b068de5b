"""Checks that work can be sent to worker processes, made before they start."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from rlkit.errors import UsageError


def require_main_guard(num_workers: int, num_env_workers: int = 0) -> None:
    """Stop a worker that imports the user's script from starting workers itself.

    Raises:
        UsageError: more than one worker is requested in such a process, or in a daemonic one,
            which may not start any.
    """
    starts_processes = num_workers > 1 or num_env_workers > 0
    if starts_processes and multiprocessing.current_process().daemon:
        raise UsageError(
            "a daemonic process, such as one of multiprocessing.Pool, may not start processes of "
            "its own: train with workers=1 (and env_workers=0) there, or use "
            "concurrent.futures.ProcessPoolExecutor, whose processes may"
        )
    if starts_processes and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "a script that trains with more than one worker is imported by each of them: put what "
            'it does under `if __name__ == "__main__":`'
        )


class _Pickler(pickle.Pickler):
    """Pickles, and remembers the classes and functions that belong to the main program."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.of_main: list[str] = []

    def persistent_id(self, thing: Any) -> None:
        if isinstance(thing, (type, FunctionType)) and thing.__module__ == "__main__":
            self.of_main.append(thing.__qualname__)


def require_sendable(work: Any, otherwise: str = "--workers 1") -> None:
    """Require that another process can import everything that the work consists of.

    Args:
        work: what to send.
        otherwise: the option that needs no other process.

    Raises:
        UsageError: it cannot be pickled, or is defined where no other process can import it.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"what is to be trained cannot be sent to another process: {error}. Define it at the "
            f"top level of a module, or use {otherwise}"
        ) from error
    if _main_can_be_imported():
        return
    import gymnasium as gym  # takes longer to import than all else that starting a process needs

    registered = [
        spec.id
        for spec in gym.registry.values()
        if getattr(spec.entry_point, "__module__", "") == "__main__"
        and spec.id.encode() in buffer.getvalue()
    ]
    if pickler.of_main or registered:
        name = [*pickler.of_main, *registered][0]
        raise UsageError(
            f"{name} is defined in a notebook or on standard input, from where worker processes "
            "cannot import it: put it in a file and import it from there (an environment can also "
            f"be named as path/to/file.py:Class), or use {_in_python(otherwise)}"
        )


def _in_python(option: str) -> str:
    """Return "workers=1" for "--workers 1"."""
    return option.lstrip("-").replace("-", "_").replace(" ", "=")


def _main_can_be_imported() -> bool:
    """Return whether the main program is a module or a file, which each worker imports first."""
    main = sys.modules["__main__"]
    return getattr(main, "__spec__", None) is not None or os.path.isfile(
        getattr(main, "__file__", None) or ""
    )


@contextlib.contextmanager
def without_false_file() -> Iterator[None]:
    """Hide the file name "<stdin>" of a program on standard input, which workers would open."""
    main = vars(sys.modules["__main__"])
    if "__file__" not in main or _main_can_be_imported():
        yield
        return
    file = main.pop("__file__")
    try:
        yield
    finally:
        main["__file__"] = file
