"""A sealed file is read only if every byte is as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.errors import RlkitError
from rlkit.runs.integrity import seals

CONTENT = {"name": "é [/nope] \x1b[31m", "numbers": [1, 2.5, float("nan")], "nested": {"a": {}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    seals.write_sealed(tmp_path / "file.json", CONTENT)
    return tmp_path / "file.json"


def test_what_was_written_is_read(path: Path) -> None:
    assert seals.read_sealed(path) == {**CONTENT, "numbers": [1, 2.5, None]}


def test_sealing_again_gives_the_same_bytes(path: Path) -> None:
    content = seals.read_sealed(path)
    assert seals.seal({**content, "sha256": "of before"}) == path.read_bytes()


def test_any_flipped_bit_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert seals.seal_problem(bytes(changed)) is not None, (position, bit)


def test_any_cut_and_any_added_byte_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    assert seals.seal_problem(data) is None
    for length in range(len(data)):
        assert seals.seal_problem(data[:length]) is not None
    assert seals.seal_problem(data + b"\n") is not None
    assert seals.seal_problem(b" " + data) is not None


def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"2.5", b"2.6"))
    with pytest.raises(RlkitError, match=r"file\.json is damaged: its sha256 is .*, expected "):
        seals.read_sealed(path)
