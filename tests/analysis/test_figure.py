"""Figures are written completely or not at all, and the same figure gives the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from rlkit.analysis.figure import save_figure, shortened
from rlkit.analysis.plots import Curve, comparison_figure, learning_curve_figure

STEPS = np.linspace(0, 200_000, 21)
RETURNS = np.random.default_rng(0).normal(100, 10, (10, 21)) + np.linspace(0, 300, 21)


@pytest.fixture(scope="module")
def drawn_elsewhere(tmp_path_factory):
    """Two folders with a figure in each format, drawn in other processes and other years."""
    code = (
        "import sys, numpy as np; from rlkit.analysis.plots import *\n"
        "x = np.arange(5.); y = np.outer([1, 2, 3], x)\n"
        "for path in sys.argv[1:]:\n"
        "    f = learning_curve_figure([Curve('a', x, y)], title='t')\n"
        "    save_figure(f, path)"
    )
    folders = [tmp_path_factory.mktemp("figures") for _ in range(2)]
    for folder, epoch, hash_seed in zip(folders, ("0", "1700000000"), ("0", "1"), strict=True):
        environment = os.environ | {"SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": hash_seed}
        paths = [str(folder / f"figure.{suffix}") for suffix in ("png", "pdf", "svg")]
        command = [sys.executable, "-W", "error", "-c", code, *paths]
        subprocess.run(command, check=True, env=environment)
    return folders


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_same_figure_gives_the_same_bytes_in_another_process_and_another_year(
    drawn_elsewhere, suffix
):
    one, other = ((folder / f"figure.{suffix}").read_bytes() for folder in drawn_elsewhere)
    assert one == other
    assert matplotlib.__version__.encode() not in one


def test_saving_makes_the_folder_and_leaves_no_temporary_file(tmp_path):
    figure = comparison_figure({"a": [1.0, 2.0]}, title="t")
    save_figure(figure, tmp_path / "new" / "c.PNG")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["c.PNG"]


def test_a_failed_save_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "c.png"
    path.write_bytes(b"old")
    figure = comparison_figure({"a": [1.0, 2.0]}, title="t")

    def full_disk(*_args: object, **_kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", full_disk)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("c.png", b"old")]


@pytest.mark.parametrize("name", ["figure", "figure.bmp"])
def test_an_unknown_suffix_is_rejected_with_the_known_ones(tmp_path, name):
    with pytest.raises(ValueError, match=r"unknown suffix .*\.png, \.pdf, \.svg"):
        save_figure(comparison_figure({"a": [1.0]}, title="t"), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_drawing_touches_neither_pyplot_nor_global_settings(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(learning_curve_figure([Curve("a", STEPS, RETURNS)], title="t"), tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from rlkit.analysis.plots import *\n"
        "comparison_figure({'a': [1.0, 2.0]}, title='t')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.trap("F49")
def test_a_figure_has_the_same_bytes_whatever_the_style_of_the_user(tmp_path: Path) -> None:
    def drawn(name: str) -> list[bytes]:
        figures = (
            learning_curve_figure([Curve("a_b", STEPS, RETURNS)], title="100 %"),
            comparison_figure({"a_b": [1.0, 2.0]}, title="100 %"),
        )
        paths = [tmp_path / f"{name}-{k}.png" for k in range(len(figures))]
        for figure, path in zip(figures, paths, strict=True):
            save_figure(figure, path)
        return [path.read_bytes() for path in paths]

    expected = drawn("plain")
    of_user = {"text.usetex": True, "font.size": 30.0, "savefig.facecolor": "black"}
    with matplotlib.rc_context(of_user):
        assert drawn("other") == expected
        assert matplotlib.rcParams["text.usetex"]


def test_saved_png_is_complete(tmp_path: Path):
    save_figure(learning_curve_figure([Curve("a", STEPS, RETURNS)], title="t"), tmp_path / "a.png")
    height, width, _ = imread(tmp_path / "a.png").shape
    assert width == round(4.6 * 200)
    assert height == round(3.3 * 200)


def test_a_long_name_keeps_its_end():
    assert shortened("runs/ppo-CartPole-v1-0123456789", 12) == "…-0123456789"
    assert shortened("short", 5) == "short"
