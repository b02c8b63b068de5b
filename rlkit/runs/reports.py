"""What a run reports during training, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from numpy.typing import NDArray

from rlkit.errors import RlkitError

# Keyboard, batch system, lost terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal.

    It is not an `Exception`, so that a loop over many runs that catches those ends as well.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Stopped(RlkitError):
    """The process was asked to stop, and everything was saved first."""

    kept = "everything is saved"


class WatchError(RlkitError):
    """What watches a run failed, and everything was saved first."""


@dataclass(frozen=True)
class Failure:
    """Why one seed cannot be continued."""

    seed: int
    message: str
    exit_code: int
    trace: str = ""  # the traceback of the user's code that raised


Rows = Mapping[str, NDArray[Any]]  # the columns of one row of some seeds, float64 [S] each


class Watch(Protocol):
    """What the rows of all seeds are handed to, wherever these are trained.

    `decides` is whether it may end the run: then every seed asks after each evaluation, and no
    seed trains past an evaluation before all seeds have arrived there.
    """

    @property
    def decides(self) -> bool: ...

    def add(self, seeds: Sequence[int], steps: int, rows: Rows) -> None:
        """Take the rows of some seeds at a step; those of each seed come in order."""

    def fail(self, seeds: Sequence[int]) -> None:
        """Wait no longer for seeds that cannot be continued."""

    def verdict(self, steps: int) -> bool | None:
        """Return whether the run ends at this step; None as long as that is not known.

        In a worker, wait until it is known; None is then that the worker is to stop.
        """


@dataclass(frozen=True)
class Reports:
    """Where training reports what is happening.

    Args:
        begin: (what, number of seeds, steps of each) before the first step; steps are those of
            the environment, or updates in a run that has none.
        progress: (seeds, steps of each) now and then.
        note: a sentence for the user.
        status: a few numbers on where training stands, beside its progress.
        caveat: a sentence that belongs beside the results.
        irreproducible: a sentence on why the run is not reproducible, which also marks it.
        stop: whether to save and stop now; the signal that asked for it, if one did.
        watch: what the rows are handed to, if anything.
    """

    progress: Callable[[Sequence[int], int], None] = lambda seeds, steps: None
    note: Callable[[str], None] = lambda text: None
    stop: Callable[[], int] = lambda: False
    begin: Callable[[str, int, int], None] = lambda label, seeds, steps: None
    irreproducible: Callable[[str], None] = lambda text: None
    caveat: Callable[[str], None] = lambda text: None
    status: Callable[[str], None] = lambda text: None
    watch: Watch | None = None


class StopSignals:
    """Remembers a signal that asks to stop, so that the loop saves; a second one stops at once.

    Args:
        again_after: seconds in which further signals count as the first: one that is sent to all
            processes reaches a worker twice, because its parent hands it on.
    """

    def __init__(self, *, again_after: float = 0.0) -> None:
        self.received: int | None = None
        self._again_after, self._since = again_after, 0.0

    def __call__(self) -> int:
        return self.received or 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since >= self._again_after:
            raise Interrupted(number, "stopped at once; the last checkpoints are intact")

    @contextlib.contextmanager
    def watched(self) -> Iterator[StopSignals]:
        """Listen until the end of the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {
            number: signal.signal(number, self._receive)
            for number in STOP_SIGNALS
            if not _is_nohup(number)
        }
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def _is_nohup(number: int) -> bool:
    """Return whether the process was started to outlive its terminal, as by `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
