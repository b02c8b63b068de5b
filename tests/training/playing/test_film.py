"""Films of episodes, and what is checked before one is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rlkit
from rlkit.errors import UsageError
from rlkit.training.playing.film import watch
from rlkit.training.run import Run
from tests.training.playing.drawings import U8, Drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    def drawn(render_mode: str | None = None) -> Drawn:
        return Drawn([U8 / 255.0, U8[::-1] / 255.0, U8 / 255.0], render_mode)

    options = {"seeds": 1, "steps": 10, "evaluation_episodes": 0}
    return rlkit.train("random", drawn, out=tmp_path_factory.mktemp("film"), **options)


def test_a_film_has_a_frame_for_each_step_and_the_first(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "film.gif"
    assert watch(run, path) == (2, 2.0)
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        assert image.info["duration"] == 20
        for number, expected in enumerate([U8, U8[::-1], U8]):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)
    assert watch(run, path, max_steps=1) == (1, 1.0)
    assert [entry.name for entry in path.parent.iterdir()] == ["film.gif"]


@pytest.mark.parametrize("fps", [0, -5, None, "fast", float("nan"), float("inf"), 1e-9])
def test_a_rate_of_frames_that_makes_no_sense_is_replaced(
    fps: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Drawn.metadata, "render_fps", fps)
    watch(run, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as image:
        assert 20 <= image.info["duration"] <= 40


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [
        *(("max_steps", value, 1) for value in (-3, 0, True, 1.0, "9")),
        *(("episode", value, 0) for value in (-1, 0.0)),
        *(("seed", value, 0) for value in (-1, "0")),
    ],
)
def test_options_are_checked_before_anything_is_played(
    option: str, value: Any, least: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawn, "reset", lambda self, **_: pytest.fail("played"))
    monkeypatch.setattr(Run, "actor", lambda self, seed: pytest.fail("built"))
    with pytest.raises(UsageError, match=f"option {option} .*>= {least}, got "):
        watch(run, tmp_path / "film.gif", **{option: value})


def test_a_place_that_cannot_be_written_is_rejected_before_anything_is_played(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "actor", lambda self, seed: pytest.fail("played"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("file/x.gif", "file/a/b/x.gif", "folder.gif", "nowhere/x.gif", "y" * 300 + ".gif"):
        with pytest.raises(UsageError, match=r"--gif .* cannot be written: "):
            watch(run, tmp_path / name)
    for name in ("film", "film.png", "film.gif.mp4", ".gif", "nul\0.gif"):
        with pytest.raises(UsageError, match=r"expected a file name that ends in \.gif"):
            watch(run, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} >= {"file", "folder.gif", "nowhere"}
    assert (tmp_path / "file").read_text() == ""
