"""A run that learns in a fraction of a second, and its undisturbed results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.training.run import Run, load

# Rows at each 250 of 4,000 steps; the interval's lower end is at least 0.02 first at 2,250.
LAKE: dict[str, Any] = {"seeds": 4, "steps": 4000, "evaluate_every": 250}
NAME = "q-learning-compiled"


@pytest.fixture
def lake(small: Callable[..., Run]) -> Callable[..., Run]:
    """Train the small run, watched."""
    return lambda **changes: small(NAME, **LAKE | changes)


@pytest.fixture
def whole(reference: Callable[..., Any]) -> Any:
    """The results of the run that nothing watches: bytes of csv and checkpoint of each seed."""
    return reference(NAME, **LAKE)


@pytest.fixture(scope="session")
def whole_run(_trained_once: Callable[..., Path]) -> Run:
    """The run that nothing watches."""
    return load(_trained_once(NAME, **LAKE))
