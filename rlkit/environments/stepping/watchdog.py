"""Ends calls of an environment in this process that do not return.

A thread looks now and then whether the main thread is still in the same call. If so, after the
timeout or some seconds after the run was asked to stop, it sends a signal whose handler raises in
that call. Python code, and what waits for the system, ends that way. Compiled code that does not
return to Python cannot be ended: then the process is, and the checkpoints stay. Where such code
holds the interpreter's lock, even the thread stands still: only a process of its own helps
(--env-workers).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from rlkit.processes.calls import CALLS, NAMES, NOTHING, Abandoned, did_not_return

ENV_TIMEOUT = 60.0  # seconds that a call of an environment may take, by default
STOP_PATIENCE = 2.0  # seconds that a call may still take once the run was asked to stop
LAST_PATIENCE = 2.0  # seconds after which a call that ignores the signal is given up
_LOOK_EVERY = 0.25
# Hardly used by others, and it must not be one that means something to the run.
_SIGNAL = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2


class _Watchdog:
    """The thread that watches the calls of the main thread."""

    def __init__(self, timeout: float, stop: Callable[[], int]) -> None:
        self._timeout, self._stop = timeout, stop
        self._ended = threading.Event()
        self._abandon: tuple[int, float | None] | None = (
            None  # the call, and after how many seconds
        )
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise in the call that is to be abandoned, if it did not return in the meantime."""
        if self._abandon is not None and _present() == self._abandon[0]:
            raise Abandoned(self._abandon[1])

    def _watch(self) -> None:
        call, since, stopping, fired, asked = 0, 0.0, 0.0, 0.0, 0
        while not self._ended.wait(min(_LOOK_EVERY, self._timeout / 4)):
            now, present = time.monotonic(), _present()
            if not present or present != call:
                call, since, stopping, fired = present, now, 0.0, 0.0
                continue
            if not stopping and (asked := self._stop()):
                stopping = now
            seconds = None if stopping and now - stopping > STOP_PATIENCE else self._timeout
            if seconds is not None and now - since < seconds:
                continue
            fired = fired or now
            if now - fired > LAST_PATIENCE:
                _give_up(seconds, asked)
            self._abandon = call, seconds
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)


def _present() -> int:
    """Return the number of the present call, 0 where there is none."""
    number, kind = CALLS.entries[:2]
    return 0 if kind == NOTHING else number


def _give_up(seconds: float | None, asked: int) -> None:
    """End the process: nothing else ends a call that does not return to Python.

    Args:
        seconds: of the timeout; None where the run was asked to stop.
        asked: what `stop` of `watched` returned.
    """
    call = NAMES.get(CALLS.entries[1], "an environment")
    problem = (
        f"the run was asked to stop, and {call} of the environment does not return"
        if seconds is None
        else did_not_return(f"{call} of the environment", seconds)
    )
    os.write(
        2,
        f"rlkit: {problem}, nor can it be interrupted: this process ends. The last checkpoints "
        "are intact; with --env-workers 1 (env_workers=1) the environment gets a process of its "
        "own, which can be ended\n".encode(),
    )
    if sys.stdout is not None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
    number = asked if asked > 1 else signal.SIGTERM
    os._exit(128 + number if seconds is None else 1)


@contextlib.contextmanager
def watched(timeout: float, stop: Callable[[], int] = lambda: False) -> Iterator[None]:
    """Abandon calls of environments that do not return; only those of the main thread.

    A crash of compiled code prints where Python was, before it ends the process.

    Args:
        timeout: seconds that a call may take.
        stop: the signal that asked the run to stop, or whether it was; then a call may take a few
            seconds more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watchdog = _Watchdog(timeout, stop)
    before = signal.signal(_SIGNAL, watchdog.on_signal)
    watchdog.start()
    try:
        with _traces_of_crashes():
            yield
    finally:
        watchdog.end()
        signal.signal(_SIGNAL, before if before is not None else signal.SIG_IGN)


@contextlib.contextmanager
def _traces_of_crashes() -> Iterator[None]:
    """Let Python print its stack where a signal such as SIGSEGV or SIGABRT ends the process."""
    enabled = False
    if not faulthandler.is_enabled():
        with contextlib.suppress(Exception):  # the error stream is no file, as in some notebooks
            faulthandler.enable()
            enabled = True
    try:
        yield
    finally:
        if enabled:
            faulthandler.disable()
