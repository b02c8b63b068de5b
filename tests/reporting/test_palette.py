"""Everything that is read has contrast, and series are told apart with any kind of colour vision.

The ratios are those of WCAG 2.2, computed here from its definition. Colour blindness is simulated
by the matrices of Machado, Oliveira and Fernandes (2009) at full severity.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from rlkit.reporting.palette import DARK, DASHES, LIGHT, NUM_SERIES, style_variables

PALETTES = [LIGHT, DARK]
VISION = {
    "all": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    """sRGB of a colour as light."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


def lab(light: np.ndarray) -> np.ndarray:
    """CIELAB under D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    white = np.array([0.9505, 1.0, 1.089])
    t = matrix @ np.clip(light, 0, 1) / white
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_ratio_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WebAIM's example


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark"])
def test_text_has_a_contrast_of_7_or_for_small_print_4_5(palette: dict[str, str]) -> None:
    for surface in ("background", "panel", "warning-panel"):
        assert contrast(palette["text"], palette[surface]) >= 7
    for name in ("muted", "link", "focus"):
        assert contrast(palette[name], palette["background"]) >= 4.5, name
        assert contrast(palette[name], palette["panel"]) >= 4.5, name
    assert contrast(palette["warning"], palette["warning-panel"]) >= 4.5


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark"])
def test_what_is_drawn_has_a_contrast_of_3(palette: dict[str, str]) -> None:
    names = ["reference", "muted", *(f"series-{i}" for i in range(NUM_SERIES))]
    for name in names:
        assert contrast(palette[name], palette["background"]) >= 3, name


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark"])
def test_series_are_told_apart(palette: dict[str, str], vision: str) -> None:
    """A difference of 12 in CIELAB is several times what is just seen; dashes differ as well."""
    seen = [lab(VISION[vision] @ linear(palette[f"series-{i}"])) for i in range(NUM_SERIES)]
    for i, j in combinations(range(NUM_SERIES), 2):
        assert np.linalg.norm(seen[i] - seen[j]) > 12, (i, j)
    assert len(set(DASHES)) == NUM_SERIES


def test_both_sets_have_the_same_names_and_are_in_the_style_sheet() -> None:
    assert LIGHT.keys() == DARK.keys()
    style = style_variables()
    screen, printed = style.split("@media print")
    for name in LIGHT:
        assert f"--{name}:{LIGHT[name]}" in screen.split("@media (prefers-color-scheme:dark)")[0]
        assert f"--{name}:{DARK[name]}" in screen
        assert f"--{name}:{LIGHT[name]}" in printed
