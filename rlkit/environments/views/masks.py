"""Action masks: which actions an environment allows at an observation.

A mask is a row of booleans, one for each choice: of a Discrete space one per action, of other
spaces those of their discrete parts one after another, in the order of `ActionLayout` (two per bit
of a MultiBinary), as in sb3-contrib. Real numbers have none.

An environment offers masks as `info["action_mask"]` of `reset` and `step`, or by a method
`action_masks()`, its own or a wrapper's; where there are both, the info counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.environments.views.actions import ActionLayout
from rlkit.processes.calls import describe

Array = NDArray[Any]

KEY, METHOD = "action_mask", "action_masks"


def mask_method(env: gym.Env[Any, Any]) -> Callable[[], Any] | None:
    """Return the method by which an environment or one of its wrappers offers masks, or None."""
    try:
        method = env.get_wrapper_attr(METHOD)
    except AttributeError:
        return None
    return method if callable(method) else None


def offers_masks(env: gym.Env[Any, Any], info: Any) -> bool:
    """Return whether an environment offers masks, given the info of a reset."""
    return (isinstance(info, dict) and KEY in info) or mask_method(env) is not None


def given_mask(env: gym.Env[Any, Any], info: Any) -> tuple[Any, str]:
    """Return what an environment gives as its mask, and from where; (None, "") for nothing.

    Raises:
        Whatever its method raises.
    """
    if isinstance(info, dict) and KEY in info:
        return info[KEY], f'info["{KEY}"]'
    method = mask_method(env)
    return (None, "") if method is None else (method(), f"{METHOD}()")


class MaskReader:
    """Reads and checks the masks of environments with the same action space."""

    def __init__(self, layout: ActionLayout) -> None:
        self._layout = layout

    def __call__(self, env: gym.Env[Any, Any], info: Any) -> NDArray[np.bool_]:
        """Return the mask for the observation that came with an info.

        Raises:
            ValueError: there is none, its shape or type is wrong, or it allows no action.
        """
        return self.checked(*given_mask(env, info))

    def checked(self, given: Any, source: str) -> NDArray[np.bool_]:
        """Return a mask as an array, or raise ValueError with the name of its source.

        The source is "" where there is no mask.
        """
        if not source:
            raise ValueError(
                f'there is no info["{KEY}"] and no method {METHOD}(), but the run uses action '
                "masks: give one with every observation (a vector environment in SAME_STEP mode: "
                'those of last observations in info["final_info"])'
            )
        mask, size = _as_row(given), self._layout.num_choices
        if mask is None or mask.shape != (size,):
            got = type(given).__name__ if mask is None else f"shape {np.shape(given)}"
            parts = "" if len(self._layout.sizes) == 1 else f", {_sizes(self._layout)} of its parts"
            raise ValueError(
                f"{source} is {_short(given)} ({got}), expected {size} booleans, or zeros and "
                f"ones{parts}, as the actions are {self._layout.space}"
            )
        for column, part in zip(self._layout.columns, split(mask, self._layout), strict=True):
            if column.size and not part.any():
                where = f" in the part {column.name}" if column.name else ""
                raise ValueError(f"{source} allows no action{where}: it is {_short(given)}")
        return mask


def split(masks: Array, layout: ActionLayout) -> list[Array]:
    """Return the masks [..., choices] of each column, [..., size]; size 0 for real numbers."""
    return np.split(masks, np.cumsum(layout.sizes)[:-1], axis=-1)


def first_masked(actions: Array, masks: Array, layout: ActionLayout) -> tuple[int, ...] | None:
    """Return the place of the first action that its mask forbids, or None.

    Args:
        actions: [S, N, ...].
        masks: [S, N, choices].
        layout: of the actions.

    Returns:
        (s, n), or (s, n, column).
    """
    rows = actions.reshape(*masks.shape[:2], -1)[..., layout.sizes > 0].astype(np.int64)
    columns = np.flatnonzero(layout.sizes)
    allowed = np.take_along_axis(masks, rows + layout.offsets[columns], axis=-1)
    if allowed.all():
        return None
    s, n, k = np.argwhere(~allowed)[0].tolist()
    return (s, n, int(columns[k])) if layout.shape else (s, n)


def draw_allowed(masks: Array, uniform: Array) -> Array:
    """Return an action that its mask allows, each with equal probability.

    Args:
        masks: [..., size].
        uniform: numbers in [0, 1), [...].

    Returns:
        actions, int64 [...]
    """
    rank = masks.cumsum(axis=-1)
    chosen = (uniform * rank[..., -1]).astype(np.int64) + 1
    actions: Array = (rank == chosen[..., None]).argmax(axis=-1)
    return actions


def nearest_allowed(actions: Array, masks: Array, layout: ActionLayout) -> Array:
    """Return actions [S, N, ...] with each forbidden choice replaced by the next allowed one."""
    columns = actions.reshape(*masks.shape[:2], -1).copy()
    for k, part in enumerate(split(masks, layout)):
        size = part.shape[-1]
        if size:
            # The allowed choices in the order beginning with the one that was made.
            order = (columns[..., k, None].astype(np.int64) + np.arange(size)) % size
            first = np.take_along_axis(part, order, axis=-1).argmax(axis=-1)
            columns[..., k] = np.take_along_axis(order, first[..., None], axis=-1)[..., 0]
    return columns.reshape(actions.shape)


def _as_row(given: Any) -> NDArray[np.bool_] | None:
    """Return booleans, or zeros and ones, as one row; None where it is neither.

    A tuple or list of one mask per part, as Gymnasium's `sample` takes it, is one row as well.
    """
    try:
        parts = given if isinstance(given, (tuple, list)) else [given]
        row = np.concatenate([np.atleast_1d(np.asarray(part)).ravel() for part in parts])
    except (ValueError, TypeError):
        return None
    if row.dtype.kind not in "biuf" or not np.isin(row, (0, 1)).all():
        return None
    return row.astype(np.bool_)


def _sizes(layout: ActionLayout) -> str:
    return " + ".join(str(size) for size in layout.sizes if size)


def _short(value: Any) -> str:
    text = describe(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
