"""Schedules of options."""

from __future__ import annotations

import pytest

from rlkit.maths.schedules import scheduled


@pytest.mark.trap("T30")
@pytest.mark.parametrize(
    ("progress", "value"), [(0.0, 0.8), (0.25, 0.6), (0.5, 0.4), (1.0, 0.0), (1.5, 0.0)]
)
def test_a_linear_schedule_falls_evenly_to_0_and_not_below(progress: float, value: float) -> None:
    assert scheduled(0.8, "linear", progress=progress) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(("progress", "value"), [(0.0, 0.8), (0.5, 0.5), (1.0, 0.2), (2.0, 0.2)])
def test_a_linear_schedule_may_end_at_a_fraction_of_the_value(
    progress: float, value: float
) -> None:
    got = scheduled(0.8, "linear", progress=progress, final=0.25)
    assert got == pytest.approx(value, abs=1e-15)


def test_a_constant_schedule_changes_nothing() -> None:
    assert [scheduled(0.8, "constant", progress=p) for p in (0.0, 0.5, 2.0)] == [0.8] * 3
