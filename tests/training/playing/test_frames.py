"""Pictures of every form come out as they were drawn, or are rejected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlkit.errors import UsageError
from rlkit.training.playing.frames import new_frames, pictures
from tests.training.playing.drawings import GREY, U8, Drawn


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
    ("drawing", "message"),
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
def test_invalid_pictures_are_rejected_with_got_and_expected(drawing: Any, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(UsageError, match=message) as caught:
        film(drawing)
    assert "expected a picture [height, width, 3]" in str(caught.value)


def test_frames_of_different_sizes_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"\[8, 6\] at first, \[7, 6\] as frame 1"):
        film(U8, U8[1:])
