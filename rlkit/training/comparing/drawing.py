"""Figures over environments: interquartile means with intervals, and performance profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rlkit.analysis.aggregate import iqm_over_environments, profile_band
from rlkit.analysis.figure import DASHES, PALETTE, legend_below, plain, shortened, write_footnotes


def over_environments_figure(
    scores: Mapping[str, Sequence[ArrayLike]],
    *,
    title: str,
    footnotes: Sequence[str] = (),
) -> Figure:
    """Draw interquartile means with 95 % intervals, and performance profiles with pointwise bands.

    Args:
        scores: agent name -> one array `[S]` of normalised scores per environment.
        title: of the figure.
        footnotes: small print.

    Raises:
        ValueError: no agents.
    """
    if not scores:
        raise ValueError(f"drawing {title!r}: no agents; pass name -> scores of each environment")
    figure = Figure(figsize=(7.0, max(2.9, 1.4 + 0.4 * len(scores))), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    pooled = np.concatenate([np.asarray(x) for one in scores.values() for x in one])
    grid = np.linspace(min(0.0, float(pooled.min())), max(1.0, float(pooled.max())), 201)
    for row, (name, one) in enumerate(scores.items()):
        colour = PALETTE[row % len(PALETTE)]
        interval = iqm_over_environments(one)
        if np.isfinite(interval.low):
            left.plot(
                [interval.low, interval.high],
                [row, row],
                color=colour,
                linewidth=5,
                alpha=0.35,
                solid_capstyle="butt",
            )
        left.plot([interval.estimate], [row], "|", color=colour, markersize=13, markeredgewidth=2.2)
        band = profile_band(one, grid)
        right.fill_between(grid, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
        number = min(map(len, map(np.asarray, one)))
        right.plot(
            grid,
            band.fraction,
            color=colour,
            linestyle=DASHES[row % len(DASHES)],
            linewidth=1.8,
            label=f"{plain(shortened(name, 40))} (n = {number}, {len(one)} environments)",
        )
    left.set_yticks(range(len(scores)), [plain(shortened(name, 24)) for name in scores])
    left.set_ylim(len(scores) - 0.5, -0.5)
    left.set_xlabel("interquartile mean, 95 % interval")
    right.set_xlabel("normalised score (0 random, 1 best)")
    right.set_ylabel("share of seeds above")
    right.set_ylim(-0.02, 1.02)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9)
    left.grid(axis="y", visible=False)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    legend_below(figure, right)
    write_footnotes(figure, footnotes, 66)
    return figure
