"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rlkit.errors import RlkitError
from rlkit.files import Saver, for_each, write_atomically


@pytest.mark.trap("T89", "F29")
def test_a_file_is_forced_to_the_disk_then_renamed_then_its_folder_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor: int) -> None:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append("fsync folder" if os.path.isdir(target) else "fsync file")
        fsync(descriptor)

    def logged_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    write_atomically(tmp_path / "file", b"content")
    assert calls == ["fsync file", "replace", "fsync folder"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RlkitError, match=r"writing .*file \(3 bytes\) failed: No space left"):
        write_atomically(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_saver_does_one_work_after_another_and_raises_what_it_raised() -> None:
    saver, done = Saver(), []
    begin = threading.Event()

    def first() -> None:
        begin.wait(10)
        done.append(1)

    def second() -> None:
        done.append(2)
        raise RlkitError("the disk is full")

    saver.start(first)
    assert not done
    begin.set()
    saver.start(second)
    with pytest.raises(RlkitError, match="the disk is full"):
        saver.wait()
    assert done == [1, 2]
    saver.wait()
    saver.start(second)
    saver.close()
    assert done == [1, 2, 2]


@pytest.mark.parametrize("number", [0, 3, 20])
def test_each_item_is_worked_on_in_order_of_the_results(number: int) -> None:
    assert for_each(range(number), lambda k: k * k) == [k * k for k in range(number)]
