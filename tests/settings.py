"""Settings of torch and NumPy that users and environments make."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

_OPEN: list[Any] = []
_DENORMAL = 1e-310


def _leave_open(context: Any) -> None:
    """Enter a context after the one before it, as a generator does that yields within one."""
    while _OPEN:
        _OPEN.pop().__exit__(None, None, None)
    _OPEN.append(context)
    context.__enter__()


def _seed() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


SETTINGS: dict[str, Callable[[], object]] = {
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "no-grad": lambda: torch.set_grad_enabled(False),
    "inference": lambda: _leave_open(torch.inference_mode()),
    "device": lambda: torch.set_default_device("meta"),
    "within-device": lambda: _leave_open(torch.device("meta")),
    "threads": lambda: torch.set_num_threads(2),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "flush-denormal": lambda: torch.set_flush_denormal(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "errstate": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("error"),
    "print-options": lambda: np.set_printoptions(precision=1),
    "seed": _seed,
}


def snapshot() -> tuple[Any, ...]:
    """Everything that `SETTINGS` changes, as it is now."""
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        _DENORMAL * 1.0,
        torch.get_float32_matmul_precision(),
        np.geterr(),
        np.get_printoptions(),
        list(warnings.filters),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
    )


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Bring everything back that `SETTINGS` changes."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    with np.errstate(), np.printoptions(), warnings.catch_warnings():
        try:
            yield
        finally:
            while _OPEN:
                _OPEN.pop().__exit__(None, None, None)
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            torch.set_default_device(None)
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(False)
            torch.set_autocast_enabled("cpu", False)
            torch.set_flush_denormal(False)
            torch.set_float32_matmul_precision("highest")
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            random.setstate(states[2])
