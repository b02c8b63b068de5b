"""The folder of a run is written safely, and one process at a time works on it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.runs import curves, store
from rlkit.training.run import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.prepare_folder(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.trap("T97")
def test_json_has_null_for_numbers_that_it_lacks(tmp_path: Path) -> None:
    content = {"a": float("nan"), "b": [np.float32("inf"), np.int64(2**40)], "c": (1.5, None)}
    store.write_json(tmp_path / "x.json", content)
    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert read == {"a": None, "b": [None, 2**40], "c": [1.5, None]}


@pytest.mark.trap("F28")
@pytest.mark.parametrize("name", [".lock", "seed-000.csv", "checkpoints/seed-000", "run.json"])
def test_a_link_in_the_folder_is_rejected_before_anything_behind_it_changes(
    name: str, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    if name == "checkpoints/seed-000":
        outside.mkdir()
        for steps in range(4):
            (outside / f"step-{steps:012d}-{'0' * 64}.npz").write_bytes(b"precious")
    else:
        outside.write_bytes(b"precious")
    (folder / name).symlink_to(outside)
    with pytest.raises(UsageError, match="is a symbolic link"):
        store.prepare_folder(folder)
    files = outside.iterdir() if outside.is_dir() else [outside]
    assert [path.read_bytes() for path in files] == [b"precious"] * (4 if outside.is_dir() else 1)


@pytest.mark.trap("F28")
def test_neither_the_lock_nor_a_csv_is_opened_through_a_link(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (folder / ".lock").symlink_to(outside)
    (folder / "seed-000.csv").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"), store.locked(folder):
        pass
    with pytest.raises(RlkitError, match="symbolic links"):
        curves.CurveFile(folder / "seed-000.csv", ["x"], 0)
    assert outside.read_bytes() == b"precious"


def test_temporary_files_of_a_killed_process_are_swept_and_nothing_else(folder: Path) -> None:
    orphan = folder / "checkpoints" / ".step-1.npz.123.tmp"
    orphan.write_bytes(b"half")
    kept = folder / "mine.tmp"
    kept.write_bytes(b"mine")
    with store.locked(folder):
        assert not orphan.exists()
    assert kept.exists()


PROBE = {"seeds": 1, "evaluation_episodes": 0}


@pytest.mark.trap("F11", "F25")
@pytest.mark.slow
def test_a_second_process_is_rejected_with_the_pid_host_and_time_of_the_first(
    forks: Any,
    out: Path,
    small: Callable[..., Run],
    wait_for: Any,
    results: Any,
) -> None:
    before = "os.environ['PROBE_PAUSE'] = '0.05'"  # half a minute for the whole run
    child = forks.train("ppo-probe", out=out, before=before, **PROBE)
    wait_for(lambda: list(out.glob("*/seed-000.csv")))
    with pytest.raises(UsageError) as caught:
        small("ppo-probe", **PROBE)
    today = time.strftime("%Y-%m-%d")
    for part in (f"process {child.pid} on {socket.gethostname()} since {today}", str(out)):
        assert part in str(caught.value)
    child.kill()
    child.wait()
    run = small("ppo-probe", **PROBE)  # the lock died with the process
    assert run.status == "finished"


def test_a_file_system_without_locks_is_named_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*arguments: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    expected = rf"{folder} cannot be locked, because its file system .*not implemented.*--out"
    with pytest.raises(RlkitError, match=expected), store.locked(folder):
        pytest.fail("the folder is not locked")


@pytest.mark.trap("F11")
def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    store.prepare_folder(tmp_path)
    with pytest.raises(ZeroDivisionError), store.locked(tmp_path):
        _ = 1 / 0
    with store.locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
        in_use = pytest.raises(UsageError, match=f"in use by process {os.getpid()}")
        with in_use, store.locked(tmp_path):
            pass
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_finished_run_is_opened_while_another_process_holds_it(
    small: Callable[..., Run],
) -> None:
    folder = small("q-learning", seeds=2).folder
    with store.locked(folder):
        assert small("q-learning", seeds=1).status == "finished"
        with pytest.raises(UsageError, match="is in use by process"):
            small("q-learning", seeds=3)


@pytest.mark.trap("T93", "F78")
@pytest.mark.slow
def test_twenty_starts_at_once_leave_one_sound_run(
    forks: Any, out: Path, results: Any, reference: Any
) -> None:
    children = [forks.train("q-learning", seeds=2, out=out) for _ in range(20)]
    codes = [child.wait() for child in children]
    for code, child in zip(codes, children, strict=True):
        assert code == 0 or (code == 2 and "is in use by" in child.output), child.output
    assert 0 in codes
    (folder,) = out.iterdir()
    assert results(folder) == reference("q-learning", seeds=2)


@pytest.mark.trap("T93", "F26")
@pytest.mark.slow
def test_twenty_runs_of_different_options_get_twenty_folders(forks: Any, out: Path) -> None:
    children = [forks.train("random", seeds=1, seed=seed, steps=100, out=out) for seed in range(20)]
    assert [child.wait() for child in children] == [0] * 20
    assert len(list(out.iterdir())) == 20


@pytest.mark.slow
def test_only_locking_needs_fcntl_and_says_so(folder: Path) -> None:
    code = (
        "import sys, warnings\n"
        "sys.modules['fcntl'] = None\n"
        "warnings.simplefilter('ignore')  # filelock says that it has no other lock then\n"
        "import rlkit.runs.store, rlkit.runs.execution, rlkit.training.train\n"
        "try:\n"
        "    with rlkit.runs.store.locked(rlkit.runs.store.Path(sys.argv[1])): pass\n"
        "except rlkit.errors.RlkitError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"the run {folder} cannot be locked, because this Python has no file locks" in printed
