"""Figures of the RLHF experiments: gaps, reward models, small multiples of over-optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.figure import PALETTE, new_figure
from rlkit.analysis.overoptimisation import GOLD, PROXY, RewardCurve, write_labels

_DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
)


@dataclass(frozen=True)
class GapCurves:
    """The gap of each seed's objective to its optimum, per update."""

    name: str
    updates: ArrayLike  # [E], ascending
    gaps: ArrayLike  # [S, E], > 0, in units of reward


def gap_figure(curves: Sequence[GapCurves], *, title: str) -> Figure:
    """Draw gaps on a logarithmic axis against updates: the median, and each seed as a thin line."""
    figure, axes = new_figure(4.6, 3.4)
    for k, curve in enumerate(curves):
        x, gaps = np.asarray(curve.updates), np.asarray(curve.gaps, dtype=np.float64)
        style: dict[str, Any] = {
            "color": PALETTE[k % len(PALETTE)],
            "linestyle": _DASHES[k % len(_DASHES)],
        }
        for seed in gaps:
            axes.plot(x, seed, color=style["color"], linewidth=0.5, alpha=0.45, label="_seed")
        median = np.median(gaps, axis=0)
        label = f"{curve.name} (n = {len(gaps)})"
        axes.plot(x, median, linewidth=1.8, label=label, **style)
    axes.set_yscale("log")
    _plain_log(axes, "y")
    axes.set_xlim(left=0)
    axes.set_xlabel("updates")
    axes.set_ylabel("gap to the optimum, units of reward")
    figure.suptitle(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False, handlelength=2.6)
    return figure


def reward_model_figure(
    num_pairs: ArrayLike, values: Mapping[str, ArrayLike], ceilings: Mapping[str, float]
) -> Figure:
    """Draw measures of reward models against the number of preferences that they learned from.

    Args:
        num_pairs: [N], ascending.
        values: name -> [N, S], one per seed; the mean is drawn as a line.
        ceilings: the highest possible value, where it is below 1.
    """
    x = np.asarray(num_pairs, dtype=np.float64)
    figure, axes = new_figure(4.6, 3.4)
    for k, (name, table) in enumerate(values.items()):
        each, colour = np.asarray(table, dtype=np.float64), PALETTE[k % len(PALETTE)]
        for seed in each.T:
            axes.plot(x, seed, "o", color=colour, markersize=3, alpha=0.4, markeredgewidth=0)
        mean = each.mean(axis=1)
        axes.plot(x, mean, color=colour, linestyle=_DASHES[k % len(_DASHES)], label=name)
        if name in ceilings:
            label = f"ceiling of the accuracy, {ceilings[name]:.3f}"
            axes.axhline(ceilings[name], color=colour, linestyle=(0, (6, 3)), linewidth=1.0)
            axes.annotate(
                label, (x[0], ceilings[name]), xytext=(0, 3), textcoords="offset points", fontsize=8
            )
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{int(n):,}" for n in x], fontsize=8)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_ylim(0.5, 1.0)
    axes.set_xlabel("training preferences")
    axes.set_ylabel("share of pairs ordered correctly")
    figure.suptitle("Reward models trained on noisy preferences", fontsize=10)
    figure.legend(loc="outside lower center", ncols=1, fontsize=8, frameon=False, handlelength=2.6)
    return figure


@dataclass(frozen=True)
class Panel:
    """One reward model among small multiples."""

    title: str
    exact: Sequence[Sequence[RewardCurve]]  # families of frontiers, one frontier per seed
    trained: RewardCurve | None = None


def overoptimisation_grid(panels: Sequence[Panel], *, title: str) -> Figure:
    """Draw gold and proxy reward against sqrt(KL), one panel per reward model.

    The first curve of each family is drawn thick, its other seeds thin.
    """
    figure = Figure(figsize=(2.5 * len(panels) + 0.5, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    names: list[str] = []
    for axes, panel in zip(grid, panels, strict=True):
        _dress(axes)
        axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        axes.set_title(panel.title, fontsize=9)
        axes.set_xlabel("distance sqrt(KL), nats$^{1/2}$", fontsize=9)
        for family, dashes in zip(panel.exact, _DASHES, strict=False):
            for seed, curve in enumerate(family):
                _draw_frontier(axes, curve, dashes, thick=seed == 0)
            if family[0].name not in names:
                names.append(family[0].name)
        if panel.trained is not None:
            _draw_trained(axes, panel.trained)
        axes.set_xlim(left=0.0)
    handles = [
        Line2D([], [], color="0.2", linestyle=dashes, label=name)
        for name, dashes in zip(names, _DASHES, strict=False)
    ]
    marks = [panel.trained.name for panel in panels if panel.trained is not None]
    if marks:
        handles.append(
            Line2D([], [], color="0.6", marker="o", linestyle="none", label=marks[0], **_MARK)
        )
    handles += [
        Line2D([], [], color=PROXY, linewidth=3, label="proxy: the reward model"),
        Line2D([], [], color=GOLD, linewidth=3, label="gold: the true reward"),
    ]
    figure.supylabel("reward, standard deviations of the reference", fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


@dataclass(frozen=True)
class TrainingCurve:
    """The metrics of a policy's training, per update."""

    name: str
    updates: ArrayLike  # [E]
    score: ArrayLike  # [E], the trained reward, in standard deviations under the reference
    kl: ArrayLike  # [E], nats per response


def training_figure(curves: Sequence[TrainingCurve], *, title: str) -> Figure:
    """Draw the trained reward and the KL divergence from the reference against updates.

    Curves of the same name are seeds; the first is drawn thick, the others thin.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    figure = Figure(figsize=(6.2, 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True)
    for axes, what in ((left, "score"), (right, "kl")):
        _dress(axes)
        drawn: set[str] = set()
        for curve in curves:
            k, first = names.index(curve.name), curve.name not in drawn
            drawn.add(curve.name)
            axes.plot(
                np.asarray(curve.updates),
                np.asarray(getattr(curve, what)),
                color=PALETTE[k % len(PALETTE)],
                linestyle=_DASHES[k % len(_DASHES)],
                linewidth=1.6 if first else 0.8,
                alpha=1.0 if first else 0.6,
                label=curve.name if first and what == "score" else "_",
            )
        axes.set_xlim(left=0)
        axes.set_xlabel("updates", fontsize=9)
    left.set_ylabel("trained reward, standard deviations", fontsize=9)
    right.set_ylabel("KL from the reference, nats", fontsize=9)
    right.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False, handlelength=2.6)
    return figure


def _dress(axes: Axes) -> None:
    """Apply the common style to one of several axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


_MARK: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "black", "markeredgewidth": 0.6}


def _draw_frontier(
    axes: Axes, curve: RewardCurve, dashes: tuple[int, tuple[float, ...]], *, thick: bool
) -> None:
    d = np.sqrt(np.asarray(curve.kl))
    width, alpha = (1.7, 1.0) if thick else (0.7, 0.45)
    style: dict[str, Any] = {"linestyle": dashes, "linewidth": width, "alpha": alpha}
    if curve.proxy is not None:
        axes.plot(d, curve.proxy, color=PROXY, **style)
    axes.plot(d, curve.gold, color=GOLD, **style)


def _draw_trained(axes: Axes, curve: RewardCurve) -> None:
    d: NDArray[np.float64] = np.sqrt(np.asarray(curve.kl))
    if curve.proxy is not None:
        axes.plot(d, curve.proxy, "o", color=PROXY, zorder=4, **_MARK)
    axes.plot(d, np.asarray(curve.gold), "o", color=GOLD, zorder=4, **_MARK)
    write_labels(axes, curve)


def _plain_log(axes: Axes, which: str) -> None:
    """Put ticks at 1, 2 and 5 times each power of ten, written as plain numbers."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
