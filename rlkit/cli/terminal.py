"""Text that any terminal can show: plain substitutes, and no control characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlkit.errors import printable as printable  # for those who print

if TYPE_CHECKING:
    from rich.text import Text

_PLAIN = str.maketrans(
    {
        **dict(zip("←↑→↓", "<^>v", strict=True)),
        **dict(zip("±×÷·•−–—―‘’“”\u00a0\u202f", ("+-", *"x/.*----''\"\"", " ", " "), strict=True)),
        **dict(zip("…≤≥≠≈∞√‖", ("...", "<=", ">=", "!=", "~", "inf", "sqrt", "||"), strict=True)),
    }
)


def plain(text: str) -> str:
    """Return a text in ASCII: arrows as `<^>v`, lines and boxes as `-|+`, others as `?`."""
    return "".join(char if char.isascii() else _plain(char) for char in text.translate(_PLAIN))


def _plain(char: str) -> str:
    name = unicodedata.name(char, "")
    if name.startswith("BOX DRAWINGS"):
        if " AND " in name:
            return "+"
        return "|" if any(word in name for word in ("VERTICAL", "UP", "DOWN")) else "-"
    if name.startswith("BRAILLE PATTERN") or name.endswith(("BLOCK", "SHADE", "EIGHTHS")):
        return "#"
    if name.startswith("GREEK SMALL LETTER "):
        return name.removeprefix("GREEK SMALL LETTER ").lower().replace("lamda", "lambda")
    return "?"


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if all("\udc80" <= char <= "\udcff" for char in text):  # bytes of a path that is not text
        return text.encode("utf-8", "surrogateescape"), error.end
    return plain(text), error.end


codecs.register_error("rlkit-plain", _substitute)


@contextlib.contextmanager
def plain_where_needed() -> Iterator[None]:
    """Within the block, write plain substitutes for characters that the streams cannot encode."""
    before = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            before.append((stream, stream.errors))
            stream.reconfigure(errors="rlkit-plain")
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(ValueError, OSError):  # closed, or its reader went away
                stream.reconfigure(errors=errors)


def note(text: object) -> None:
    """Print a sentence on the error stream; without a reader it is lost, and the work continues."""
    with contextlib.suppress(OSError):
        print(f"rlkit: {printable(text, lines=True)}", file=sys.stderr)


def cell(text: object) -> Text:
    """Return a text for a table of rich: no control characters, and no markup."""
    from rich.text import Text

    return Text(printable(text))
