"""The memory of a long run is flat, and what measures it notices growth."""

from __future__ import annotations

import pytest

from experiments.benchmarks.long_run_memory import (
    CASES,
    MOST_GROWTH,
    growth,
    measure,
    measure_apart,
)


def test_growth_is_counted_from_a_fifth_of_the_run_on() -> None:
    assert growth([(0, 1.0), (19, 90.0), (20, 100.0), (60, 130.0), (100, 120.0)]) == 30.0


def test_memory_is_read_at_every_row() -> None:
    samples = measure("random", 4_000)
    assert [steps for steps, _ in samples] == list(range(0, 4_001, 40))
    assert all(memory > 10 for _, memory in samples)


@pytest.mark.torture
@pytest.mark.parametrize("what", CASES)
def test_the_memory_of_a_long_run_is_flat_after_warm_up(what: str) -> None:
    assert growth(measure_apart(what, 10_000_000)) < MOST_GROWTH
