"""Charts: the places of what is drawn are those of the numbers, and the numbers are beside them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from rlkit.analysis.statistics import mean_interval
from rlkit.reporting.axes import Frame
from rlkit.reporting.charts import (
    MOST_POINTS,
    Lines,
    Row,
    curves_chart,
    intervals_chart,
    shares_chart,
)
from rlkit.reporting.parts import Chart

HOSTILE = "<script>alert(1)</script>&\"'"


def drawn(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg)


def of_class(chart: Chart, name: str) -> list[ElementTree.Element]:
    return [e for e in drawn(chart).iter() if name in e.get("class", "").split()]


def points(path: ElementTree.Element) -> np.ndarray:
    return np.array(
        [[float(x) for x in p.split()] for p in re.split("[ML]", path.get("d", ""))[1:]]
    )


def test_a_mean_is_drawn_where_it_is() -> None:
    """The frame is read off the ticks, not off the code that drew the line."""
    x = np.array([0.0, 50.0, 100.0])
    y = np.array([[0.0, 4.0, 10.0], [0.0, 6.0, 10.0]])
    chart = curves_chart("t", "steps", "return", [Lines("a", x, y)], [("optimum", 10.0)], "c")
    ticks = {
        e.text: float(e.get("y", 0)) - 4
        for e in of_class(chart, "tick")
        if e.get("text-anchor") == "end"
    }
    zero, ten = ticks["0"], ticks["10"]
    (mean,) = (e for e in of_class(chart, "line") if e.tag == "path")
    expected = [zero + (ten - zero) * v / 10 for v in (0, 5, 10)]
    np.testing.assert_allclose(points(mean)[:, 1], expected, atol=0.11)
    (reference,) = of_class(chart, "reference")
    assert float(reference.get("y1", 0)) == pytest.approx(ten, abs=0.11)
    assert len(of_class(chart, "seed")) == 2


def test_the_numbers_are_those_of_the_interval_over_seeds() -> None:
    x, y = np.array([0.0, 10.0]), np.random.default_rng(0).normal(size=(6, 2))
    chart = curves_chart("t", "steps", "return", [Lines("a", x, y)], [], "c")
    interval = mean_interval(y[:, 1])
    last = chart.table.rows[-1]
    assert last[2].key == pytest.approx(interval.estimate)
    assert last[3].text == f"{interval.low:.4g} to {interval.high:.4g}"
    assert last[4].text == "6"


def test_a_seed_that_stopped_early_is_a_line_that_stops() -> None:
    x = np.arange(5.0)
    y = np.array([[0.0, 1, 2, np.nan, np.nan], [0.0, 1, 2, 3, 4]])
    chart = curves_chart("t", "steps", "return", [Lines("a", x, y)], [], "c")
    assert [len(points(e)) for e in of_class(chart, "seed")] == [3, 5]
    assert chart.table.rows[-1][4].text == "1"


def test_a_single_point_is_seen() -> None:
    chart = curves_chart("t", "x", "y", [Lines("a", np.zeros(1), np.ones((1, 1)))], [], "c")
    assert [e.tag for e in of_class(chart, "dot")] == ["circle", "circle"]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    x = np.arange(10_000.0)
    chart = curves_chart("t", "x", "y", [Lines("a", x, x[None].repeat(2, 0))], [], "c")
    (mean,) = (e for e in of_class(chart, "line") if e.tag == "path")
    line, whole = (
        points(mean),
        curves_chart("t", "x", "y", [Lines("a", x[[0, -1]], x[None, [0, -1]])], [], "c"),
    )
    assert len(line) == MOST_POINTS
    (ends,) = (e for e in of_class(whole, "line") if e.tag == "path")
    np.testing.assert_allclose(line[[0, -1]], points(ends), atol=0.11)
    assert chart.table.rows[0][1].key == 0
    assert chart.table.rows[-1][1].key == 9999
    assert chart.table.note == "20 of up to 10,000 points of each"


def test_a_wide_interval_does_not_squeeze_the_data() -> None:
    """Two seeds have an interval of Student's t with one degree of freedom."""
    y = np.array([[0.0, 1.0], [0.1, 1.1]])
    wide = np.array([[0.0, 0.0], [0.0, 1.0]])
    chart = curves_chart(
        "t", "x", "y", [Lines("a", np.arange(2.0), y), Lines("b", np.arange(2.0), wide)], [], "c"
    )
    ends = [points(e)[:, 1] for e in of_class(chart, "seed")]
    height = max(map(np.max, ends)) - min(map(np.min, ends))
    assert height > 0.5 * (Frame((0, 1), (0, 1)).bottom - 12)


def test_a_series_keeps_its_colour_in_all_charts() -> None:
    x, y = np.arange(2.0), np.zeros((1, 2))
    chart = curves_chart("t", "x", "y", [Lines("b", x, y, 1)], [], "c")
    assert chart.legend[0].style == "line s1"
    assert of_class(chart, "seed")[0].get("class") == "seed s1"
    rows = intervals_chart("t", "x", [Row("a", 1, 0, 2), Row("b", 1, 0, 2)], [], "c")
    assert [e.get("class") for e in of_class(rows, "bar")] == ["bar s0", "bar s1"]


def test_seeds_are_dots_and_the_bar_is_the_interval() -> None:
    row = Row("a", 2.0, 1.0, 3.0, [0.0, 4.0, None])
    chart = intervals_chart("t", "return", [row], [("optimum", 4.0)], "c")
    ticks = {e.text: float(e.get("x", 0)) for e in of_class(chart, "tick")}
    dots = [e for e in of_class(chart, "dot") if e.tag == "circle"]
    assert [float(e.get("cx", 0)) for e in dots] == pytest.approx([ticks["0"], ticks["4"]], abs=0.2)
    (bar,), (mark,) = of_class(chart, "bar"), of_class(chart, "mark")
    ends = float(bar.get("x1", 0)), float(bar.get("x2", 0))
    assert ends == pytest.approx((ticks["1"], ticks["3"]), abs=0.2)
    assert float(mark.get("x1", 0)) == pytest.approx(ticks["2"], abs=0.2)
    (never,) = (e for e in of_class(chart, "dot") if e.tag == "polygon")
    assert never is not None  # the seed that never got there
    assert [cell.text for cell in chart.table.rows[0]] == ["a", "3", "2", "1", "3"]


def test_one_seed_has_no_bar() -> None:
    chart = intervals_chart("t", "x", [Row("a", 2.0, None, None, [2.0])], [], "c")
    assert of_class(chart, "bar") == []
    assert len(of_class(chart, "mark")) == 1


def test_shares_are_lines() -> None:
    chart = shares_chart("t", "score", [0, 0.5, 1], {"a": [1, 0.5, 0], "b": [1, 1, 0]}, "c")
    assert len([e for e in of_class(chart, "line") if e.tag == "path"]) == 2
    assert [legend.label for legend in chart.legend] == ["a", "b"]


def test_names_are_text_and_every_chart_has_a_title_and_a_description() -> None:
    x, y = np.arange(2.0), np.zeros((1, 2))
    charts = [
        curves_chart(HOSTILE, HOSTILE, HOSTILE, [Lines(HOSTILE, x, y)], [(HOSTILE, 0.0)], "c"),
        intervals_chart(HOSTILE, HOSTILE, [Row(HOSTILE[:20], 1, 0, 2)], [(HOSTILE, 0.0)], "c"),
        shares_chart(HOSTILE, HOSTILE, [0, 1], {HOSTILE: [0, 1]}, "c"),
    ]
    for chart in charts:
        root = drawn(chart)  # it is well-formed
        assert "<script" not in chart.svg
        assert root[0].text == HOSTILE
        assert HOSTILE in str(root[1].text)
        assert root.get("aria-labelledby") == "c-title c-desc"
