"""What a run reports while it works, and how it may end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlkit.errors import RlkitError


class Stopped(RlkitError):
    """The process was asked to stop, and everything was saved first."""


@dataclass(frozen=True)
class Failure:
    """Why one seed cannot go on."""

    seed: int
    message: str
    exit_code: int


@dataclass(frozen=True)
class Reports:
    """Where training tells what is happening.

    Args:
        begin: (what, number of seeds, steps of each) before the first step; steps are those of
            the environment, or updates in a run that has none.
        progress: (seeds, steps of each) now and then.
        note: a sentence for the user.
        caveat: a sentence that belongs beside the results.
        irreproducible: a sentence on why the run is not reproducible, which also marks it.
        stop: whether to save and stop now.
    """

    progress: Callable[[Sequence[int], int], None] = lambda seeds, steps: None
    note: Callable[[str], None] = lambda text: None
    stop: Callable[[], bool] = lambda: False
    begin: Callable[[str, int, int], None] = lambda label, seeds, steps: None
    irreproducible: Callable[[str], None] = lambda text: None
    caveat: Callable[[str], None] = lambda text: None
