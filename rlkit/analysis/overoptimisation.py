"""Over-optimisation of a proxy reward: the gold reward against the distance from the reference.

With d = sqrt(KL(policy || reference)), Gao, Schulman and Hilton (2023), arXiv 2210.10760, find

    gold(d) = d (a - b d)         best of n,
    gold(d) = d (a - b log d)     reinforcement learning,

in units of the gold reward's deviation under the reference, where gold(0) = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.plots import PALETTE, new_figure

GOLD, PROXY = PALETTE[4], PALETTE[0]


class Fit(NamedTuple):
    """Least squares of a law with two constants."""

    a: float
    b: float
    r_squared: float  # 1 - residual over total sum of squares, at most 1


def fit_square_law(distance: ArrayLike, gold: ArrayLike) -> Fit:
    """The best a and b of gold = d (a - b d)."""
    d = _distances(distance)
    return _fit(np.column_stack([d, -(d**2)]), gold)


def fit_logarithmic_law(distance: ArrayLike, gold: ArrayLike) -> Fit:
    """The best a and b of gold = d (a - b log d); d = 0 counts as its limit, 0."""
    d = _distances(distance)
    return _fit(np.column_stack([d, -d * np.log(np.where(d > 0, d, 1.0))]), gold)


def _distances(distance: ArrayLike) -> NDArray[np.float64]:
    d = np.asarray(distance, dtype=np.float64)
    if d.ndim != 1 or len(d) < 3 or not (np.isfinite(d).all() and (d >= 0).all()):
        raise ValueError(
            "fitting an over-optimisation law: expected at least three distances >= 0, got "
            f"{d.tolist() if d.size < 10 else d.shape}"
        )
    return d


def _fit(columns: NDArray[np.float64], gold: ArrayLike) -> Fit:
    y = np.asarray(gold, dtype=np.float64)
    (a, b), *_ = np.linalg.lstsq(columns, y, rcond=None)
    residual = ((y - columns @ np.array([a, b])) ** 2).sum()
    return Fit(float(a), float(b), float(1.0 - residual / ((y - y.mean()) ** 2).sum()))


@dataclass(frozen=True)
class Path:
    """A family of policies that go further and further from the reference."""

    name: str
    kl: ArrayLike  # [M], nats
    proxy: ArrayLike | None  # [M], the reward that was optimised; None where it is gold itself
    gold: ArrayLike  # [M]
    labels: Sequence[str] = field(default=())  # [M], written beside points


def overoptimisation_figure(
    exact: Sequence[Path], trained: Sequence[Path] = (), *, title: str
) -> Figure:
    """Gold and proxy reward against the square root of the KL divergence.

    Args:
        exact: frontiers that are known exactly, drawn as lines.
        trained: policies that were trained, drawn as marks with their labels.
        title: above the figure.
    """
    figure, axes = new_figure(5.4, 3.9)
    dashes: list[Any] = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5))]
    handles = []
    for path, dash in zip(exact, dashes, strict=False):
        d = np.sqrt(np.asarray(path.kl))
        if path.proxy is None:
            axes.plot(d, path.gold, color="0.45", linestyle=dash, linewidth=1.2)
            handles.append(Line2D([], [], color="0.45", linestyle=dash, label=path.name))
            continue
        axes.plot(d, path.proxy, color=PROXY, linestyle=dash, linewidth=1.3)
        axes.plot(d, path.gold, color=GOLD, linestyle=dash, linewidth=1.6)
        handles.append(Line2D([], [], color="0.2", linestyle=dash, label=path.name))
    for path, mark in zip(trained, "os^D", strict=False):
        d = np.sqrt(np.asarray(path.kl))
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": mark,
            "markersize": 5,
            "markeredgecolor": "black",
            "markeredgewidth": 0.6,
        }
        if path.proxy is not None:
            axes.plot(d, path.proxy, color=PROXY, zorder=4, **style)
        axes.plot(d, path.gold, color=GOLD, zorder=4, **style)
        handles.append(Line2D([], [], color="0.6", label=path.name, **style))
        write_labels(axes, path)
    handles += [
        Line2D([], [], color=PROXY, linewidth=3, label="proxy: the reward model"),
        Line2D([], [], color=GOLD, linewidth=3, label="gold: what was meant"),
    ]
    axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("distance from the reference, sqrt(KL) in nats$^{1/2}$")
    axes.set_ylabel("reward, deviations under the reference")
    figure.suptitle(title, fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def write_labels(axes: Axes, path: Path) -> None:
    """What each mark of a path is called, below the lower one of its two."""
    lowest = np.asarray(path.gold)
    if path.proxy is not None:
        lowest = np.minimum(lowest, np.asarray(path.proxy))
    for x, y, text in zip(np.sqrt(np.asarray(path.kl)), lowest, path.labels, strict=False):
        axes.annotate(
            text, (x, y), textcoords="offset points", xytext=(0, -11), fontsize=7, ha="center"
        )
