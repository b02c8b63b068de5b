"""Tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlkit.cli.terminal import cell

if TYPE_CHECKING:
    from rich.table import Table


def new_table(title: str, columns: Sequence[str], *, left: int = 1) -> Table:
    """Return an empty table; the first `left` columns are aligned to the left and may wrap."""
    from rich.table import Table

    table = Table(title=cell(title), title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i < left else "right", no_wrap=i >= left)
    return table


def print_table(table: Table) -> None:
    """Print a table, 110 characters wide where the output is no terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 110).print(table)
