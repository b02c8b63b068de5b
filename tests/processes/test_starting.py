"""How processes are started and how their end is described."""

from __future__ import annotations

import os
import signal

import pytest

from rlkit.processes import starting


def end(how: int) -> None:
    if how < 0:
        os.kill(os.getpid(), -how)
    os._exit(how)


def without_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(5)


def test_a_process_never_receives_ctrl_c() -> None:
    process = starting.start(without_ctrl_c, ())
    process.join()
    assert process.exitcode == 5


@pytest.mark.parametrize(("how", "succeeded"), [(0, True), (3, False), (-9, False)])
def test_a_process_reports_whether_it_succeeded(how: int, succeeded: bool) -> None:
    assert starting.warm_process(end, how) == succeeded


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with exit code 0 in step"),
        (3, "ended with exit code 3 in step"),
        (-9, "was ended by signal 9 (SIGKILL) in step; the system may have run out of memory"),
        (-11, "was ended by signal 11 (SIGSEGV) in step"),
        (-63, "was ended by signal 63 in step"),
        (None, "ended with exit code None in step"),
    ],
)
def test_the_end_of_a_process_is_described(code: int | None, text: str) -> None:
    assert starting.describe_exit(code, " in step") == text


def test_variables_are_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setenv("LEFT_OVER", "1")
    starting.set_variables(before | {"NEW": "2"})
    assert ("LEFT_OVER" in os.environ, os.environ["NEW"]) == (False, "2")
    starting.set_variables(before)
