"""Maps: those that are drawn equal Gymnasium's, and what is no map is rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

from rlkit.tabular.grids import maps
from rlkit.tabular.grids.maps import parse_map, random_map, read_map


def lines(cells: np.ndarray) -> list[str]:
    return [bytes(row).decode() for row in cells]


@pytest.mark.parametrize("hole_probability", [0.0, 0.1, 0.2, 0.35, 0.45])
def test_a_random_map_is_gymnasiums_cell_for_cell(hole_probability: float) -> None:
    for seed in range(12):
        for size in (2, 3, 5, 8, 13, 30):
            ours = random_map(size, hole_probability=hole_probability, seed=seed)
            theirs = generate_random_map(size, p=1 - hole_probability, seed=seed)
            assert lines(ours) == theirs


def test_cells_that_touch_at_corners_only_are_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    class Corners:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.where(np.eye(*shape) > 0, 0.0, 1.0)

    monkeypatch.setattr(np.random, "Generator", lambda _: Corners())
    with pytest.raises(ValueError, match=r"none of 10,000 maps of size 4 .* has a path"):
        random_map(4, hole_probability=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1}, "size must be at least 2, got 1"),
        ({"size": 4, "hole_probability": 1.0}, r"must be in \[0, 1\), got 1.0"),
        ({"size": 4, "hole_probability": -0.1}, r"must be in \[0, 1\), got -0.1"),
        ({"size": 4, "hole_probability": float("nan")}, r"must be in \[0, 1\), got nan"),
        ({"size": 4, "seed": -1}, "seed must be at least 0, got -1"),
        ({"size": 60, "hole_probability": 0.9}, "has a path from the start to the goal; lower"),
    ],
)
def test_random_maps_that_cannot_be_drawn_are_rejected(
    options: dict[str, float], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_MOST_TRIES", 20)
    with pytest.raises(ValueError, match=message):
        random_map(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected at least one line"),
        ([""], "expected at least one line"),
        (["SF", "FFG"], "line 1 has 2 cells, line 2 has 3"),
        (["SF", "xG"], r"line 2, column 1: expected one of the letters .* got 'x'"),
        (["SF", "F☃"], "line 2, column 2: .* got '☃'"),
        (["S G"], "line 1, column 2: .* got ' '"),
        (["FF", "FG"], "it has no start S"),
        (["SF", "FH"], "it has no goal G"),
    ],
)
def test_what_is_no_map_is_rejected_with_the_place(rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_map(rows)


def test_a_map_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lake.txt"
    path.write_bytes(b"SFF\r\nFHG\r\n\n")
    assert lines(read_map(path)) == ["SFF", "FHG"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"lake.txt' cannot be read: it is not a text file"):
        read_map(path)
    path.write_text("SFF\n")
    with pytest.raises(ValueError, match=r"lake.txt': reading a map: it has no goal G"):
        read_map(path)
    with pytest.raises(ValueError, match=r"none.txt' cannot be read: No such file"):
        read_map(tmp_path / "none.txt")


def test_a_text_is_read_as_its_lines() -> None:
    cells = parse_map("SFF\nFHF\nFFG\n")
    np.testing.assert_array_equal(cells, parse_map(["SFF", "FHF", "FFG"]))
    assert parse_map("SFFG").shape == (1, 4)  # one row, not a column of four
