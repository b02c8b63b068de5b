"""Learning curves of runs, with reference lines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from rlkit.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.plots import Curve


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

    def as_curve(self) -> Curve: ...


def plot_runs(
    runs: Sequence[Drawable], path: str | Path | None = None, *, names: Sequence[str] | None = None
) -> Figure:
    """Draw the learning curves of runs on one environment, with reference lines.

    Only the folders of the runs are needed.

    Args:
        runs: at least one.
        path: where to save the figure, if given.
        names: of the curves; by default agents, or folders where agents are equal.
    """
    from rlkit.analysis.plots import Reference, learning_curve_figure

    for run in runs:
        if not run.curve.size:
            raise UsageError(f"the run {run.folder} has no rows to draw yet")
    agents = [run.agent for run in runs]
    if names is None:
        names = [run.folder.name if agents.count(run.agent) > 1 else run.agent for run in runs]
    curves = [
        dataclasses.replace(run.as_curve(), name=name)
        for run, name in zip(runs, names, strict=True)
    ]
    title = ", ".join(dict.fromkeys(run.environment_name for run in runs))
    same = len({environment_key(run.record) for run in runs}) == 1
    lines = runs[0].references if same else []
    figure = learning_curve_figure(
        curves,
        title=title,
        references=[Reference(label, value) for label, value in lines],
        footnotes=caveats(runs),
    )
    if path is not None:
        save(figure, path)
    return figure


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
    names = ("environment", "environment_source", "environment_details", "env_args")
    return json.dumps([record.get(name) for name in names], sort_keys=True)


def caveats(runs: Sequence[Drawable]) -> list[str]:
    """Return the caveats of all runs, each once."""
    return list(dict.fromkeys(text for run in runs for text in run.caveats))
