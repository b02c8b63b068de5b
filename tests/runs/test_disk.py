"""A disk that is full, read-only or gone: a clear error, nothing lost, never "finished"."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.runs import checkpoints, curves
from rlkit.runs.reports import Reports
from rlkit.training.run import Run, load

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int) -> None:
    """Let the n-th and all later calls of `owner.name` find the disk full."""
    original, calls = getattr(owner, name), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= number:
            raise FULL
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.trap("T90", "F15")
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(
    call: str,
    small: Callable[..., Run],
    out: Path,
    results: Any,
    reference: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, os, call, {"replace": 7, "fsync": 17}[call])
        with pytest.raises(RlkitError, match=r"failed: No space left on device") as caught:
            small("q-learning", seeds=2)
    assert caught.value.exit_code == 1
    (folder,) = out.iterdir()
    assert str(folder) in str(caught.value)
    assert load(folder).status != "finished"
    for seed in range(2):
        steps, _, problems = checkpoints.newest_checkpoint(folder, seed)
        assert steps >= 100
        assert not problems
    assert not list(folder.rglob(".*.tmp"))
    assert results(small("q-learning", seeds=2).folder) == reference("q-learning", seeds=2)


@pytest.mark.trap("F16")
@pytest.mark.parametrize("room", [0, 1, 30, 250])
def test_a_full_disk_in_the_middle_of_a_row_leaves_only_whole_rows(
    room: int,
    small: Callable[..., Run],
    out: Path,
    results: Any,
    reference: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: dict[str, int] = {}  # of the rows of each file
    pwrite = os.pwrite

    def pwrite_full(descriptor: int, data: bytes, offset: int) -> int:
        """Take a part of what is written, and then find the disk full."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if offset == 0:  # the header
            return pwrite(descriptor, data, offset)
        if left.setdefault(path, room) == 0:
            raise FULL
        written = pwrite(descriptor, data[: left[path]], offset)
        left[path] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite_full)
        with pytest.raises(RlkitError, match=r"appending to .*\.csv failed: No space left"):
            small("q-learning", seeds=2)
    (folder,) = out.iterdir()
    assert load(folder).status == "failed"
    for seed in range(2):
        assert curves.curve_path(folder, seed).read_bytes()[-1:] == b"\n"
    assert results(small("q-learning", seeds=2).folder) == reference("q-learning", seeds=2)


def test_a_limit_on_the_size_of_files_ends_the_run_with_its_name(
    forks: Any, out: Path, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))"
    child = forks.train("q-learning", seeds=2, out=out, before=before)
    assert child.wait() == 1
    assert "error: writing" in child.output
    assert "Traceback" not in child.output
    assert results(small("q-learning", seeds=2).folder) == reference("q-learning", seeds=2)


def test_a_folder_that_cannot_be_made_is_rejected_at_the_start(
    small: Callable[..., Run], out: Path
) -> None:
    out.write_text("a file where a folder is expected")
    with pytest.raises(UsageError, match=r"cannot be written: .*; choose another with --out"):
        small("q-learning", seeds=1)
    assert out.read_text() == "a file where a folder is expected"


@pytest.mark.trap("T90", "F17")
def test_a_folder_that_cannot_be_written_is_rejected_at_the_start(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(self: Path, data: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UsageError, match="cannot be written: Read-only file system"):
        small("q-learning", seeds=1)


@pytest.mark.trap("F17")
@pytest.mark.parametrize("what", ["run", "checkpoints", "csv"])
def test_a_run_whose_files_are_deleted_meanwhile_is_not_finished(
    what: str, small: Callable[..., Run], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(seeds: Any, steps: int) -> None:
        if steps == 300:
            (folder,) = out.iterdir()
            if what == "csv":
                curves.curve_path(folder, 1).unlink()
            else:
                gone = folder if what == "run" else folder / "checkpoints"
                while gone.exists():  # a checkpoint may be being written
                    shutil.rmtree(gone, ignore_errors=True)

    with pytest.raises(RlkitError, match="deleted"):
        small("q-learning", seeds=2, reports=Reports(progress=delete))
    if what == "run":
        assert not list(out.iterdir())
    else:
        (folder,) = out.iterdir()
        assert load(folder).status == "failed"


def test_a_row_that_fails_in_one_group_leaves_no_file_open(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, curves.CurveFile, "append", 5)
    with pytest.raises(OSError, match="No space"):
        small("q-learning", seeds=3)
    opened = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in opened if path.endswith(".csv")]


def test_there_may_be_more_seeds_than_open_files(small: Callable[..., Run]) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, before[1]))
        assert small("random", seeds=60, steps=20, evaluate_every=10).status == "finished"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
