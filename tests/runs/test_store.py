"""What is written can be trusted after a crash, and only what was written is read."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.runs import checkpoints, curves, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.prepare_folder(tmp_path / "run")
    return tmp_path / "run"


def put_checkpoint(folder: Path, data: bytes, steps: int = 5) -> Path:
    """A file with any content under a name whose digest is right."""
    seed_folder = folder / "checkpoints" / "seed-000"
    seed_folder.mkdir(exist_ok=True)
    digest = checkpoints.hashlib.sha256(data).hexdigest()
    path = seed_folder / f"step-{steps:012d}-{digest}.npz"
    path.write_bytes(data)
    return path


def npz(compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: Any, **changes: Any) -> bytes:
    """An array as a file, with entries of its header changed."""
    buffer = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changes
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def test_a_checkpoint_comes_back_as_it_was(folder: Path) -> None:
    state = {
        "a/x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(2**63 - 1),
        "c": np.array([np.nan, -0.0, np.inf]),
        "d": np.zeros((0, 4), dtype=bool),
        "e": np.array(2**64 - 1, dtype=np.uint64),
    }
    checkpoints.save_checkpoint(folder, 3, 10, state)
    steps, read, problems = checkpoints.newest_checkpoint(folder, 3)
    assert (steps, problems) == (10, [])
    assert read.keys() == state.keys()
    for name, array in state.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


def test_equal_states_are_equal_bytes_whatever_the_order_of_entries(folder: Path) -> None:
    a, b = np.ones(3), np.zeros(2)
    checkpoints.save_checkpoint(folder, 0, 1, {"a": a, "b": b})
    checkpoints.save_checkpoint(folder, 1, 1, {"b": b, "a": a})
    names = [checkpoints.list_checkpoints(folder, seed)[0][1].name for seed in (0, 1)]
    assert names[0] == names[1]


def test_only_the_newest_checkpoints_are_kept_and_other_files_left_alone(folder: Path) -> None:
    for steps in (10, 9, 10**13, 11):
        checkpoints.save_checkpoint(folder, 0, steps, {"x": np.array(steps)})
        (folder / "checkpoints" / "seed-000" / "notes.txt").write_text("mine")
    assert [steps for steps, _ in checkpoints.list_checkpoints(folder, 0)] == [10**13, 11]
    assert (folder / "checkpoints" / "seed-000" / "notes.txt").exists()


@pytest.mark.parametrize("per_cent", [0, 0.1, 10, 50, 90, 99, 99.99])
def test_a_truncated_checkpoint_is_passed_over_and_named(folder: Path, per_cent: float) -> None:
    checkpoints.save_checkpoint(folder, 0, 1, {"x": np.zeros(3)})
    checkpoints.save_checkpoint(folder, 0, 2, {"x": np.random.default_rng(0).random(5000)})
    path = checkpoints.list_checkpoints(folder, 0)[0][1]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * per_cent / 100)])
    steps, state, problems = checkpoints.newest_checkpoint(folder, 0)
    assert steps == 1
    assert state["x"].tolist() == [0, 0, 0]
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert "damaged" in problems[0]


def test_each_of_a_hundred_flipped_bits_is_noticed(folder: Path) -> None:
    checkpoints.save_checkpoint(folder, 0, 2, {"x": np.random.default_rng(0).random(50)})
    path = checkpoints.list_checkpoints(folder, 0)[0][1]
    data = path.read_bytes()
    for position in np.random.default_rng(1).choice(8 * len(data), 100, replace=False):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="sha256"):
            checkpoints.read_checkpoint(path)
    path.write_bytes(data)
    checkpoints.read_checkpoint(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self._path}",))


def test_a_pickle_in_a_checkpoint_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([Bomb(marker)], dtype=object))
    path = put_checkpoint(folder, buffer.getvalue())
    with pytest.raises(ValueError, match="Python objects, which are never read"):
        checkpoints.read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an archive"),
        (b"PK", "not an archive"),
        (npz(x=b"no array"), "not an archive"),
        (npz(x=npy(np.zeros(3))[:20]), "not an archive"),
        (npz(x=npy(np.zeros(3), shape=(10**15,))), r"claims the shape \(1000000000000000,\)"),
        (npz(x=npy(np.zeros(3), shape=(2**62, 2**62))), "claims the shape"),
        (npz(x=npy(np.zeros(3), shape=(-1,))), "claims the shape"),
        (npz(x=npy(np.zeros(3), shape=(2,))), "claims the shape"),
        (npz(zipfile.ZIP_DEFLATED, x=npy(np.zeros(10**7))), "compressed"),
        (npz(x=b"\x93NUMPY\x09\x00" + npy(np.zeros(3))[8:]), "unknown array format"),
    ],
    ids=lambda part: part if isinstance(part, str) else f"{len(part)} bytes",
)
def test_a_file_that_claims_more_than_it_holds_is_refused(
    folder: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoints.read_checkpoint(put_checkpoint(folder, content))


def test_json_has_null_for_numbers_that_it_lacks(tmp_path: Path) -> None:
    content = {"a": float("nan"), "b": [np.float32("inf"), np.int64(2**40)], "c": (1.5, None)}
    store.write_json(tmp_path / "x.json", content)
    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert read == {"a": None, "b": [None, 2**40], "c": [1.5, None]}


def write_curve(path: Path, rows: int = 3) -> bytes:
    curve = curves.CurveFile(path, ["num_env_steps", "x", "y"], 0)
    for i in range(rows):
        curve.append({"num_env_steps": 10 * i, "x": i / 3, "y": None if i == 1 else -1e-30})
    curve.close()
    return path.read_bytes()


def test_numbers_come_back_from_a_csv_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    values = [0.1, 1 / 3, 1e300, -5e-324, 2.0**53, np.float32(0.1), float("inf"), float("nan")]
    curve = curves.CurveFile(path, ["x"], 0)
    for value in values:
        curve.append({"x": value})
    curve.close()
    np.testing.assert_array_equal(curves.read_curve(path)["x"], np.array(values, dtype=float))


def test_a_last_line_that_was_cut_anywhere_is_dropped_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    last = data[:-1].rindex(b"\n") + 1
    for length in range(last, len(data)):
        path.write_bytes(data[:length])
        columns = curves.read_curve(path)
        assert columns["num_env_steps"].tolist() == [0, 10], data[last:length]
        curve = curves.CurveFile(path, ["num_env_steps", "x", "y"], last)
        curve.append({"num_env_steps": 20, "x": 2 / 3, "y": -1e-30})
        curve.close()
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda data: data.replace(b"\n10,", b"\n1\x000,"), 3),
        (lambda data: data.replace(b"\n", b"\r\n"), 1),
        (lambda data: data.replace(b"\n20,", b"\r\n20,"), 3),
        (lambda data: data.replace(b"\n10,", b",10,"), 2),
        (lambda data: data + data, 5),
        (lambda data: data + b"20,0.1,0.2\n", 5),
        (lambda data: data.replace(b"\n10,", b"\n1_0,"), 3),
        (lambda data: data.replace(b"\n10,", b"\n 10,"), 3),
        (lambda data: data.replace(b"\n10,", b"\n-10,"), 3),
        (lambda data: data.replace(b"\n10,", b"\nten,"), 3),
        (lambda data: data.replace(b"num_env_steps", b"num_env\x00_steps"), 1),
    ],
)
def test_a_damaged_line_is_named_with_its_file(
    damage: Callable[[bytes], bytes], line: int, tmp_path: Path
) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    path.write_bytes(damage(data))
    with pytest.raises(RlkitError, match=re.escape(f"{path}, line {line}: ")):
        curves.read_curve(path)


def test_a_csv_that_lost_rows_is_not_padded(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    path.write_bytes(data[:-5])
    with pytest.raises(RlkitError, match="rows were lost"):
        curves.CurveFile(path, ["num_env_steps", "x", "y"], len(data))
    assert path.read_bytes() == data[:-5]


@pytest.mark.parametrize("name", [".lock", "seed-000.csv", "checkpoints/seed-000", "run.json"])
def test_a_link_in_the_folder_is_refused_before_anything_behind_it_changes(
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
