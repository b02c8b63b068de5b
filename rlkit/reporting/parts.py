"""The parts of a page as plain data: tables, charts, films and sections; and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Value = str | float | int | None
UNKNOWN = ("-", "never")  # in a column of numbers


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    key: float | None = None  # by which it is sorted, if it is a number
    link: str = ""  # the id of the section that it leads to


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Table:
    """A table that can be sorted; `folded` is hidden until it is opened."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Legend:
    """What a line of a chart stands for."""

    label: str
    style: str  # classes of the style sheet, of a line


@dataclass(frozen=True)
class Chart:
    """A drawing, what it shows in words, and its numbers."""

    title: str
    description: str
    svg: str  # safe: its texts are escaped
    legend: Sequence[Legend]
    table: Table


@dataclass(frozen=True)
class Film:
    """An episode as an animated gif, both pictures as data URIs."""

    title: str
    caption: str
    gif: str
    still: str
    width: int
    height: int


@dataclass(frozen=True)
class Code:
    """A command, or other text in which every character counts."""

    title: str
    text: str


@dataclass
class Section:
    """One run or comparison, or a part of it."""

    title: str
    kind: str  # "run", "comparison", "stage of RLHF"
    question: str
    verdict: list[str]
    shortcomings: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    film_problems: list[str] = field(default_factory=list)  # why there are none
    codes: list[Code] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)  # settings, versions, hashes
    parts: list[Section] = field(default_factory=list)
    id: str = ""


def number(value: float | None) -> str:
    """Return a number as text, with 4 significant digits; "-" for one that is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    if (value == int(value) and abs(value) < 1e7) or 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e3 else f"{value:.3e}"


def sentence(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]


def interval_words(low: float | None, high: float | None) -> str:
    """Return an interval as text, "-" if there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "-"
    return f"{number(low)} to {number(high)}"


def p_words(value: float | None) -> str:
    """Return a p-value as text."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.2g}"


def make_table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Value | Cell]],
    *,
    note: str = "",
    folded: bool = False,
) -> Table:
    """Return a table of texts and numbers; a column is one of numbers if it holds nothing else."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        any(row[i].key is not None for row in cells)
        and all(row[i].key is not None or row[i].text in UNKNOWN for row in cells)
        for i in range(len(columns))
    ]
    heads = [Column(*head) for head in zip(columns, numeric, strict=True)]
    return Table(caption, heads, cells, note, folded)


def _cell(value: Value | Cell) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("-")
    if isinstance(value, str):
        return Cell(value)
    value = float(value)
    return Cell(number(value), value if math.isfinite(value) else None)
