"""Read the pages of docs/: fenced blocks, links and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its first line, its marker."""

    language: str
    text: str
    line: int
    marker: str


def blocks_of(page: str) -> list[Block]:
    blocks = []
    for match in FENCE.finditer(page):
        before = page[: match.start()].rstrip("\n").rpartition("\n")[2].strip()
        marker = before.strip("<!- >") if before.startswith("<!--") else ""
        line = page.count("\n", 0, match.start()) + 2
        blocks.append(Block(match[1], match[2], line, marker))
    return blocks


def links_of(page: str) -> list[tuple[str, str]]:
    """Return the (text, target) of the links outside fenced blocks."""
    return [(match[1], match[2]) for match in _LINK.finditer(FENCE.sub("", page))]


def rows_of(page: str) -> list[dict[str, str]]:
    """Return the rows of all tables of a page in docs/ that have a column "test", by column."""
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in re.split(r" \|(?= |$)", line.removeprefix("|"))[:-1]]
        if not columns:
            columns = cells
        elif set(cells) != {"---"} and "test" in columns:
            rows.append(dict(zip(columns, cells, strict=True)))
    return rows
