"""A csv is read as it was written, and a damaged line is named."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlkit.errors import RlkitError
from rlkit.runs import curves


def write_curve(path: Path, rows: int = 3) -> bytes:
    curve = curves.CurveFile(path, ["num_env_steps", "x", "y"], 0)
    for i in range(rows):
        curve.append({"num_env_steps": 10 * i, "x": i / 3, "y": None if i == 1 else -1e-30})
    curve.flush()
    return path.read_bytes()


def test_numbers_come_back_from_a_csv_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    values = [0.1, 1 / 3, 1e300, -5e-324, 2.0**53, np.float32(0.1), float("inf"), float("nan")]
    curve = curves.CurveFile(path, ["x"], 0)
    for value in values:
        curve.append({"x": value})
    curve.flush()
    np.testing.assert_array_equal(curves.read_curve(path)["x"], np.array(values, dtype=float))


def test_rows_wait_until_they_are_flushed_and_a_full_disk_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seed-000.csv"
    curve = curves.CurveFile(path, ["x"], 0)
    curve.append({"x": 1})
    curve.append({"x": 2})
    assert path.read_bytes() == b"x\n"
    assert curve.num_bytes == len(b"x\n1\n2\n")
    pwrite = os.pwrite
    left = [3, 0]  # bytes that the disk takes before it is full

    def pwrite_full(descriptor: int, data: bytes, offset: int) -> int:
        if not (room := left.pop(0)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data[:room], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite_full)
        with pytest.raises(RlkitError, match="No space left"):
            curve.flush()
    assert path.read_bytes() == b"x\n"
    curve.append({"x": 3})
    curve.flush()
    curve.flush()
    assert path.read_bytes() == b"x\n1\n2\n3\n"


@pytest.mark.trap("T92", "F23")
def test_a_last_line_truncated_anywhere_is_dropped_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    last = data[:-1].rindex(b"\n") + 1
    for length in range(last, len(data)):
        path.write_bytes(data[:length])
        columns = curves.read_curve(path)
        assert columns["num_env_steps"].tolist() == [0, 10], data[last:length]
        curve = curves.CurveFile(path, ["num_env_steps", "x", "y"], last)
        curve.append({"num_env_steps": 20, "x": 2 / 3, "y": -1e-30})
        curve.flush()
        assert path.read_bytes() == data


@pytest.mark.trap("F24")
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


def test_rows_with_other_columns_are_not_appended(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    for columns in (["num_env_steps", "x", "new", "y"], ["num_env_steps", "y", "x"]):
        with pytest.raises(RlkitError, match="has the columns num_env_steps,x,y, but this version"):
            curves.CurveFile(path, columns, len(data))
        assert path.read_bytes() == data


def test_a_csv_that_lost_rows_is_not_padded(tmp_path: Path) -> None:
    path = tmp_path / "seed-000.csv"
    data = write_curve(path)
    path.write_bytes(data[:-5])
    with pytest.raises(RlkitError, match="rows were lost"):
        curves.CurveFile(path, ["num_env_steps", "x", "y"], len(data))
    assert path.read_bytes() == data[:-5]


@pytest.mark.trap("F30")
def test_a_csv_of_a_hundred_thousand_rows_is_read_in_seconds(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i / 7},{-i / 3}\n" for i in range(100_000))
    data = f"num_env_steps,x,y\n{rows}".encode()
    began = time.process_time()
    columns = curves.parse_curve(data, tmp_path / "seed-000.csv")
    assert time.process_time() - began < 5.0  # it takes half a second
    assert columns["x"][-1] == 99_999 / 7
