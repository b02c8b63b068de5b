"""Figures of tuning: the trials in their order, and the score against each option."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rlkit.analysis.figure import (
    PALETTE,
    draw_references,
    legend_below,
    new_figure,
    own_style,
    plain,
)
from rlkit.analysis.learning_curves import Reference
from rlkit.training.figures import save
from rlkit.training.tuning.spaces import Choices
from rlkit.training.tuning.study import FIGURES, TUNED, Study, best_so_far
from rlkit.training.tuning.trials import FAILED, FINISHED, STOPPED, Trial

_FINISHED, _CONFIRMED, _STOPPED = PALETTE[0], PALETTE[1], "0.55"
_COLUMNS = 3  # of the figure of options


def write_figures(study: Study) -> None:
    """Draw the trials, and their scores against each option, in the folder of the study."""
    for name, draw in zip(FIGURES, (trials_figure, options_figure), strict=True):
        save(draw(study), study.folder / name)


@own_style()
def trials_figure(study: Study) -> Figure:
    """Draw each trial's mean with its interval, the best bound so far, and the confirmation."""
    figure, axes = new_figure(5.6, 3.4)
    for trial in study.trials:
        if trial.interval is not None and trial.state == FINISHED:
            x = [trial.number] * 2
            axes.plot(x, [trial.interval.low, trial.interval.high], color=_FINISHED, alpha=0.35)
    for label, mark in _marks().items():
        known = [trial for trial in study.trials if trial.state == label]
        heights = [_height(trial, study) for trial in known]
        mark.set_data([trial.number for trial in known], heights)
        mark.set_label(f"{_LABELS[label]}: {len(known)}")
        axes.add_line(mark)
    best = [(n, b) for n, b in enumerate(best_so_far(study.trials)) if b is not None]
    bounds = [b.interval.low for _, b in best if b.interval is not None]
    axes.step(
        [n for n, _ in best], bounds, where="post", color=_FINISHED, label="best lower end so far"
    )
    if study.comparison is not None:
        for k, (name, interval) in enumerate(study.comparison.intervals().items()):
            colour = _CONFIRMED if name == TUNED else PALETTE[2 + k]
            label = f"{name}, fresh seeds"
            axes.axhline(
                interval.estimate,
                color=colour,
                linestyle=(0, (5, 2)),
                label=f"{plain(label)}: {interval.estimate:.4g}",
                zorder=1.5,
            )
            if np.isfinite(interval.low):
                axes.axhspan(interval.low, interval.high, color=colour, alpha=0.12, linewidth=0)
        if study.comparison.optimum is not None:
            draw_references(axes, [Reference("optimum", study.comparison.optimum)])
    axes.autoscale_view()
    axes.set_xlabel("trial")
    axes.set_ylabel("episode return, mean over seeds")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    title = f"{study.spec.agent_name} on {study.environment_name}"
    figure.suptitle(plain(title), fontsize=10, wrap=True)
    legend_below(figure, axes)
    return figure


def options_figure(study: Study) -> Figure:
    """Draw the score of the trials against each option that is searched."""
    names = list(study.space)
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.1 * columns + 0.4, 1.75 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for name, axes in zip(names, grid.flat, strict=False):
        _draw_option(axes, name, study)
    for row in grid:
        row[0].set_ylabel("return", fontsize=8)
    handles = [
        mark for label, mark in _marks().items() if any(t.state == label for t in study.trials)
    ]
    figure.legend(
        handles,
        [_LABELS[label] for label in _marks() if any(t.state == label for t in study.trials)],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    return figure


_LABELS = {
    FINISHED: "finished, 90 % interval",
    STOPPED: "stopped early",
    FAILED: "failed",
}


def _marks() -> dict[str, Line2D]:
    """Return the marker of each state."""
    about: dict[str, dict[str, Any]] = {
        FINISHED: {"marker": "o", "color": _FINISHED},
        STOPPED: {"marker": "o", "color": _STOPPED, "markerfacecolor": "none"},
        FAILED: {"marker": "x", "color": "black"},
    }
    return {
        state: Line2D([], [], linestyle="none", markersize=4, **kind)
        for state, kind in about.items()
    }


def _height(trial: Trial, study: Study) -> float:
    """Return where a trial is drawn: a failed one at the bottom."""
    if trial.interval is not None:
        return trial.interval.estimate
    known = [t.interval.estimate for t in study.trials if t.interval is not None]
    return min(known, default=0.0)


def _draw_option(axes: Axes, name: str, study: Study) -> None:
    values = study.space[name]
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.7)
    axes.tick_params(labelsize=7)
    axes.set_title(plain(name), fontsize=8)
    for state, mark in _marks().items():
        known = [trial for trial in study.trials if trial.state == state]
        if isinstance(values, Choices):
            places = [float(values.position(trial.params[name])) for trial in known]
        else:
            places = [float(trial.params[name]) for trial in known]
        mark.set(markersize=3.5, alpha=0.7)
        mark.set_data(places, [_height(trial, study) for trial in known])
        axes.add_line(mark)
    if isinstance(values, Choices):
        labels = [plain(_short(value)) for value in values.values]
        axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 4 else 0)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    else:
        axes.set_xscale("log" if values.log else "linear")
        axes.set_xlim(values.low, values.high)
    axes.autoscale_view(scalex=False)


def _short(value: Any) -> str:
    return " ".join(map(str, value)) or "()" if isinstance(value, tuple) else str(value)
