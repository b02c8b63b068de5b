"""Maps of FrozenLake: from text, from a file, or drawn at random, as Gymnasium draws them.

A map is an array `[rows, columns]` of letters in one byte each: S start, F frozen, H hole, G goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Map = NDArray[np.uint8]

START, FROZEN, HOLE, GOAL = b"SFHG"
LETTERS = "SFHG"
# Cells that are drawn before the search for a map with a path is given up, in whole maps.
_MOST_CELLS = 300_000_000
_MOST_TRIES = 10_000


def parse_map(lines: str | Sequence[str]) -> Map:
    """Return the map with these lines, as in `["SFFF", "FHFH", "FFFH", "HFFG"]`.

    A text is read as its lines, without the blank ones at its end.

    Raises:
        ValueError: the lines are no map; the message names the line and column.
    """
    if isinstance(lines, str):
        lines = lines.rstrip().splitlines()
    widths = [len(line) for line in lines]
    if not widths or not widths[0]:
        raise ValueError("reading a map: expected at least one line of letters, got none")
    for number, width in enumerate(widths, start=1):
        if width != widths[0]:
            raise ValueError(
                f"reading a map: all lines must have the same length; line 1 has {widths[0]} "
                f"cells, line {number} has {width}"
            )
    # A character outside Latin-1 becomes "?", which is no letter of a map either.
    text = "".join(lines)
    cells = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
    known = np.isin(cells, np.frombuffer(LETTERS.encode(), dtype=np.uint8))
    if not known.all():
        at = int(np.argmin(known))
        row, column = divmod(at, widths[0])
        raise ValueError(
            f"reading a map: line {row + 1}, column {column + 1}: expected one of the letters "
            f"S (start), F (frozen), H (hole) and G (goal), got {text[at]!r}"
        )
    for letter, meaning in ((START, "start S"), (GOAL, "goal G")):
        if not (cells == letter).any():
            raise ValueError(f"reading a map: it has no {meaning}")
    return cells.reshape(len(lines), widths[0])


def read_map(path: str | Path) -> Map:
    """Return the map in a text file, one line per row; blank lines at its end are ignored.

    Raises:
        ValueError: the file is missing, or holds no map.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise ValueError(f"the map {str(path)!r} cannot be read: {reason}") from error
    try:
        return parse_map(text)
    except ValueError as error:
        raise ValueError(f"the map {str(path)!r}: {error}") from error


def random_map(size: int, *, hole_probability: float = 0.2, seed: int = 0) -> Map:
    """Return a random square map with a path from the start, top left, to the goal, bottom right.

    It equals Gymnasium's `generate_random_map(size, p=1 - hole_probability, seed=seed)`.

    Args:
        size: cells on each side, at least 2.
        hole_probability: of each cell, in [0, 1).
        seed: of the random numbers, at least 0.

    Raises:
        ValueError: an argument is out of range, or none of many maps has a path.
    """
    if size < 2:
        raise ValueError(f"random map: the size must be at least 2, got {size}")
    if not 0.0 <= hole_probability < 1.0:
        raise ValueError(
            f"random map: the hole probability must be in [0, 1), got {hole_probability}"
        )
    if seed < 0:
        raise ValueError(f"random map: the seed must be at least 0, got {seed}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    frozen = 1.0 - hole_probability
    share = frozen / np.cumsum([frozen, 1.0 - frozen])[-1]  # as in Generator.choice
    num_tries = max(10, min(_MOST_TRIES, _MOST_CELLS // size**2))
    for _ in range(num_tries):
        hole = rng.random((size, size)) >= share
        hole[0, 0] = hole[-1, -1] = False
        if _has_path(hole):
            cells = np.where(hole, np.uint8(HOLE), np.uint8(FROZEN))
            cells[0, 0], cells[-1, -1] = START, GOAL
            return cells
    raise ValueError(
        f"random map: none of {num_tries:,} maps of size {size} with the hole probability "
        f"{hole_probability} has a path from the start to the goal; lower the hole probability "
        "(large maps have no paths above about 0.4)"
    )


@kernel
def _has_path(hole: NDArray[np.bool_]) -> bool:
    """Return whether steps to neighbours lead from the first cell to the last, around the holes."""
    rows, columns = hole.shape
    closed = hole.copy()
    waiting = np.empty(hole.size, dtype=np.int64)
    waiting[0], size = 0, 1
    closed[0, 0] = True
    while size > 0:
        size -= 1
        row, column = waiting[size] // columns, waiting[size] % columns
        if row == rows - 1 and column == columns - 1:
            return True
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            r, c = row + down, column + right
            if 0 <= r < rows and 0 <= c < columns and not closed[r, c]:
                closed[r, c] = True
                waiting[size] = r * columns + c
                size += 1
    return False
