"""Progress reports: a bar on terminals and in notebooks, notes as warnings."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from rlkit.errors import RlkitWarning, printable
from rlkit.runs.reports import Reports

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(text: str) -> None:
    """Warn the caller of rlkit: the line that Python names is the caller's, not one of rlkit."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RlkitWarning, stacklevel=level)


class Bar:
    """A progress bar on the error stream, where that is a terminal or a notebook.

    Args:
        unit: what is counted.
    """

    def __init__(self, *, unit: str = "steps") -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit, markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # The bar may print what others print, above itself, only where both are one terminal:
            # what goes to a file or to a pipe is not to end on the terminal.
            redirect_stdout=_is_terminal(sys.stdout),
            disable=not (console.is_terminal or _shows_widgets(console)),
        )
        self._steps: dict[int, int] = {}

    def start(self) -> None:
        """Show the bar."""
        self._bar.start()

    def stop(self) -> None:
        """Remove the bar, if its terminal is still there."""
        with contextlib.suppress(OSError):
            self._bar.stop()

    def begin(self, label: str, num_seeds: int, num_steps: int) -> None:
        """Count the steps of a new run from 0."""
        self._steps = {}
        for task in list(self._bar.tasks):
            self._bar.remove_task(task.id)
        self._label = printable(label)
        self._task = self._bar.add_task(self._label, total=num_seeds * num_steps)

    def describe(self, status: str) -> None:
        """Show some numbers beside the label."""
        self._bar.update(self._task, description=f"{self._label}  {printable(status)}")

    def advance(self, seeds: Sequence[int], num_steps: int) -> None:
        """Update the steps of some seeds."""
        self._steps.update(dict.fromkeys(seeds, num_steps))
        self._bar.update(self._task, completed=sum(self._steps.values()))


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # one of the user's own, or closed
        return False


def _shows_widgets(console: Console) -> bool:
    """Return whether this is a notebook in which rich can show a bar."""
    return console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None


@contextlib.contextmanager
def reporting(
    note: Callable[[str], None], *, quiet: bool = False, unit: str = "steps"
) -> Iterator[Reports]:
    """Show a bar until the end of the block, unless `quiet`; hand notes to `note`."""
    if quiet:
        yield Reports(note=note)
        return
    bar = Bar(unit=unit)
    bar.start()
    try:
        yield Reports(progress=bar.advance, note=note, begin=bar.begin, status=bar.describe)
    finally:
        bar.stop()


@contextlib.contextmanager
def python_reports() -> Iterator[Reports]:
    """Report notes as warnings of the class RlkitWarning, and progress as a bar.

    Where warnings are errors, the first is raised at the end, so that no work is lost.
    """
    raised: list[RlkitWarning] = []

    def note(text: str) -> None:
        try:
            warn(text)
        except RlkitWarning as error:
            raised.append(error)

    with reporting(note) as reports:
        yield reports
    if raised:
        raise raised[0]
