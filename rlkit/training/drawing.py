"""Draws the figure of a run in another process, which imports matplotlib during training.

That import takes longer than a table is trained.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.runs.workers import warm_process, warm_up
from rlkit.training.figures import content_of, draw

if TYPE_CHECKING:
    from rlkit.training.run import Run

_MODULES = (__name__, "rlkit.analysis.plots", "scipy.special")
_started: list[tuple[str, ...]] = []  # what the process imports, once it was started


def start_drawing(modules: tuple[str, ...] = ()) -> None:
    """Start the process that draws, and imports modules of workers as well.

    For programs of our own: it imports the main module again.
    """
    if not _started:
        _started.append((*modules, *_MODULES))
        warm_up(_started[0])


def save_curve(run: Run, path: Path) -> None:
    """Draw the learning curve of a run and save it: in the other process, if it was started."""
    if not (_started and warm_process(draw_quietly, content_of([run]), path)):
        run.plot(path)


def draw_quietly(content: dict[str, Any], path: Path) -> None:
    """Draw and save, or end with exit code 1: the caller draws again, and raises what is raised."""
    with contextlib.suppress(Exception):
        draw(content, path)
        return
    raise SystemExit(1)
