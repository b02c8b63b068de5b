"""The enumerable task with all of its responses."""

from __future__ import annotations

import pytest

from rlkit_envs.enumerable import EnumerableTask
from tests.rlhf.exact.tables import Enumerated, enumerated


@pytest.fixture(scope="session")
def full() -> Enumerated:
    """19,531 responses to each of 4 prompts."""
    return enumerated(EnumerableTask())
