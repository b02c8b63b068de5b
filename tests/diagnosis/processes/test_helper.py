"""The doctor survives what an environment does to its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlkit.diagnosis.findings import Fault, Finding
from rlkit.diagnosis.processes import helper
from rlkit.diagnosis.processes.helper import HelperProcess, Unfindable, helper_process
from rlkit.environments.resolve import locate

PLANTED = Path(__file__).parents[1] / "planted.py"


def look(process: HelperProcess, told: list[Finding]) -> object:
    options = {"seconds": 0.5, "timeout": 0.5}
    return process.ask("examine", options, timeout=0.5, seconds=60.0, tell=told.append)


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("Exits", "ends-process", "ended with exit code 7"),
        ("Locks", "hangs", "nothing but the end of its process"),
    ],
)
def test_the_end_and_the_block_of_a_process_are_findings(
    name: str, code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "_SILENCE", 3.0)
    told: list[Finding] = []
    with helper_process(locate(f"{PLANTED}:{name}"), 1) as process:
        with pytest.raises(Fault, match=text) as caught:
            look(process, told)
        assert caught.value.code == code
    assert process._process.returncode is not None  # no process is left


def test_an_examination_without_end_is_too_slow() -> None:
    with helper_process(locate("CartPole-v1"), 1) as process:
        with pytest.raises(Fault) as caught:
            process.ask("examine", {"seconds": 9.0, "timeout": 9.0}, timeout=9.0, seconds=0.0)
        assert caught.value.code == "too-slow"


def test_what_cannot_be_sent_is_unfindable() -> None:
    for make in (lambda: None, type("Local", (), {"__module__": "__main__"})):
        with pytest.raises(Unfindable):
            HelperProcess(locate(make), 1)


def test_a_helper_ends_with_the_doctor() -> None:
    program = (
        "import os, signal\n"
        "from rlkit.diagnosis.processes.helper import HelperProcess\n"
        "from rlkit.environments.resolve import locate\n"
        "print(HelperProcess(locate('CartPole-v1'), 1)._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    helper_pid = int(done.stdout)
    for _ in range(100):
        status = Path(f"/proc/{helper_pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        subprocess.run(["sleep", "0.1"])
    pytest.fail("the helper is still there")
