"""Films of episodes: pictures of every form come out as they were drawn, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from rlkit.errors import UsageError
from rlkit.training.playing.film import watch
from rlkit.training.playing.frames import new_frames, pictures
from rlkit.training.run import Run

BRIGHT, DARK = 200, 100
_LINE = np.zeros((8, 6, 3))
_LINE[..., 1] = DARK
_LINE[2, :, 0] = BRIGHT
U8 = _LINE.astype(np.uint8)  # a red line on a dark green ground
GREY = U8[..., 0]


class Drawn(gym.Env[Any, Any]):
    """Draws whatever it was given, one thing a step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, drawings: list[Any], render_mode: str | None = None) -> None:
        self.drawings, self.t = drawings, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, Any]:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.t % 2, 1.0, self.t >= len(self.drawings) - 1, False, {}

    def render(self) -> Any:
        return self.drawings[self.t]


def film(*drawings: Any) -> list[Any]:
    env = Drawn(list(drawings))
    frames = []
    for env.t in range(len(drawings)):
        frames += new_frames(env)
    return list(pictures(frames))


RGB = {
    "bytes": U8,
    "whole numbers": U8.astype(np.int64),
    "floats to 1": U8 / 255.0,
    "float32 to 1": (U8 / 255.0).astype(np.float32),
    "floats to 255": U8.astype(float),
    "channels first": U8.transpose(2, 0, 1),
    "floats, channels first": U8.transpose(2, 0, 1) / 255.0,
    "opaque": np.concatenate([U8, np.full((8, 6, 1), 255, np.uint8)], axis=-1),
    "opaque floats": np.concatenate([U8 / 255.0, np.ones((8, 6, 1))], axis=-1),
    "a list of numbers": U8.tolist(),
    "rows in a list": list(U8),
    "an image": Image.fromarray(U8),
}


@pytest.mark.parametrize("form", RGB)
def test_a_picture_of_any_form_comes_out_as_it_was_drawn(form: str) -> None:
    (image,) = film(RGB[form])
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, U8)


@pytest.mark.parametrize(
    "grey", [GREY, GREY[..., None], GREY[None], GREY / 255.0, GREY.astype(float)]
)
def test_grey_is_drawn_as_grey(grey: Any) -> None:
    (image,) = film(grey)
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=-1))


def test_booleans_are_black_and_white() -> None:
    (image,) = film(GREY > 0)
    np.testing.assert_array_equal(image, 255 * np.repeat((GREY > 0)[..., None], 3, axis=-1))


def test_transparent_pixels_are_white() -> None:
    half = np.concatenate([U8, np.full((8, 6, 1), 51, np.uint8)], axis=-1)  # a fifth
    np.testing.assert_array_equal(film(half)[0], np.rint(0.2 * U8 + 0.8 * 255).astype(np.uint8))


def test_several_frames_at_once_are_all_of_the_film() -> None:
    other = U8[::-1]
    for drawing in ([U8, other], (U8, other), np.stack([U8, other])):
        images = film(drawing, U8)
        assert [image.tolist() for image in images] == [x.tolist() for x in (U8, other, U8)]
    assert len(film([GREY, GREY])) == 2
    assert len(film([U8], [])) == 1


def test_a_dark_frame_of_a_film_of_floats_to_255_stays_dark() -> None:
    dark = np.full((8, 6, 3), 1.0)
    images = film(dark, U8.astype(float))
    assert images[0].max() == 1
    np.testing.assert_array_equal(images[1], U8)


def test_an_array_that_is_drawn_into_again_is_copied() -> None:
    canvas = np.zeros((8, 6, 3), np.uint8)
    env = Drawn([canvas])
    frames = new_frames(env)
    canvas[:] = 255
    frames += new_frames(env)
    assert [image.max() for image in pictures(frames)] == [0, 255]


@pytest.mark.parametrize(
    ("drawing", "said"),
    [
        (None, "returned None"),
        ("text", "returned a str"),
        ({}, "returned a dict"),
        ([], "returned no frames"),
        ([[1], [1, 2]], "returned a list"),
        (U8 * np.nan, "with NaN"),
        (U8 / 255.0 - 1.0, "numbers from -1 to "),
        (U8 * 2.0, "numbers from 0 to 400"),
        (np.full((8, 6, 3), np.inf), "numbers from inf to inf"),
        (U8.astype(complex), "an array of complex128"),
        (np.array([object()]), "an array of object"),
        (np.zeros(5), r"of shape \[5\]"),
        (np.zeros((8, 6, 2)), r"of shape \[8, 6, 2\]"),
        (np.zeros((0, 6, 3)), r"of shape \[0, 6, 3\]"),
        (3.0, r"of shape \[\]"),
    ],
)
def test_invalid_pictures_are_rejected_with_got_and_expected(drawing: Any, said: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(UsageError, match=said) as caught:
        film(drawing)
    assert "expected a picture [height, width, 3]" in str(caught.value)


def test_frames_of_different_sizes_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"\[8, 6\] at first, \[7, 6\] as frame 1"):
        film(U8, U8[1:])


@pytest.fixture
def run(small: Callable[..., Run]) -> Run:
    def drawn(render_mode: str | None = None) -> Drawn:
        return Drawn([U8 / 255.0, U8[::-1] / 255.0, U8 / 255.0], render_mode)

    return small("random", environment=drawn, seeds=1, steps=10, evaluation_episodes=0)


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
