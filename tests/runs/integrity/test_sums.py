"""The sums of a csv say which of its lines is not the one that was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rlkit.errors import RlkitError
from rlkit.runs.integrity.sums import (
    MOST_MARKS,
    LineSums,
    SeedSums,
    curve_problem,
    read_sums,
    sums_path,
    write_sums,
)

LINES = [b"num_env_steps,x\n", *(b"%d,%d.5\n" % (10 * k, k * k) for k in range(400))]


def sums_of(data: bytes) -> SeedSums:
    return SeedSums("", 0).covering(LineSums(data))


def test_the_sum_of_lines_is_that_of_the_file() -> None:
    data = b"".join(LINES)
    extent = LineSums(data).extent
    assert (extent.num_bytes, extent.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    running = LineSums()
    for line in LINES:
        running.add(line)
    assert (running.extent, running.marks) == (extent, LineSums(data).marks)


@pytest.mark.parametrize("num_lines", [1, 7, MOST_MARKS, MOST_MARKS + 1, 401])
def test_any_changed_line_is_found_within_the_spacing_of_the_marks(num_lines: int) -> None:
    lines = LINES[:num_lines]
    sums = sums_of(b"".join(lines))
    assert len(sums.marks) <= MOST_MARKS
    spacing = -(-num_lines // MOST_MARKS)
    assert curve_problem(b"".join(lines) + b"rows that are not covered", sums) is None
    for k in range(num_lines):
        changed = b"".join([*lines[:k], lines[k].replace(b"5", b"6", 1)[:-1] + b"1\n"])
        problem = curve_problem(changed + b"".join(lines[k + 1 :]), sums)
        assert problem is not None
        words = problem.split(":")[0].split()
        first, final = int(words[1]), int(words[-1])
        assert first <= k + 1 <= final
        assert final - first <= 2 * spacing
        assert "expected the sha256" in problem


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_lost_rows_are_counted_in_bytes(kept: int) -> None:
    data = b"".join(LINES[:6])
    problem = curve_problem(b"".join(LINES[:kept]), sums_of(data))
    assert problem is not None
    assert problem.startswith(f"line {kept + 1}: expected {len(data)} bytes")


def test_a_row_cut_from_the_middle_is_named() -> None:
    problem = curve_problem(b"".join(LINES[:3] + LINES[4:9]), sums_of(b"".join(LINES[:9])))
    assert problem is not None
    assert problem.startswith("line 4: ")
    assert "got '30,9.5'" in problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(2):
        (tmp_path / "checkpoints" / f"seed-00{seed}").mkdir(parents=True)
        write_sums(tmp_path, SeedSums("a" * 64, seed).covering(LineSums(b"x\n1\n")))
    return tmp_path


def test_sums_are_read_as_they_were_written(folder: Path) -> None:
    assert read_sums(folder, 1) == SeedSums("a" * 64, 1).covering(LineSums(b"x\n1\n"))
    assert read_sums(folder, 2) is None


def test_sums_of_another_seed_or_run_are_rejected(folder: Path) -> None:
    sums_path(folder, 0).write_bytes(sums_path(folder, 1).read_bytes())
    with pytest.raises(RlkitError, match="another seed: expected those of 0, got those of 1"):
        read_sums(folder, 0)
    (folder / "run.json").write_text('{"identity": "' + "b" * 64 + '"}')
    with pytest.raises(RlkitError, match="another run: expected those of bbbbbbbbbb, got"):
        read_sums(folder, 1)


@pytest.mark.trap("F20")
@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_damaged_sums_are_one_sentence_with_what_to_do(folder: Path, content: bytes) -> None:
    sums_path(folder, 0).write_bytes(content)
    with pytest.raises(RlkitError, match=r"sums\.json is damaged: .*; restore it from a copy, or"):
        read_sums(folder, 0)
