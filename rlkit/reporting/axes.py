"""The frame of a chart: scales from numbers to pixels, round ticks, and text that is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlkit.reporting.parts import number

WIDTH = 640
_RIGHT, _TOP, _BOTTOM = 28, 12, 46


def text_of(text: str) -> str:
    """Return text for SVG, with its special characters escaped."""
    return html.escape(text, quote=True)


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within [low, high], about `most`."""
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= 0.75 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 if k == 0 else k * step for k in range(first, last + 1)]


def limits_of(values: Iterable[ArrayLike], room: float = 0.04) -> tuple[float, float]:
    """Return limits around all finite values, with some room, which are never equal."""
    known = [np.asarray(one, dtype=np.float64).ravel() for one in values]
    pool = np.concatenate(known) if known else np.zeros(0)
    pool = pool[np.isfinite(pool)]
    if not len(pool):
        return 0.0, 1.0
    low, high = float(pool.min()), float(pool.max())
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        half = 0.5 * abs(low) or 0.5
        return low - half, high + half
    return low - room * (high - low), high + room * (high - low)


@dataclass(frozen=True)
class Frame:
    """The plotted area in a drawing of WIDTH by `height` pixels, and its scales."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = 340
    left: int = 74

    def px(self, values: ArrayLike) -> np.ndarray:
        """Return horizontal places in pixels."""
        share = (np.asarray(values, dtype=np.float64) - self.x[0]) / (self.x[1] - self.x[0])
        return self.left + share * (WIDTH - _RIGHT - self.left)

    def py(self, values: ArrayLike) -> np.ndarray:
        """Return vertical places in pixels; larger numbers are higher up."""
        share = (np.asarray(values, dtype=np.float64) - self.y[0]) / (self.y[1] - self.y[0])
        return self.bottom - share * (self.bottom - _TOP)

    @property
    def bottom(self) -> int:
        """The height of the x axis in pixels from above."""
        return self.height - _BOTTOM

    @property
    def right(self) -> int:
        """The right end of the x axis."""
        return WIDTH - _RIGHT

    @property
    def top(self) -> int:
        """The upper end of the y axis."""
        return _TOP

    def clip(self, name: str) -> str:
        """Return the definition of the plotted area, by which parts outside are hidden."""
        area = f'x="{self.left}" y="{_TOP}" width="{self.right - self.left}"'
        return f'<clipPath id="{name}"><rect {area} height="{self.bottom - _TOP}"/></clipPath>'

    def x_axis(self, label: str) -> str:
        """Return the lower axis with ticks, thin vertical lines and its label."""
        parts = [line(self.left, self.bottom, self.right, self.bottom, "axis")]
        for value in round_ticks(*self.x):
            at = float(self.px(value))
            parts.append(line(at, _TOP, at, self.bottom, "grid"))
            parts.append(text_at(at, self.bottom + 17, "middle", number(_clean(value))))
        middle = (self.left + self.right) / 2
        parts.append(text_at(middle, self.height - 8, "middle", label, "label"))
        return "".join(parts)

    def y_axis(self, label: str) -> str:
        """Return the left axis with ticks, thin horizontal lines and its label."""
        parts = [line(self.left, _TOP, self.left, self.bottom, "axis")]
        for value in round_ticks(*self.y):
            at = float(self.py(value))
            parts.append(line(self.left, at, self.right, at, "grid"))
            parts.append(text_at(self.left - 7, at + 4, "end", number(_clean(value))))
        middle = (_TOP + self.bottom) / 2
        parts.append(
            f'<text class="label" text-anchor="middle" transform="translate(15 {middle:.1f}) '
            f'rotate(-90)">{text_of(label)}</text>'
        )
        return "".join(parts)


def _clean(value: float) -> float:
    """Return a tick without the noise of adding tenths: 0.30000000000000004 is 0.3."""
    return float(f"{value:.10g}")


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{style}" {places}/>'


def text_at(x: float, y: float, anchor: str, text: str, style: str = "tick") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{text_of(text)}</text>"
    )
