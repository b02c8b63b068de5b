"""Which call of a user's environment is being made, and how its errors read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableSequence
from sys import getrecursionlimit, setrecursionlimit  # these calls are timed by the nanosecond
from typing import Any

from rlkit.errors import PlayStopped

# The kinds of calls. In a worker process, whoever reads them may be another process.
NOTHING, CONSTRUCTOR, RESET, STEP, CLOSE = range(5)
NAMES = {CONSTRUCTOR: "its constructor", RESET: "reset", STEP: "step", CLOSE: "close"}


class Calls:
    """The calls of this process; each entry is a whole number, so that memory can be shared.

    Attributes:
        entries: the number of calls so far, the kind of the present one, the copy that it is made
            on (-1 = unknown), and how many steps of an episode were replayed before it.
        supervised: whether this is a worker process, which no Ctrl+C reaches.
    """

    def __init__(self) -> None:
        self.supervised = False
        self.entries: MutableSequence[int] = [0, NOTHING, -1, 0]
        self._depth = getrecursionlimit()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def begin(self, kind: int) -> None:
        """Note that a call begins."""
        self._depth = getrecursionlimit()
        entries = self.entries
        entries[0] += 1
        entries[1] = kind

    def end(self) -> None:
        """Note that it returned or raised; what it took from the depth of calls is given back."""
        self.entries[1] = NOTHING
        if getrecursionlimit() < self._depth:
            setrecursionlimit(self._depth)

    def _after_fork(self) -> None:
        """Let a process that a call forked end with that call: it would train beside the first."""
        self.entries = list(self.entries)  # the memory may be that of the first process
        if self.entries[1] == NOTHING:
            return
        forked = self.entries[0]

        def end() -> None:
            if self.entries[0] == forked:
                text = f"rlkit: process {os.getpid()}, which the environment forked, returned from "
                text += (
                    f"{NAMES[self.entries[1]]}: it ends here, and the run continues without it\n"
                )
                os.write(2, text.encode())
                os._exit(1)
            type(self).end(self)

        self.__dict__["end"] = end  # of this process alone; no call costs more

    def is_interrupt(self, error: BaseException) -> bool:
        """Return whether the user interrupted the call; an environment may raise the same."""
        return isinstance(error, KeyboardInterrupt) and not self.supervised

    def on(self, copy: int, steps: int = 0) -> None:
        """Note which copy the next calls are made on."""
        self.entries[2] = copy
        self.entries[3] = steps


CALLS = Calls()


@contextlib.contextmanager
def noted(kind: int) -> Iterator[None]:
    """Note that a call is made in the block; of calls that need not be fast."""
    CALLS.begin(kind)
    try:
        yield
    finally:
        CALLS.end()


class Abandoned(BaseException):
    """Raised in a call of a user's environment that does not return.

    It is not an `Exception`, which user code may catch.

    Args:
        seconds: how long the call was waited for; None where the process was asked to stop.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def did_not_return(call: str, seconds: float) -> str:
    """Return the sentence that a call did not return in time."""
    return f"{call} did not return within {seconds:g} s (--env-timeout)"


def describe_abandoned(error: BaseException, call: str = "it") -> str:
    """Return what a call raised, or that it did not return.

    Raises:
        PlayStopped: it was abandoned because the run was asked to stop.
    """
    if not isinstance(error, Abandoned):
        return describe(error)
    if error.seconds is None:
        raise PlayStopped(f"{call} did not return after the run was asked to stop") from None
    return did_not_return(call, error.seconds)


def describe(value: Any) -> str:
    """Return the `repr` of a user's object on one line of at most 200 characters; never raise."""
    try:
        text = " ".join(repr(value).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:197]}..."
