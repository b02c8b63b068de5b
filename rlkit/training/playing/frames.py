"""Converts the frames that `render()` returns to pictures of one format."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError

Array = NDArray[Any]

_CHANNELS = (1, 3, 4)  # grey, RGB, RGB with opacity
_EXPECTED = (
    "expected a picture [height, width, 3] of numbers from 0 to 255, or of floats from 0 to 1, as "
    'of render_mode="rgb_array"'
)


def new_frames(env: gym.Env[Any, Any]) -> list[Array]:
    """Return copies of the frames of `render()`: one, or all of a list or stack.

    Raises:
        UsageError: `render()` returned no picture.
    """
    frame: Any = env.render()
    several = len(getattr(frame, "shape", ())) == 4 or (
        isinstance(frame, (list, tuple)) and all(map(_is_picture, frame))
    )
    # An environment may draw into the same array again.
    return [_array(one) for one in (frame if several else [frame])]


def pictures(frames: list[Array]) -> list[NDArray[np.uint8]]:
    """Return the frames of a film as [height, width, 3], all of one size.

    Grey frames, [channels, height, width] and opacity (over white) are understood. Floats that
    never exceed 1 are fractions of full brightness; this is decided for the whole film, because
    one dark frame alone is ambiguous.

    Raises:
        UsageError: numbers outside of 0 to 255, or frames of different sizes.
    """
    if not frames:
        raise UsageError(f"render() returned no frames; {_EXPECTED}")
    for frame in frames:
        _require_brightness(frame)
    floats = any(frame.dtype.kind == "f" for frame in frames)
    shares = floats and max(float(frame.max()) for frame in frames) <= 1.0
    boolean = all(frame.dtype.kind == "b" for frame in frames)
    scale = 255.0 if shares or boolean else 1.0
    images = [
        # Most are RGB pictures already, and converting every pixel takes longer than playing.
        frame if _is_rgb(frame) and scale == 1.0 else _picture(frame * scale)
        for frame in frames
    ]
    for number, image in enumerate(images):
        if image.shape != images[0].shape:
            raise UsageError(
                f"render() returned frames of different sizes: [height, width] = "
                f"{list(images[0].shape[:2])} at first, {list(image.shape[:2])} as frame {number}"
            )
    return images


def _array(frame: Any) -> Array:
    try:
        array = None if frame is None or isinstance(frame, (str, dict)) else np.array(frame)
    except ValueError:  # rows of different lengths
        array = None
    if array is None or array.dtype.kind not in "buif":
        returned = f"a {type(frame).__name__}" if array is None else f"an array of {array.dtype}"
        returned = "None" if frame is None else returned
        raise UsageError(f"render() returned {returned}; {_EXPECTED}")
    if _channels_last(array) is None:
        raise UsageError(f"render() returned an array of shape {list(array.shape)}; {_EXPECTED}")
    return array


def _is_picture(frame: Any) -> bool:
    """Return whether an element of a list is a whole frame, not a row of one."""
    shape: tuple[int, ...] = getattr(frame, "shape", ())
    return len(shape) == 3 or (len(shape) == 2 and shape[-1] not in _CHANNELS)


def _channels_last(frame: Array) -> Array | None:
    """Return the frame as [height, width, channels]; None for another shape."""
    shape: tuple[int, ...] = frame.shape
    if 0 in shape:
        return None
    if len(shape) == 2:
        return frame[..., None]
    if len(shape) == 3 and shape[-1] in _CHANNELS:
        return frame
    if len(shape) == 3 and shape[0] in _CHANNELS:
        return np.moveaxis(frame, 0, -1)
    return None


def _is_rgb(frame: Array) -> bool:
    return frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[-1] == 3


def _require_brightness(frame: Array) -> None:
    low, high = frame.min(), frame.max()
    if not (low >= 0 and high <= 255):  # NaN is neither
        content = "NaN" if np.isnan(low) else f"numbers from {low:g} to {high:g}"
        raise UsageError(f"render() returned a picture with {content}; {_EXPECTED}")


def _picture(frame: Array) -> NDArray[np.uint8]:
    image = _channels_last(frame)
    assert image is not None
    if image.shape[-1] == 4:
        opacity = image[..., 3:] / 255.0
        image = image[..., :3] * opacity + 255.0 * (1.0 - opacity)
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(np.rint(image).astype(np.uint8))
