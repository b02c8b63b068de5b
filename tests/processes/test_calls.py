"""Which call is being made, also in processes that a call forks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from rlkit.processes.calls import CALLS, NOTHING, RESET, STEP


def exit_code(of: Callable[[], None]) -> int:
    """Fork within a step, and return how the new process ends if it does that and returns."""
    CALLS.begin(STEP)
    pid = os.fork()
    if pid == 0:
        try:
            of()
        finally:
            os._exit(42)
    CALLS.end()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def nested() -> None:
    """Make calls of its own, as a process that an environment keeps may."""
    CALLS.begin(RESET)
    CALLS.end()


@pytest.mark.trap("F50")
def test_a_process_that_a_call_forked_ends_where_the_call_does(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(lambda: CALLS.end()) == 1  # looked up in the new process
    assert (
        "which the environment forked, returned from step: it ends here" in capfd.readouterr().err
    )
    assert exit_code(nested) == 42
    assert CALLS.entries[1] == NOTHING
    assert "end" not in vars(CALLS)  # of this process
