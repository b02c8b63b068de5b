"""The figure of a belief about a grid world: values, doubt about them, and visits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from rlkit.analysis.figure import new_figure, own_style, plain
from rlkit.tabular.grids.cell_maps import frame_map, map_size
from rlkit.tabular.grids.drawing import Grid
from rlkit.tabular.grids.figures import MOST_ARROWS, draw_arrows
from rlkit.tabular.mdp import FloatArray, IntArray


class Belief(NamedTuple):
    """The belief about each state; every array is `[num_states]`.

    Args:
        values: of the mean model.
        policy: greedy in the mean model.
        visits: how often an action was taken in the state.
        transition_doubt: root of the sum of the variances of the successors' probabilities, for
            the action about which least is known.
        value_doubt: standard deviation of the optimal values over models of the posterior.
    """

    values: FloatArray
    policy: IntArray
    visits: IntArray
    transition_doubt: FloatArray
    value_doubt: FloatArray


_PANELS = {
    "values": "V and policy of the mean model",
    "visits": "visits",
    "transition_doubt": "standard deviation of the successors",
    "value_doubt": "standard deviation of V",
}


@own_style()
def posterior_figure(grid: Grid, belief: Belief, *, title: str) -> Figure:
    """Draw the belief about each cell, in four maps."""
    width, height = map_size(grid, largest=3.4)
    figure, axes = new_figure(2 * (width + 0.9), 2 * (height + 0.35) + 0.5)
    axes.remove()
    parts = GridSpec(2, 2, figure=figure)
    shape = grid.letters.shape
    ends = np.isin(grid.letters, list("HGC"))
    for k, (name, label) in enumerate(_PANELS.items()):
        numbers = np.asarray(getattr(belief, name), dtype=np.float64).reshape(shape)
        cells = np.ma.masked_array(numbers, mask=ends | ((numbers == 0) & (name == "visits")))
        panel = figure.add_subplot(parts[k])
        image = panel.imshow(
            cells, cmap="viridis", norm=_norm(name, cells), interpolation="nearest", zorder=0.5
        )
        figure.colorbar(image, ax=panel, shrink=0.8).ax.tick_params(labelsize=7)
        frame_map(panel, grid, corner=True)
        if name == "values" and max(shape) <= MOST_ARROWS:
            draw_arrows(panel, grid, ~ends, belief.policy)
        panel.set_title(label, fontsize=8)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    return figure


def _norm(name: str, cells: Any) -> Normalize | None:
    """Return the scale of colours: logarithmic for visits, from 0 for doubts."""
    if name == "visits":
        largest = float(cells.max()) if cells.count() else 1.0
        return LogNorm(vmin=1, vmax=max(10.0, largest))
    return None if name == "values" else Normalize(vmin=0.0)
