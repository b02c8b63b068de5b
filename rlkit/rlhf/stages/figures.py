"""The curves of stages: score, divergence, length and losses over updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.errors import UsageError
from rlkit.rlhf.stages.score_sources import PREFIX
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.record import ALIAS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn where a run has it, at most nine, in this order.
PANELS = {
    "score": "score",
    "kl": "KL from the reference, nats",
    "response_length": "response length, tokens",
    "ended_fraction": "share of responses that end",
    "entropy": "entropy, nats per token",
    "loss": "loss",
    "held_out_loss": "held-out loss",
    "accuracy": "accuracy, minibatches",
    "held_out_accuracy": "held-out accuracy",
    "chosen_log_prob": "log-probability of chosen, nats",
    "rejected_log_prob": "log-probability of rejected, nats",
}
MOST_PANELS = 9


def plot_stages(runs: Sequence[StageRun], path: str | Path | None = None) -> Figure:
    """Draw the metrics of runs of stages, one panel each: the mean over seeds, and each seed.

    Args:
        runs: at least one.
        path: where to save the figure, if given.

    Raises:
        UsageError: no run has a row yet.
    """
    from matplotlib.figure import Figure

    from rlkit.analysis.figure import DASHES, PALETTE, save_figure

    titles = _titles(runs)
    styles: list[dict[str, Any]] = [
        {"color": PALETTE[k % len(PALETTE)], "linestyle": DASHES[k % len(DASHES)]}
        for k in range(len(runs))
    ]
    names = [name for name in titles if any(_has(run, name) for run in runs)][:MOST_PANELS]
    if not names:
        raise UsageError(f"plot: {runs[0].folder} has no row yet; wait for the first updates")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.6 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, name in zip(axes, names, strict=False):
        panel.set_title(titles[name], fontsize=10)
        panel.set_xlabel("updates", fontsize=9)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.25)
        for k, run in enumerate(runs):
            if _has(run, name):
                _draw(panel, run, name, **styles[k])
    for panel in axes[len(names) :]:
        panel.set_visible(False)
    handles = [
        axes[0].plot([], [], **styles[k], label=_label(run, runs))[0] for k, run in enumerate(runs)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def _titles(runs: Sequence[StageRun]) -> dict[str, str]:
    """Return the titles of the panels; the parts of a weighted score follow their sum."""
    columns = [name for run in runs for each in run.columns for name in each]
    parts = {name: f"{name}, unweighted" for name in columns if name.startswith(PREFIX)}
    return {"score": PANELS["score"], **parts, **PANELS}


def _has(run: StageRun, name: str) -> bool:
    return any(np.isfinite(columns.get(name, np.nan)).any() for columns in run.columns)


def _label(run: StageRun, runs: Sequence[StageRun]) -> str:
    alone = [other.stage for other in runs].count(run.stage) == 1
    name = f"{run.stage} on {run.label}" if alone else run.folder.name
    if alias := run.record.get(ALIAS):  # the name that its user gave it
        name = f"{alias}: {run.stage} on {run.label}"
    return f"{name}, n = {len(run.seeds)}"


def _draw(axes: Axes, run: StageRun, name: str, **style: Any) -> None:
    x, values = run.metric(name)
    measured = np.isfinite(values).any(axis=0)
    x, values = x[measured], values[:, measured]
    marker = "o" if x.size == 1 else ""
    if len(values) > 1:
        for seed in values:
            axes.plot(x, seed, **style, linewidth=0.6, alpha=0.4)
    axes.plot(x, np.nanmean(values, axis=0), **style, linewidth=1.6, marker=marker)
