"""Figures with a number in each cell of a map: shares of time, and proto-values."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from rlkit.analysis.figure import new_figure, own_style, plain
from rlkit.tabular.grids.drawing import Grid
from rlkit.tabular.mdp import FloatArray

MOST_LETTERS = 24  # rows and columns of the largest map on which letters can be read
MOST_NUMBERS = 12  # and numbers
_COLUMNS = 4  # of small maps


@own_style()
def share_figure(grid: Grid, share: FloatArray, *, title: str) -> Figure:
    """Draw the share of time in each cell.

    Args:
        grid: the map.
        share: `[num_states]`, sums to one.
        title: plain text.
    """
    rows, columns = grid.letters.shape
    width, height = map_size(grid, largest=6.0)
    figure, axes = new_figure(width + 1.4, height + 0.8)
    percent = 100.0 * share.reshape(rows, columns)
    drawn = np.ma.masked_array(percent, mask=percent == 0.0)
    image = axes.imshow(drawn, cmap="viridis", vmin=0.0, interpolation="nearest", zorder=0.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("steps taken in the cell (%)", fontsize=9)
    if max(rows, columns) <= MOST_NUMBERS:
        _write_percent(axes, percent)
    frame_map(axes, grid, corner=max(rows, columns) <= MOST_NUMBERS)
    axes.set_xlabel("white: never acted in", fontsize=8, color="0.35")
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    return figure


def _write_percent(axes: Axes, percent: FloatArray) -> None:
    bright = 0.6 * percent.max()
    for row, column in np.argwhere(percent > 0.0):
        value = percent[row, column]
        axes.text(
            column, row, f"{value:.1f}" if value >= 0.05 else "<0.1",
            ha="center", va="center", fontsize=7, color="0.1" if value > bright else "white",
        )  # fmt: skip


@own_style()
def proto_value_figure(
    grid: Grid, eigenvalues: FloatArray, vectors: FloatArray, *, title: str
) -> Figure:
    """Draw eigenvectors of the graph of states as small maps.

    Args:
        grid: the map.
        eigenvalues: `[K]`.
        vectors: `[K, num_states]`; NaN where there is no value.
        title: plain text.
    """
    number = len(eigenvalues)
    width, height = map_size(grid, largest=3.6)
    columns = min(_COLUMNS if width < 2.5 else 2, number)
    rows = -(-number // columns)
    figure, axes = new_figure((width + 0.15) * columns, (height + 0.35) * rows + 0.5)
    parts = GridSpec(rows, columns, figure=figure)
    axes.remove()
    for k, (value, vector) in enumerate(zip(eigenvalues, vectors, strict=True)):
        panel = figure.add_subplot(parts[k])
        cells = vector.reshape(grid.letters.shape)
        limit = float(np.nanmax(np.abs(cells)))
        panel.imshow(
            np.ma.masked_invalid(cells), cmap="RdBu_r", vmin=-limit, vmax=limit,
            interpolation="nearest",
        )  # fmt: skip
        panel.set_title(f"{k + 1}: eigenvalue {value:.4g}", fontsize=8)
        frame_map(panel, grid, corner=False)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    return figure


def map_size(grid: Grid, *, largest: float) -> tuple[float, float]:
    """Return width and height of a map in inches, of which the larger is at most `largest`."""
    rows, columns = grid.letters.shape
    cell = min(largest / max(rows, columns), 0.55 * largest / min(rows, columns))
    return cell * columns, cell * rows


def frame_map(axes: Axes, grid: Grid, *, corner: bool) -> None:
    """Remove the axes and write the special letters of the map into their cells."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.8")
    shape = grid.letters.shape
    if max(shape) > MOST_LETTERS:
        return
    places: NDArray[np.int64] = np.argwhere(np.isin(grid.letters, list("SHGC")))
    size = max(5, min(9, 80 / max(shape)))
    for row, column in places:
        shift = -0.36 if corner else 0.0
        axes.text(
            column + shift, row + shift, str(grid.letters[row, column]),
            ha="center", va="center", fontsize=size, color="0.25",
            bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.4},
        )  # fmt: skip
