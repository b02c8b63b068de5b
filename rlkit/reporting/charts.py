"""Charts as SVG whose colours are variables of the page's style sheet, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.analysis.learning_curves import curve_band
from rlkit.reporting.axes import WIDTH, Frame, limits_of, line, text_at, text_of
from rlkit.reporting.palette import NUM_SERIES
from rlkit.reporting.parts import Chart, Legend, Table, interval_words, make_table, number

Array = NDArray[Any]
References = Sequence[tuple[str, float]]
MOST_POINTS = 200  # of one line
_MOST_SEEDS = 30  # whose own lines are drawn
_ROWS_OF_TABLE = 20


@dataclass(frozen=True)
class Lines:
    """The curves of the seeds of one contender."""

    name: str
    x: Array  # [E]
    y: Array  # [S, E], NaN where a seed has no value
    series: int = 0  # which colour and dash


@dataclass(frozen=True)
class Row:
    """The final numbers of one contender."""

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    dots: Sequence[float | None] = field(default_factory=list)  # of the seeds; None = never reached


def curves_chart(
    title: str, x_label: str, y_label: str, lines: Sequence[Lines], references: References, id: str
) -> Chart:
    """Draw mean curves with 95 % bands and thin lines of the seeds.

    Args:
        title: of the chart.
        x_label: what x is.
        y_label: what y is.
        lines: of the contenders, with at least one row each.
        references: horizontal lines by name.
        id: distinguishes the chart from the others of a page.
    """
    bands = [(one, _thinned(one.x), curve_band(one.y)) for one in lines]
    shown = [value for _, value in references]
    near = limits_of([shown, *(one.y for one in lines)])
    reach = 0.25 * (near[1] - near[0])  # an interval of few seeds may be far wider than the data
    limits = [np.clip((b.low, b.high), near[0] - reach, near[1] + reach) for _, _, b in bands]
    frame = Frame(
        limits_of([one.x for one in lines], room=0.0), limits_of([near, *limits], room=0.0)
    )
    parts = [frame.x_axis(x_label), frame.y_axis(y_label), f'<g clip-path="url(#{id})">']
    parts += [_reference(frame, k, value) for k, (_, value) in enumerate(references)]
    for one, at, band in bands:
        style = f"s{one.series % NUM_SERIES}"
        parts.append(_band(frame, one.x[at], band.low[at], band.high[at], style))
        parts += [
            _path(frame, one.x[at], seed[at], f"seed {style}") for seed in one.y[:_MOST_SEEDS]
        ]
        parts.append(_path(frame, one.x[at], band.mean[at], f"line {style}"))
    parts.append("</g>")
    names = ", ".join(one.name for one in lines)
    description = (
        f"The {y_label} over {x_label} of {names}: the mean over seeds, its 95 % interval as a "
        "band, and each seed as a thin line. The table below has the numbers."
    )
    counts = {f"{one.name} ({_seeds(len(one.y))})": one.series for one in lines}
    return Chart(
        title,
        description,
        _svg(frame, id, title, description, parts),
        _legend(counts, references),
        _table_of_curves(title, x_label, bands),
    )


def intervals_chart(
    title: str, x_label: str, rows: Sequence[Row], references: References, id: str
) -> Chart:
    """Draw for each contender its seeds as dots, and the estimate with its 95 % interval.

    Args:
        title: of the chart.
        x_label: what the numbers are.
        rows: of the contenders; seeds that never reached a threshold stand at the right end.
        references: vertical lines by name.
        id: distinguishes the chart from the others of a page.
    """
    near = limits_of(
        [
            [value for _, value in references],
            *([*_known(row.dots), _nan(row.estimate)] for row in rows),
        ]
    )
    reach = 0.5 * (near[1] - near[0])
    ends = [np.clip((_nan(r.low), _nan(r.high)), near[0] - reach, near[1] + reach) for r in rows]
    longest = max((len(row.name) for row in rows), default=0)
    height = 64 + 44 * len(rows)
    left = min(210, 24 + 8 * longest)
    frame = Frame(limits_of([near, *ends], room=0.02), (0.0, 1.0), height, left)
    parts = [frame.x_axis(x_label), f'<g clip-path="url(#{id})">']
    for k, (_, value) in enumerate(references):
        at = float(frame.px(value))
        parts.append(line(at, frame.top, at, frame.bottom, f"reference r{k % 3}"))
    labels = []
    for i, row in enumerate(rows):
        y = frame.top + 22 + 44 * i
        parts += _row(frame, row, y, f"s{i % NUM_SERIES}")
        short = row.name if len(row.name) <= 23 else f"…{row.name[-22:]}"
        labels.append(text_at(left - 9, y + 4, "end", short, "name"))
    parts += ["</g>", *labels]
    seeds = "each dot is a seed, " if any(row.dots for row in rows) else ""
    description = (
        f"The {x_label} of {', '.join(row.name for row in rows)}: {seeds}the bar is the 95 % "
        "interval of the estimate over seeds, which is the upright line in it."
    )
    table = make_table(
        f"{title}: numbers",
        ["contender", "seeds", "estimate", "95 % interval from", "to"],
        [(row.name, len(row.dots) or None, row.estimate, row.low, row.high) for row in rows],
        folded=True,
    )
    svg = _svg(frame, id, title, description, parts)
    return Chart(title, description, svg, _legend({}, references), table)


def shares_chart(
    title: str, x_label: str, x: Sequence[float], lines: dict[str, Sequence[float]], id: str
) -> Chart:
    """Draw shares from 0 to 1 as one line for each contender.

    Args:
        title: of the chart.
        x_label: what x is.
        x: [E]
        lines: [E] each, by contender.
        id: distinguishes the chart from the others of a page.
    """
    frame = Frame(limits_of([x], room=0.0), (-0.02, 1.02))
    at = np.asarray(x, dtype=np.float64)
    parts = [frame.x_axis(x_label), frame.y_axis("share of seeds above")]
    for i, shares in enumerate(lines.values()):
        parts.append(_path(frame, at, np.asarray(shares, float), f"line s{i % NUM_SERIES}"))
    description = (
        f"The share of seeds with at least the {x_label} at x, of {', '.join(lines)}. "
        "A higher line is better."
    )
    few = np.linspace(0, len(at) - 1, 11).round().astype(int)
    table = make_table(
        f"{title}: numbers",
        [x_label, *lines],
        [(float(at[i]), *(float(shares[i]) for shares in lines.values())) for i in few],
        folded=True,
    )
    svg = _svg(frame, id, title, description, parts)
    return Chart(
        title, description, svg, _legend({name: i for i, name in enumerate(lines)}, []), table
    )


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def _svg(frame: Frame, id: str, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {frame.height}" role="img" '
        f'aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{text_of(title)}</title>'
        f'<desc id="{id}-desc">{text_of(description)}</desc><defs>{frame.clip(id)}</defs>'
        f"{''.join(parts)}</svg>"
    )


def _thinned(x: Array) -> Array:
    """Return the places of at most `MOST_POINTS` points, the first and the last among them."""
    if len(x) <= MOST_POINTS:
        return np.arange(len(x))
    return np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))


def _path(frame: Frame, x: Array, y: Array, style: str) -> str:
    """Return a line through the known points, interrupted where there is none."""
    known = np.isfinite(y)
    if not known.any():
        return ""
    places, words = zip(frame.px(x), frame.py(y), strict=True), []
    pen = "M"
    for (px, py), there in zip(places, known, strict=True):
        if there:
            words.append(f"{pen}{px:.1f} {py:.1f}")
        pen = "L" if there else "M"
    if known.sum() == 1:  # a point, which no line shows
        at = int(np.flatnonzero(known)[0])
        return (
            f'<circle class="dot {style.split()[-1]}" cx="{frame.px(x[at]):.1f}" '
            f'cy="{frame.py(y[at]):.1f}" r="4"/>'
        )
    return f'<path class="{style}" d="{"".join(words)}"/>'


def _band(frame: Frame, x: Array, low: Array, high: Array, style: str) -> str:
    known = np.isfinite(low) & np.isfinite(high)
    if known.sum() < 2:
        return ""
    across = np.concatenate([x[known], x[known][::-1]])
    around = np.concatenate([low[known], high[known][::-1]])
    points = zip(frame.px(across), frame.py(around), strict=True)
    listed = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polygon class="band {style}" points="{listed}"/>'


def _reference(frame: Frame, k: int, value: float) -> str:
    at = float(frame.py(value))
    return line(frame.left, at, frame.right, at, f"reference r{k % 3}")


def _row(frame: Frame, row: Row, y: float, style: str) -> list[str]:
    parts = []
    if row.low is not None and row.high is not None and math.isfinite(row.low):
        parts.append(
            line(*(float(frame.px(row.low)), y), float(frame.px(row.high)), y, f"bar {style}")
        )
    for k, value in enumerate(row.dots):
        up = y + (k % 5 - 2) * 3.2  # so that equal seeds are seen
        if value is None:
            x = frame.right - 6
            corners = f"{x - 5:.1f},{up - 4:.1f} {x + 4:.1f},{up:.1f} {x - 5:.1f},{up + 4:.1f}"
            parts.append(f'<polygon class="dot {style}" points="{corners}"/>')
        elif math.isfinite(value):
            parts.append(
                f'<circle class="dot {style}" cx="{frame.px(value):.1f}" cy="{up:.1f}" r="3"/>'
            )
    if row.estimate is not None and math.isfinite(row.estimate):
        at = float(frame.px(row.estimate))
        parts.append(line(at, y - 13, at, y + 13, f"mark {style}"))
    return parts


def _legend(series: dict[str, int], references: References) -> list[Legend]:
    curves = [Legend(name, f"line s{i % NUM_SERIES}") for name, i in series.items()]
    return curves + [
        Legend(f"{label}: {number(value)}", f"reference r{k % 3}")
        for k, (label, value) in enumerate(references)
    ]


def _table_of_curves(title: str, x_label: str, bands: Sequence[tuple[Lines, Array, Any]]) -> Table:
    """Return the means with intervals at some points of each curve."""
    rows = []
    for one, _, band in bands:
        count = min(_ROWS_OF_TABLE, len(one.x))
        for at in np.unique(np.linspace(0, len(one.x) - 1, count).round().astype(int)):
            limits = interval_words(float(band.low[at]), float(band.high[at]))
            seeds = int(band.num_seeds[at])
            rows.append((one.name, float(one.x[at]), float(band.mean[at]), limits, seeds))
    most = max(len(one.x) for one, _, _ in bands)
    note = f"{_ROWS_OF_TABLE} of up to {most:,} points of each" if most > _ROWS_OF_TABLE else ""
    columns = ["contender", x_label, "mean", "95 % interval", "seeds"]
    return make_table(f"{title}: numbers", columns, rows, note=note, folded=True)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
