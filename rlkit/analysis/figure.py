"""Parts that all figures share: colours, axes, reference lines, legend, footnotes; and saving.

A figure is a `matplotlib.figure.Figure` with an Agg canvas of its own; pyplot and its global state
are not used. Text from the caller (agent names, labels, titles) is plain text: `$` and `_` do not
start a formula.
"""

import contextlib
import io
import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlkit.analysis.learning_curves import Reference
from rlkit.files import write_atomically

# Okabe and Ito's palette for all kinds of colour blindness, without its yellow, which is too pale.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
)
_SUFFIXES = (".png", ".pdf", ".svg")


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draw in matplotlib's default style, whatever the user or an environment has set.

    Sizes and labels are made for it: with `text.usetex` a `%` or `_` in a label is an error.
    """
    style: dict[Any, Any] = {
        name: value for name, value in rcParamsDefault.items() if name != "backend"
    }
    with rc_context(style):
        yield


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure in the common style, `width` by `height` inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return figure, axes


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as png, pdf or svg, by the suffix of `path`.

    The file is written completely or not at all, and the same figure gives the same bytes: no
    date, no software version, no random identifiers.

    Raises:
        ValueError: another suffix.
        RlkitError: the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"saving the figure {str(target)!r}: unknown suffix {target.suffix!r}; "
            f"use one of {', '.join(_SUFFIXES)}"
        )
    metadata: dict[str, None] = {
        ".png": {"Software": None},
        ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
        ".svg": {"Date": None, "Creator": None},
    }[suffix]
    drawing = io.BytesIO()
    with (
        own_style(),
        rc_context({"svg.hashsalt": "rlkit", "svg.fonttype": "path", "pdf.fonttype": 42}),
    ):
        figure.savefig(drawing, dpi=200, metadata=metadata, format=suffix[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, drawing.getvalue())


def draw_references(
    axes: Axes, references: Sequence[Reference], *, horizontal: bool = True
) -> None:
    """Draw dashed lines of increasing grey or in colours, with their values in the legend."""
    dashes = ((0, (6, 3)), (0, (2, 2)), (0, (6, 2, 1, 2)))
    for k, reference in enumerate(references):
        draw = axes.axhline if horizontal else axes.axvline
        draw(
            reference.value,
            color=("0.15", "0.45", "0.6")[k % 3]
            if reference.curve is None
            else PALETTE[reference.curve % len(PALETTE)],
            linestyle=dashes[k % 3] if reference.curve is None else (0, (9, 2)),
            linewidth=1.1,
            zorder=1.5,
            label=f"{plain(reference.label)}: {_number(reference.value)}",
        )


# The height of a row of the legend, and how many rows a figure has room for.
_ROW_INCHES, _FREE_ROWS = 0.175, 6


def legend_below(figure: Figure, axes: Axes, extra: Sequence[Line2D] = ()) -> None:
    """Draw the legend outside the axes, where it cannot cover a curve."""
    drawn, drawn_labels = axes.get_legend_handles_labels()
    handles = [*extra, *drawn]
    labels = [*(str(handle.get_label()) for handle in extra), *drawn_labels]
    if not handles:
        return
    columns = 1 if max(map(len, labels), default=0) > 38 else 2
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + _ROW_INCHES * max(0, rows - _FREE_ROWS))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.5,
    )


def write_footnotes(figure: Figure, footnotes: Sequence[str], width: int) -> None:
    """Write small print above the plot, where it is read before the curves."""
    if not footnotes:
        return
    text = "\n".join(textwrap.fill(note.replace("$", r"\$"), width) for note in footnotes)
    lines = 1 + text.count("\n")
    figure.set_figheight(figure.get_figheight() + 0.115 * lines)
    figure.axes[0].set_title(text, fontsize=6, color="0.25", loc="left")


def _number(value: float) -> str:
    return (
        f"{value:.4g}"
        if abs(value) < 1e4
        else f"{value:,.0f}"
        if abs(value) < 1e7
        else f"{value:.3e}"
    )


def shortened(name: str, length: int) -> str:
    """Return the end of a name that is too long, such as a path, after an ellipsis."""
    return name if len(name) <= length else f"…{name[1 - length :]}"


def plain(text: str) -> str:
    """Return plain text for matplotlib, which reads $...$ as a formula unless $ is escaped."""
    # Matplotlib omits a label that starts with "_" from the legend.
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")
