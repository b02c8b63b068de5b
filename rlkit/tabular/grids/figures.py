"""The figure of a solution: its certificate sweep by sweep, and its values on the map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rlkit.analysis.figure import PALETTE, new_figure, own_style, plain
from rlkit.tabular.grids.drawing import Grid
from rlkit.tabular.mdp import FloatArray, IntArray

MOST_ARROWS = 60  # rows and columns of the largest map on which arrows can be seen
_STEPS = {"←": (-1, 0), "→": (1, 0), "↑": (0, 1), "↓": (0, -1)}


@own_style()
def solution_figure(
    history: Sequence[tuple[int, float, float]],
    *,
    tolerance: float,
    title: str,
    grid: Grid | None = None,
    values: FloatArray | None = None,
    policy: IntArray | None = None,
) -> Figure:
    """Draw the certified error against the sweep and, for a grid world, values and policy.

    Args:
        history: (sweep, below, above): V* is in [values - below, values + above] after it.
        tolerance: twice the error that was allowed, for a line.
        title: plain text.
        grid: the map; `values` and `policy`, `[num_states]`, are drawn on it.
    """
    figure, axes = new_figure(4.6 if grid is None else 8.8, 3.7)
    if grid is not None and values is not None and policy is not None:
        parts = GridSpec(1, 2, figure=figure)
        axes.set_subplotspec(parts[0])
        _draw_map(figure, figure.add_subplot(parts[1]), grid, values, policy)
    _draw_certificate(axes, history, tolerance)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    return figure


def _draw_certificate(
    axes: Axes, history: Sequence[tuple[int, float, float]], tolerance: float
) -> None:
    sweeps, below, above = np.array(history, dtype=np.float64).reshape(-1, 3).T
    marker = "o" if len(sweeps) <= 40 else None
    sides = (
        (above, PALETTE[1], "above: V* ≤ values + bound"),
        (below, PALETTE[0], "below: V* ≥ values − bound"),
    )
    for bound, colour, label in sides:
        axes.plot(sweeps, bound, color=colour, marker=marker, markersize=3, label=label)
    allowed = tolerance / 2
    axes.axhline(
        allowed, color="0.15", linestyle="--", linewidth=1.1, label=f"allowed: {allowed:g}"
    )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(sweeps) == 1:
        axes.set_xlim(sweeps[0] - 1, sweeps[0] + 1)
    axes.set_xlabel("sweep")
    axes.set_ylabel("certified bound on the error of V*")
    axes.legend(fontsize=8, frameon=False)


def _draw_map(figure: Figure, axes: Axes, grid: Grid, values: FloatArray, policy: IntArray) -> None:
    """Draw the values as colours; arrows show the policy where the map is small enough."""
    shape = grid.letters.shape
    ends = np.isin(grid.letters, list("HGC"))
    drawn = np.ma.masked_array(
        values.reshape(shape), mask=ends | ~np.isfinite(values).reshape(shape)
    )
    norm = None
    if drawn.count() and drawn.min() >= 0 and np.median(drawn.compressed()) < 1e-3 * drawn.max():
        # Far from the rewards the values would all look like 0.
        norm = LogNorm(vmin=1e-6 * drawn.max(), vmax=drawn.max(), clip=True)
    image = axes.imshow(drawn, cmap="viridis", norm=norm, interpolation="nearest", zorder=0.5)
    figure.colorbar(image, ax=axes, shrink=0.85).set_label("V*", fontsize=9)
    marks = [("H", "0.25"), ("C", "0.25"), ("G", PALETTE[1])]
    for letter, colour in marks:
        _colour_cells(axes, grid.letters == letter, colour)
    if max(shape) <= MOST_ARROWS:
        draw_arrows(axes, grid, ~ends, policy)
        for row, column in np.argwhere(grid.letters == "G"):
            axes.text(column, row, "G", ha="center", va="center", fontsize=_letter_size(shape))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(
        "values and policy" if max(shape) <= MOST_ARROWS else f"values, {shape[0]} x {shape[1]}"
    )


def _colour_cells(axes: Axes, cells: NDArray[np.bool_], colour: str) -> None:
    image = np.zeros((*cells.shape, 4))
    image[cells] = to_rgba(colour)
    axes.imshow(image, interpolation="nearest", zorder=0.6)


def draw_arrows(axes: Axes, grid: Grid, cells: NDArray[np.bool_], policy: IntArray) -> None:
    rows, columns = np.nonzero(cells)
    steps = np.array([_STEPS[arrow] for arrow in grid.arrows])[policy.reshape(cells.shape)[cells]]
    right, up = 0.6 * steps.T
    axes.quiver(
        *(columns, rows, right, up),
        pivot="mid",
        angles="uv",
        scale_units="xy",
        scale=1.0,
        units="x",
        width=0.09,
        color="white",
        edgecolor="0.2",
        linewidth=0.3 if max(cells.shape) <= 20 else 0.0,
    )


def _letter_size(shape: tuple[int, ...]) -> float:
    return float(max(4, min(11, 160 / max(shape))))
