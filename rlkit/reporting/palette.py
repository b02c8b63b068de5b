"""Colours of pages, as variables of their style sheet: one set for light, one for dark.

The colours of series are told apart with each kind of colour blindness, and each has a dash of its
own. tests/reporting/test_palette.py computes both, and the contrast of everything that is read.
"""

from __future__ import annotations

LIGHT = {
    "background": "#ffffff",
    "panel": "#f4f6f8",
    "text": "#16202a",
    "muted": "#4d5a66",
    "rule": "#c9d1d8",
    "link": "#0b5394",
    "focus": "#b3261e",
    "warning": "#8a3b00",
    "warning-panel": "#fff4e5",
    "reference": "#3c4650",
    "series-0": "#224ed1",
    "series-1": "#bf4933",
    "series-2": "#339472",
    "series-3": "#c63dbe",
    "series-4": "#a28a00",
    "series-5": "#393366",
}
DARK = {
    "background": "#11161b",
    "panel": "#1b2229",
    "text": "#e8edf1",
    "muted": "#a9b5c0",
    "rule": "#3a4650",
    "link": "#8cc4ff",
    "focus": "#ffb4a9",
    "warning": "#ffc48a",
    "warning-panel": "#2e2213",
    "reference": "#c3ccd4",
    "series-0": "#3c96ff",
    "series-1": "#e97e42",
    "series-2": "#11b287",
    "series-3": "#f9abc7",
    "series-4": "#eed164",
    "series-5": "#c9b1f2",
}
NUM_SERIES = 6
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "2 2 7 2")


def style_variables() -> str:
    """Return the style sheet's variables; a page is light unless the reader prefers dark."""
    light, dark = _variables(LIGHT), _variables(DARK)
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}\n"
    ) + "\n".join(_series(i) for i in range(NUM_SERIES))


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def _series(i: int) -> str:
    dash = f"stroke-dasharray:{DASHES[i]};" if DASHES[i] else ""
    return (
        f".s{i}{{stroke:var(--series-{i});color:var(--series-{i})}}\n.line.s{i}{{{dash}}}\n"
        f".band.s{i},.dot.s{i}{{fill:var(--series-{i})}}"
    )
