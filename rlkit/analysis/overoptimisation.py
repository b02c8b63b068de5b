"""The figure of over-optimisation: proxy and gold reward against the distance from the reference.

The distance is sqrt(KL(policy || reference)), and rewards are in standard deviations under the
reference. Source: Gao, Schulman and Hilton (2023), arXiv 2210.10760.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.figure import PALETTE, new_figure, own_style
from rlkit.analysis.intervals import standard_error

Array = NDArray[Any]

GOLD, PROXY = PALETTE[4], PALETTE[0]
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = "os^D"


@dataclass(frozen=True)
class RewardCurve:
    """Proxy and gold reward of a family of policies at rising distance from the reference."""

    name: str
    kl: ArrayLike  # [M], nats
    proxy: ArrayLike | None  # [M], the optimised reward; None if that is gold itself
    gold: ArrayLike  # [M]
    labels: Sequence[str] = field(default=())  # [M], written below the marks


@own_style()
def overoptimisation_figure(
    exact: Sequence[RewardCurve], trained: Sequence[RewardCurve] = (), *, title: str
) -> Figure:
    """Draw gold and proxy reward against the square root of the KL divergence.

    Args:
        exact: exact frontiers, drawn as lines.
        trained: trained policies, drawn as marks with labels.
        title: above the figure.
    """
    figure, axes = new_figure(5.4, 3.9)
    handles = [
        _draw_frontier(axes, curve, dash) for curve, dash in zip(exact, _DASHES, strict=False)
    ]
    handles += [
        _draw_policies(axes, curve, mark) for curve, mark in zip(trained, _MARKERS, strict=False)
    ]
    handles += [
        Line2D([], [], color=PROXY, linewidth=3, label="proxy: the reward model"),
        Line2D([], [], color=GOLD, linewidth=3, label="gold: the true reward"),
    ]
    axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("distance from the reference, sqrt(KL) in nats$^{1/2}$")
    axes.set_ylabel("reward, standard deviations of the reference")
    figure.suptitle(title, fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def seeds_figure(panels: Mapping[str, Mapping[str, Array]], *, title: str) -> Figure:
    """Draw the mean of proxy and gold reward over seeds with bands of one standard error.

    Args:
        panels: by name, "kl", "proxy" and "gold" of each policy and seed, [M, S]. A policy is drawn
            at the square root of its mean KL divergence.
        title: above the figure.
    """
    figure = Figure(figsize=(2.5 * len(panels), 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    labels = {"proxy": "proxy: the learned return", "gold": "gold: the true return"}
    for ax, (name, rows) in zip(axes, panels.items(), strict=True):
        order = np.argsort(rows["kl"].mean(axis=-1))
        d = np.sqrt(rows["kl"].mean(axis=-1)[order])
        for kind, color in (("proxy", PROXY), ("gold", GOLD)):
            values = rows[kind][order]
            mean, error = values.mean(axis=-1), np.array([standard_error(row) for row in values])
            ax.plot(d, mean, color=color, marker="o", markersize=2.5, label=labels[kind])
            ax.fill_between(d, mean - error, mean + error, color=color, alpha=0.15, linewidth=0)
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(left=0.0)
        ax.tick_params(labelsize=9)
        ax.set_title(name, fontsize=9)
    axes[0].set_ylabel("return, standard\ndeviations of the reference", fontsize=9)
    middle = axes[len(axes) // 2]
    middle.set_xlabel("distance from the reference, sqrt(KL) in nats$^{1/2}$", fontsize=9)
    figure.suptitle(title, fontsize=10)
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _draw_frontier(axes: Axes, curve: RewardCurve, dash: Any) -> Line2D:
    """Draw the lines of an exact frontier and return its legend entry."""
    d = np.sqrt(np.asarray(curve.kl))
    if curve.proxy is None:
        axes.plot(d, curve.gold, color="0.45", linestyle=dash, linewidth=1.2)
        return Line2D([], [], color="0.45", linestyle=dash, label=curve.name)
    axes.plot(d, curve.proxy, color=PROXY, linestyle=dash, linewidth=1.3)
    axes.plot(d, curve.gold, color=GOLD, linestyle=dash, linewidth=1.6)
    return Line2D([], [], color="0.2", linestyle=dash, label=curve.name)


def _draw_policies(axes: Axes, curve: RewardCurve, mark: str) -> Line2D:
    """Draw the marks of trained policies and return their legend entry."""
    d = np.sqrt(np.asarray(curve.kl))
    style: dict[str, Any] = {"linestyle": "none", "marker": mark, "markersize": 5}
    style |= {"markeredgecolor": "black", "markeredgewidth": 0.6}
    if curve.proxy is not None:
        axes.plot(d, curve.proxy, color=PROXY, zorder=4, **style)
    axes.plot(d, curve.gold, color=GOLD, zorder=4, **style)
    write_labels(axes, curve)
    return Line2D([], [], color="0.6", label=curve.name, **style)


def write_labels(axes: Axes, curve: RewardCurve) -> None:
    """Write the label of each policy below the lower one of its two marks."""
    lowest = np.asarray(curve.gold)
    if curve.proxy is not None:
        lowest = np.minimum(lowest, np.asarray(curve.proxy))
    for x, y, text in zip(np.sqrt(np.asarray(curve.kl)), lowest, curve.labels, strict=False):
        axes.annotate(
            text, (x, y), textcoords="offset points", xytext=(0, -11), fontsize=7, ha="center"
        )
