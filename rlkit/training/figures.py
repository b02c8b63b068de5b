"""Learning curves of runs, with reference lines.

Importing this module is quick, so that a command can start the process that draws first of all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rlkit.errors import UsageError
from rlkit.processes.starting import warm_process, warm_up

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rlkit.analysis.learning_curves import Curve


# The process that draws imports matplotlib while this one starts and trains.
_MODULES = ("rlkit.analysis.plots",)
_started: list[tuple[str, ...]] = []  # what the process imports, once it was started


class Drawable(Protocol):
    """The parts of a run that are drawn."""

    folder: Path
    record: dict[str, Any]

    @property
    def agent(self) -> str: ...

    @property
    def environment_name(self) -> str: ...

    @property
    def curve(self) -> NDArray[Any]: ...

    @property
    def references(self) -> list[tuple[str, float]]: ...

    @property
    def caveats(self) -> list[str]: ...

    @property
    def is_bandit(self) -> bool: ...

    def as_curve(self, *, regret: bool = False) -> Curve: ...

    def plot(self, path: Path) -> object: ...


# The entries of a record that say which environment a run is on.
ENVIRONMENT_ENTRIES = ("environment", "environment_source", "environment_details", "env_args")
MOST_CURVES = 20  # in one figure; more cannot be told apart


def plot_runs(
    runs: Sequence[Drawable],
    path: str | Path | None = None,
    *,
    names: Sequence[str] | None = None,
    regret: bool = False,
    lines: Sequence[tuple[str, float]] = (),
    footnotes: Sequence[str] = (),
) -> Figure:
    """Draw the learning curves of runs on one environment, with reference lines.

    Only the folders of the runs are needed.

    Args:
        runs: at least one.
        path: where to save the figure, if given.
        names: of the curves; by default agents, or folders where agents are equal.
        regret: draw `Run.regret` instead of returns.
        lines: further returns to compare with, by name, drawn in colours of their own.
        footnotes: beside those of the runs.

    Raises:
        UsageError: a run has no rows yet; of regret, where the optimum is not known, or for
            bandits and other environments in one figure.
    """
    from rlkit.analysis.learning_curves import Reference

    content = content_of(runs, names=names, regret=regret)
    for k, (label, value) in enumerate(lines, len(runs)):
        content["references"].append(Reference(label, value, curve=k))
    content["footnotes"] = [*content["footnotes"], *footnotes]
    figure = draw(content)
    if path is not None:
        save(figure, path)
    return figure


def content_of(
    runs: Sequence[Drawable], *, names: Sequence[str] | None = None, regret: bool = False
) -> dict[str, Any]:
    """Return what `plot_runs` draws, as arguments of `learning_curve_figure`."""
    from rlkit.analysis.learning_curves import Reference

    if len(runs) > MOST_CURVES:
        raise UsageError(
            f"a figure shows at most {MOST_CURVES} runs, got {len(runs)}; the seeds of one "
            "configuration belong into one run (--seeds), which is one curve with an interval"
        )
    for run in runs:
        if not run.curve.size:
            raise UsageError(f"the run {run.folder} has no rows to draw yet")
    agents = [run.agent for run in runs]
    if names is None:
        names = [run.folder.name if agents.count(run.agent) > 1 else run.agent for run in runs]
    curves = [
        dataclasses.replace(run.as_curve(regret=regret), name=name)
        for run, name in zip(runs, names, strict=True)
    ]
    title = ", ".join(dict.fromkeys(run.environment_name for run in runs))
    same = len({environment_key(run.record) for run in runs}) == 1
    lines = runs[0].references if same else []
    label = "episode return"
    if regret:
        label, lines = _regret_label(runs), _regret_lines(runs[0], lines)
    return {
        "curves": curves,
        "title": title,
        "y_label": label,
        "references": [Reference(label, value) for label, value in lines],
        "footnotes": caveats(runs),
    }


def draw(content: Mapping[str, Any], path: Path | None = None) -> Figure:
    """Draw what `content_of` returned; with a path, save it there."""
    from rlkit.analysis.plots import learning_curve_figure

    figure = learning_curve_figure(**content)
    if path is not None:
        save(figure, path)
    return figure


def _regret_label(runs: Sequence[Drawable]) -> str:
    if len({run.is_bandit for run in runs}) > 1:
        raise UsageError(
            "regret is summed over the episodes of training in bandits, and is that of the policy "
            "of the moment elsewhere: draw them in two figures"
        )
    return "cumulative regret" if runs[0].is_bandit else "regret: optimum − return"


def _regret_lines(run: Drawable, lines: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return the regret of a random policy, where it is the same at every point."""
    values = dict(lines)
    if run.is_bandit or not {"optimum", "random"} <= set(values):
        return []
    return [("random", values["optimum"] - values["random"])]


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file.

    Raises:
        UsageError: the suffix is unknown, or the file cannot be written.
    """
    from rlkit.analysis.figure import save_figure

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(
            f"the figure {path} cannot be written: {error.strerror or error}; choose another place"
        ) from error


def environment_key(record: Mapping[str, Any]) -> str:
    """Return a key that is equal only for runs on the same environment."""
    return json.dumps([record.get(name) for name in ENVIRONMENT_ENTRIES], sort_keys=True)


def caveats(runs: Sequence[Drawable]) -> list[str]:
    """Return the caveats of all runs, each once."""
    return list(dict.fromkeys(text for run in runs for text in run.caveats))


def start_drawing(modules: tuple[str, ...] = ()) -> None:
    """Start the process that draws, and imports modules of workers as well.

    For programs of our own: it imports the main module again.
    """
    if not _started:
        _started.append((*modules, *_MODULES))
        warm_up(_started[0])


def save_curve(run: Drawable, path: Path) -> None:
    """Draw the learning curve of a run and save it: in the other process, if it was started."""
    if not (_started and warm_process(draw_quietly, content_of([run]), path)):
        run.plot(path)


def draw_quietly(content: dict[str, Any], path: Path) -> None:
    """Draw and save, or end with exit code 1: the caller draws again, and raises what is raised."""
    with contextlib.suppress(Exception):
        draw(content, path)
        return
    raise SystemExit(1)
