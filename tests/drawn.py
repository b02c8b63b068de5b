"""Read from a figure what was drawn."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure


def lines_of(axes: Axes, colour: str) -> list[Any]:
    """Return the lines of one colour, in the order in which they were drawn."""
    return [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]


def legend_of(figure: Figure) -> list[str]:
    """Return the labels of the legend."""
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]
