"""The name of a backend in MPLBACKEND, which matplotlib rejects at its import if it is unknown."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

_VARIABLE = "MPLBACKEND"
_KNOWN = frozenset(
    (
        *("gtk3agg", "gtk3cairo", "gtk4agg", "gtk4cairo", "macosx", "nbagg", "notebook", "qtagg"),
        *("qtcairo", "qt5agg", "qt5cairo", "tkagg", "tkcairo", "webagg", "wx", "wxagg", "wxcairo"),
        *("agg", "cairo", "pdf", "pgf", "ps", "svg", "template", "auto"),
    )
)


def ignore_unknown_backend() -> str | None:
    """Unset MPLBACKEND if matplotlib does not know its value: rlkit draws without a backend.

    Returns:
        what was done, as a sentence, or None.
    """
    name = os.environ.get(_VARIABLE, "")
    if not name or name.lower() in _KNOWN or name.startswith("module://"):
        return None
    if name in {point.name for point in entry_points(group="matplotlib.backend")}:
        return None
    del os.environ[_VARIABLE]
    return f"{_VARIABLE}={name!r} is no backend of matplotlib, so it is ignored"
