"""The HTML page of some sections: one file, without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rlkit.errors import missing_extra, printable
from rlkit.reporting.palette import style_variables
from rlkit.reporting.parts import Cell, Section, Table, make_table

MARK = '<meta name="generator" content="rlkit report">'
_HERE = Path(__file__).parent


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the page.

    Raises:
        UsageError: jinja2 is not installed.
    """
    style = style_variables() + (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    template = _environment().from_string((_HERE / "page.html.jinja").read_text(encoding="utf-8"))
    page: str = template.render(
        title=title,
        named_above=[title] != [one.title for one in sections],
        sections=sections,
        overview=_overview(sections) if len(sections) > 1 else None,
        mark=MARK,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=version("rlkit"),
    )
    return page


def _environment() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise missing_extra("report", "report", error) from error

    def plain(value: Any) -> Any:
        # Names come from files and environments of anybody: no control characters reach the page.
        if isinstance(value, str) and not isinstance(value, Markup):
            return printable(value, lines=True)
        return value

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=plain,
    )


def _overview(sections: Sequence[Section]) -> Table:
    """Return what the page holds, with the first sentence of each verdict."""
    rows = [
        (Cell(one.title, link=one.id), one.kind, one.verdict[0], str(len(one.shortcomings) or "-"))
        for one in sections
    ]
    columns = ["of", "what", "verdict", "shortcomings"]
    return make_table("Overview", columns, rows)


def _hash(text: str) -> str:
    """Return the hash by which a browser knows the only style and script that it may use."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
