"""Films in a page: whose they are, that they are small, and what is said where there is none."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rlkit
from rlkit.reporting import films
from rlkit.reporting.films import film_of, smaller
from rlkit.training.playing.film import Episode, film

RNG = np.random.default_rng(0)


def episode(number: int, height: int = 20, width: int = 40) -> Episode:
    images = [np.full((height, width, 3), i % 200, dtype=np.uint8) for i in range(number)]
    return Episode(images, 50, 1, number - 1, 1.0)


def test_a_long_film_is_thinned_and_keeps_its_end_and_its_pace() -> None:
    result = smaller(episode(150))
    assert result is not None
    gif, still, size, every = result
    assert (size, every) == ((40, 20), 3)
    with Image.open(io.BytesIO(gif)) as image:
        assert image.n_frames == 51  # type: ignore[attr-defined]
        assert image.info["duration"] == 150
        image.seek(50)
        assert np.asarray(image.convert("RGB"))[0, 0, 0] == pytest.approx(149, abs=8)
    with Image.open(io.BytesIO(still)) as image:
        assert image.format == "PNG"


def test_a_wide_film_is_made_smaller() -> None:
    result = smaller(episode(2, 200, 600))
    assert result is not None
    assert result[2] == (300, 100)


def test_a_film_that_cannot_be_small_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [RNG.integers(0, 256, (60, 60, 3), dtype=np.uint8) for _ in range(3)]
    monkeypatch.setattr(films, "MOST_BYTES", 1_000)
    assert smaller(Episode(noise, 50, 1, 2, 1.0)) is None


def test_an_episode_is_thinned_while_it_is_played(compared: Path) -> None:
    run = rlkit.load(next(compared.glob("random-*")))
    whole, few = film(run, seed=0), film(run, seed=0, max_pictures=2)
    assert (whole.num_steps, whole.episode_return) == (few.num_steps, few.episode_return)
    assert len(whole.images) == whole.num_steps + 1
    assert whole.num_steps > 3  # otherwise nothing is thinned
    assert len(few.images) <= 4
    assert few.milliseconds == whole.milliseconds * few.every
    np.testing.assert_array_equal(few.images[0], whole.images[0])
    np.testing.assert_array_equal(few.images[1], whole.images[few.every])
    np.testing.assert_array_equal(few.images[-1], whole.images[-1])


def test_the_film_is_that_of_the_median_seed(compared: Path) -> None:
    run = rlkit.load(next(compared.glob("q-learning-*")))
    run.__dict__["_final"] = np.array([[0.0, 3.0, 1.0, 2.0], [3000.0] * 4])
    made, problem = film_of(run, "learner")
    assert problem == ""
    assert made is not None
    assert made.caption.startswith("Seed 2, which has the median final return")
    data = base64.b64decode(made.gif.removeprefix("data:image/gif;base64,"))
    assert data.startswith(b"GIF89a")


def test_what_cannot_be_drawn_is_said(hostile: Path) -> None:
    made, problem = film_of(rlkit.load(next(hostile.glob("random-*"))), "it")
    assert made is None
    assert "must accept render_mode" in problem


def test_code_from_elsewhere_is_not_run_for_a_film(
    hostile: Path,
    tmp_path: Path,
    trained_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another machine"))
    made, problem = film_of(rlkit.load(next(hostile.glob("random-*"))), "it")
    assert made is None
    assert "trust" in problem
