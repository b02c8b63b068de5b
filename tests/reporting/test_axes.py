"""Ticks and scales of charts."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.reporting.axes import WIDTH, Frame, limits_of, round_ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_ticks_are_few_evenly_spaced_and_within_the_limits(low: float, share: float) -> None:
    width = share * max(1.0, abs(low))
    high = low + width
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 9
    slack = 1e-6 * width
    assert low - slack <= ticks[0]
    assert ticks[-1] <= high + slack
    step = ticks[1] - ticks[0]
    np.testing.assert_allclose(np.diff(ticks), step, rtol=1e-6)
    mantissa = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
    assert round(mantissa, 6) in (1, 2, 5)


def test_the_ticks_of_a_share_are_fifths() -> None:
    assert round_ticks(-0.25, 1.0) == pytest.approx([-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_ticks(0, 500) == [0, 100, 200, 300, 400, 500]


def test_limits_are_never_equal_and_ignore_what_is_not_a_number() -> None:
    assert limits_of([[math.nan, 3.0, -1.0], np.array([math.inf])], room=0.0) == (-1.0, 3.0)
    low, high = limits_of([[500.0, 500.0]])
    assert low < 500 < high
    assert limits_of([]) == (0.0, 1.0)


def test_a_frame_puts_its_limits_on_its_edges() -> None:
    frame = Frame((0, 10), (-1, 1))
    assert frame.px([0, 5, 10]).tolist() == [
        frame.left,
        (frame.left + frame.right) / 2,
        frame.right,
    ]
    assert frame.py([-1, 1]).tolist() == [frame.bottom, frame.top]
    assert frame.right < WIDTH


def test_labels_are_escaped() -> None:
    frame = Frame((0, 1), (0, 1))
    assert "&lt;b&gt;&amp;" in frame.x_axis("<b>&")
    assert "&lt;b&gt;" in frame.y_axis("<b>")
    ticks = re.findall(r'class="tick"[^>]*>([^<]*)<', frame.x_axis("x"))
    assert ticks == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
