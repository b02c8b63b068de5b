"""Figures over seeds: learning curves with bands, and final performance of several agents."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.figure import (
    DASHES,
    PALETTE,
    draw_references,
    legend_below,
    new_figure,
    own_style,
    plain,
    save_figure,
    shortened,
    write_footnotes,
)
from rlkit.analysis.learning_curves import Curve, Reference
from rlkit.analysis.statistics import CurveBand, curve_band, iqm_interval, mean_interval

__all__ = [
    "PALETTE",
    "Curve",
    "Reference",
    "comparison_figure",
    "learning_curve_figure",
    "new_figure",
    "save_figure",
]

_MARKERS = "os^Dv"
_WIDTH = 4.6  # inches; text of 9 points stays readable when shrunk to a column of 3.3


@own_style()
def learning_curve_figure(
    curves: Sequence[Curve],
    *,
    title: str,
    y_label: str = "episode return",
    references: Sequence[Reference] = (),
    footnotes: Sequence[str] = (),
) -> Figure:
    """Draw the mean over seeds against environment steps, its 95 % band and each seed as a line.

    The band is `curve_band`, a pointwise interval. Where some seeds have no value at the end (they
    failed or stopped early), the legend says so: "n = 9 of 10".

    Raises:
        ValueError: no curves, or x and returns of a curve have different shapes.
    """
    if not curves:
        raise ValueError(f"drawing learning curves {title!r}: no curves; pass at least one Curve")
    figure, axes = new_figure(_WIDTH, 3.3)
    for k, curve in enumerate(curves):
        x, returns = _checked(curve)
        _draw_curve(axes, curve.name, x, returns, k, few=len(curves) <= 4)
    draw_references(axes, references)
    _limit_y(axes, curves, references)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    axes.set_xlabel("environment steps per seed")
    axes.set_ylabel(plain(y_label))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend_below(figure, axes)
    write_footnotes(figure, footnotes, 84)
    return figure


@own_style()
def comparison_figure(
    scores: Mapping[str, ArrayLike],
    *,
    title: str,
    x_label: str = "final episode return",
    references: Sequence[Reference] = (),
    footnotes: Sequence[str] = (),
    never: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Draw final performance, one row per agent: a dot per seed, mean with 95 % interval, IQM.

    Args:
        scores: agent name -> `[S]`; nan marks a failed seed, which is omitted and counted in the
            agent's label ("n = 9 of 10").
        never: agent name -> bool `[S]`, the seeds that never got there: their scores are a limit,
            drawn as hollow arrows and counted in the agent's label.
    """
    if not scores:
        raise ValueError(f"drawing the comparison {title!r}: no agents; pass name -> scores [S]")
    figure, axes = new_figure(_WIDTH, 1.25 + 0.5 * len(scores) + 0.16 * len(references))
    labels = []
    for row, (name, values) in enumerate(scores.items()):
        x = np.asarray(values, dtype=np.float64)
        if x.ndim != 1:
            raise ValueError(
                f"drawing the comparison {title!r}, agent {name!r}: expected one score per seed, "
                f"shape [S], got {x.shape}; average the episodes of each seed first"
            )
        finite = x[np.isfinite(x)]
        beyond = np.zeros(len(x), dtype=np.bool_) if never is None else np.asarray(never[name])
        missed = f", {int(beyond.sum())} never" if beyond.any() else ""
        labels.append(f"{plain(shortened(name, 30))}\n{_seed_count(len(finite), len(x))}{missed}")
        if len(finite):
            _draw_scores(axes, finite, row, beyond[np.isfinite(x)])
    draw_references(axes, references, horizontal=False)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    axes.set_xlabel(plain(x_label))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if np.abs(axes.get_xlim()).max() >= 1e4:  # long labels would run into each other
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y", visible=False)
    legend_below(figure, axes, _score_handles(any_never=never is not None))
    write_footnotes(figure, footnotes, 66)
    return figure


def _checked(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.asarray(curve.num_env_steps, dtype=np.float64)
    returns = np.asarray(curve.returns, dtype=np.float64)
    if x.ndim != 1 or returns.ndim != 2 or returns.shape[1] != x.size or returns.size == 0:
        raise ValueError(
            f"drawing the learning curve of {curve.name!r}: expected num_env_steps [E] and returns "
            f"[S, E] with S, E >= 1, got {x.shape} and {returns.shape}; align_curves puts seeds "
            "on one x axis"
        )
    numbers = np.isfinite(returns).any(axis=0)
    if numbers.sum() == 1:  # a line needs two; one is drawn as a point
        return x[numbers], returns[:, numbers]
    return x, returns


def _draw_curve(
    axes: Axes, name: str, x: NDArray[np.float64], returns: NDArray[np.float64], k: int, few: bool
) -> None:
    colour, dashes = PALETTE[k % len(PALETTE)], DASHES[k % len(DASHES)]
    band: CurveBand = curve_band(np.where(np.isfinite(returns), returns, np.nan))
    marker = "o" if x.size == 1 else ""
    for seed in returns:
        axes.plot(
            x,
            seed,
            color=colour,
            linewidth=0.5,
            alpha=0.35 if few else 0.2,
            marker=marker,
            markersize=2.5,
            zorder=2,
            label="_seed",
        )
    if x.size == 1:
        reach = np.abs(np.stack([band.mean - band.low, band.high - band.mean]))
        axes.errorbar(x, band.mean, reach, color=colour, capsize=3, linewidth=1.2, zorder=3)
    else:
        axes.fill_between(x, band.low, band.high, color=colour, alpha=0.2, linewidth=0, zorder=1)
    num_left = int(np.isfinite(returns[:, -1]).sum())
    label = f"{plain(shortened(name, 56))} ({_seed_count(num_left, len(returns))})"
    axes.plot(
        x,
        band.mean,
        color=colour,
        linestyle=dashes,
        linewidth=1.8,
        marker=marker,
        label=label,
        zorder=4,
    )


def _limit_y(axes: Axes, curves: Sequence[Curve], references: Sequence[Reference]) -> None:
    """Scale y to the seeds, not to the band, which visibly leaves the axes where it is wider.

    With 2 seeds the band spans ±13 standard errors and would flatten the curves.
    """
    values = np.concatenate([np.asarray(c.returns, dtype=np.float64).ravel() for c in curves])
    values = values[np.isfinite(values)]
    # A distant line, such as a random policy that hardly ever finishes, is only in the legend.
    reach = 3 * np.ptp(values) if values.size else 0.0
    near = [
        reference.value
        for reference in references
        if not reach or values.min() - reach <= reference.value <= values.max() + reach
    ]
    values = np.append(values, near)
    if values.size and values.min() < values.max():
        room = 0.35 * (values.max() - values.min())
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, values.min() - room), min(high, values.max() + room))


def _draw_scores(axes: Axes, x: NDArray[np.float64], row: int, never: NDArray[np.bool_]) -> None:
    colour = PALETTE[row % len(PALETTE)]
    interval, middle = mean_interval(x), iqm_interval(x)
    # Seeds of equal score would hide each other: spread them vertically, in a fixed pattern.
    spread = (np.arange(len(x)) * 0.618 % 1 - 0.5) * 0.24
    height = row + 0.2 + spread
    axes.plot(
        x[~never],
        height[~never],
        _MARKERS[row % len(_MARKERS)],
        color=colour,
        alpha=0.5,
        markersize=4,
        markeredgewidth=0,
        linestyle="none",
        zorder=2,
        label="_seed",
    )
    if never.any():
        mark = _never_mark("_never", colour)
        mark.set_data(x[never], height[never])
        axes.add_line(mark)
    y = row - 0.14
    if np.isfinite(interval.low):
        axes.plot(
            [interval.low, interval.high],
            [y, y],
            color=colour,
            linewidth=4,
            alpha=0.35,
            zorder=3,
            solid_capstyle="butt",
            label="_interval",
        )
    axes.add_line(_mean_mark("_mean", colour, interval.estimate, y))
    axes.add_line(_iqm_mark("_iqm", colour, middle.estimate, y))


def _mean_mark(label: str, colour: str, *at: float) -> Line2D:
    """Return a bar across the interval, or a legend entry if there is no position."""
    mark = Line2D(at[:1], at[1:], marker="|", color=colour, linestyle="none", label=label, zorder=4)
    mark.set(markersize=12, markeredgewidth=2.2)
    return mark


def _iqm_mark(label: str, colour: str, *at: float) -> Line2D:
    mark = Line2D(at[:1], at[1:], marker="D", color="white", linestyle="none", label=label)
    mark.set(markeredgecolor=colour, markersize=5, zorder=5)
    return mark


def _never_mark(label: str, colour: str) -> Line2D:
    """Return a hollow arrow to the right, for a score that is only known to be larger."""
    mark = Line2D([], [], marker=">", color=colour, linestyle="none", label=label, zorder=2)
    mark.set(markersize=5, markerfacecolor="none", markeredgewidth=0.8)
    return mark


def _score_handles(*, any_never: bool = False) -> list[Line2D]:
    """Return legend entries for `_draw_scores`, in grey since each agent has its own colour."""
    grey = "0.4"
    return [
        Line2D([], [], marker="o", markersize=4, label="one seed", color=grey, linestyle="none"),
        *([_never_mark("a seed that never got there", grey)] if any_never else []),
        Line2D([], [], linewidth=4, alpha=0.45, label="95 % interval of the mean", color=grey),
        _mean_mark("mean", grey),
        _iqm_mark("interquartile mean", grey),
    ]


def _seed_count(num_left: int, num_seeds: int) -> str:
    return f"n = {num_left}" + (f" of {num_seeds}" if num_left < num_seeds else "")
