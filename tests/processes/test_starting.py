"""How processes are started and how their end is described."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def test_the_server_survives_a_signal_to_all_processes_and_what_it_forked_does_not() -> None:
    process = starting.start(sleep, (60,))
    (server,) = {parent_of(process.pid or 0)}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(server, number)
    process.terminate()
    process.join(10)
    assert process.exitcode == -signal.SIGTERM
    other = starting.start(end, (4,))
    other.join()
    assert (other.exitcode, os.path.exists(f"/proc/{server}")) == (4, True)


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


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


def test_a_script_without_a_guard_is_told_of_it() -> None:
    assert '`if __name__ == "__main__":`' in starting.main_guard_hint(1)
    assert starting.main_guard_hint(3) == starting.main_guard_hint(-9) == ""


def test_variables_are_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setenv("LEFT_OVER", "1")
    starting.set_variables(before | {"NEW": "2"})
    assert ("LEFT_OVER" in os.environ, os.environ["NEW"]) == (False, "2")
    starting.set_variables(before)


def test_a_long_name_of_the_place_of_temporary_files_does_no_harm(
    tmp_path: Path, forks: Any
) -> None:
    place = tmp_path / ("d" * 100)
    place.mkdir()
    script = (
        "from rlkit.processes.starting import warm_up, warm_process\n"
        "import math, tempfile\n"
        "warm_up([])\n"
        "print(warm_process(math.sqrt, 4.0), tempfile.gettempdir())\n"
    )
    done = forks.python("-c", script, cwd=tmp_path, env={"TMPDIR": str(place)})
    assert done.stdout == f"True {place}\n", done.stderr


def test_a_process_starts_where_the_current_folder_was_removed(tmp_path: Path, forks: Any) -> None:
    script = (
        "from rlkit.processes.starting import warm_up, warm_process\n"
        "import math, os\n"
        "os.mkdir('gone'), os.chdir('gone'), os.rmdir('../gone')\n"
        "warm_up([])\n"
        "print(warm_process(math.sqrt, 4.0))\n"
        "os.chdir('..')\n"  # it is still there, and not in another folder
        "print(os.getcwd())\n"
    )
    done = forks.python("-c", script, cwd=tmp_path)
    assert done.stdout == f"True\n{tmp_path}\n", done.stderr


DEAF = """
import os
import signal
import time

from rlkit.processes.starting import start


def deaf(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)


if __name__ == "__main__":
    start(deaf, ("pid",))
    while not os.path.exists("pid"):
        time.sleep(0.01)
    if os.fork() == 0:  # no child of the child, which ends first
        raise SystemExit
    os.wait()
    os.kill(int(open("pid").read()), 0)
"""


def test_a_program_does_not_wait_for_a_process_that_no_sigterm_reaches(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    subprocess.run([sys.executable, "deaf.py"], cwd=tmp_path, check=True, timeout=20)
    number = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 5
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
