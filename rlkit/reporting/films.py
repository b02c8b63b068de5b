"""Episodes of final policies as gifs that are small enough for a page."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.reporting.parts import Film, number
from rlkit.training.playing.film import Episode, film
from rlkit.training.run import Run

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_STEPS = 500
MOST_BYTES = 400_000  # of one gif
_WIDTH, _MOST_FRAMES = 300, 60


def film_of(run: Run, name: str) -> tuple[Film | None, str]:
    """Film the first evaluation episode of the seed with the median score.

    Returns:
        the film, or None and why there is none.
    """
    known = np.flatnonzero(np.isfinite(run.scores))
    if not len(known):
        return None, "no seed was trained to the end"
    order = known[np.argsort(run.scores[known], kind="stable")]
    seed = run.seeds[int(order[(len(order) - 1) // 2])]
    with warnings.catch_warnings():
        # What a reader must know, such as a changed source, is in the report already, and whether
        # there are pictures turns out.
        warnings.simplefilter("ignore")
        try:
            episode = film(run, seed=seed, max_steps=MOST_STEPS, max_pictures=_MOST_FRAMES)
        except RlkitError as error:
            return None, str(error)
    small = smaller(episode)
    if small is None:
        return None, f"its pictures take more than {MOST_BYTES // 1000:,} kB"
    gif, still, (width, height), skipped = small
    length = f"{episode.num_steps} step{'s' * (episode.num_steps != 1)}"
    every = episode.every * skipped
    shown = "" if every == 1 else f"; one of every {every} pictures is shown"
    caption = (
        f"Seed {seed}, which has the median final return: a return of "
        f"{number(episode.episode_return)} in {length}{shown}."
    )
    return Film(name, caption, _uri(gif, "gif"), _uri(still, "png"), width, height), ""


def smaller(episode: Episode) -> tuple[bytes, bytes, tuple[int, int], int] | None:
    """Return an episode as a gif and a still picture that fit into a page.

    Returns:
        the gif, the png of its first picture, width and height, and how many pictures stand for
        one; or None where even a small gif is too large.
    """
    for width, most in ((_WIDTH, _MOST_FRAMES), (200, 30), (140, 20)):
        every = -(-len(episode.images) // most)
        images = [_resized(image, width) for image in _some(episode.images, every)]
        gif = _encoded(images, "gif", episode.milliseconds * every)
        if len(gif) <= MOST_BYTES:
            return gif, _encoded(images[:1], "png", 0), images[0].size, every
    return None


def _some(images: list[NDArray[np.uint8]], every: int) -> list[NDArray[np.uint8]]:
    """Return every so many pictures, and the last one, which shows how it ended."""
    some = images[::every]
    return some if (len(images) - 1) % every == 0 else [*some, images[-1]]


def _resized(picture: NDArray[np.uint8], width: int) -> Image:
    from PIL import Image

    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    return image


def _encoded(images: list[Image], kind: str, milliseconds: int) -> bytes:
    from PIL.Image import Quantize

    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if kind == "gif":
        images = [image.quantize(64, method=Quantize.FASTOCTREE) for image in images]
        options = {"save_all": True, "append_images": images[1:], "loop": 0}
        options["duration"] = milliseconds
    images[0].save(buffer, kind, optimize=True, **options)
    return buffer.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
