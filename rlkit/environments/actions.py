"""Check what an agent returns as its actions before any environment sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import first_masked
from rlkit.errors import AgentFault, UsageError

Array = NDArray[Any]
# (what `act` returned, bool [S, N] True where its episode is over) -> actions [S, N, ...]
Converter = Callable[[Any, Array], Array]


class ActionCheck(Protocol):
    """Returns the actions of an agent as an array, or raises."""

    def __call__(self, action: Any, idle: Array, masks: Array | None = None) -> Array:
        """Check what `act` returned.

        Args:
            action: what it returned.
            idle: where an episode is over, bool [S, N].
            masks: the actions that are allowed, bool [S, N, choices]; None = all.

        Raises:
            UsageError: the shape or type of the whole array is wrong.
            AgentFault: one entry is out of range, NaN, infinite or masked.
        """


def action_check(
    name: str, space: spaces.Space[Any], shape: tuple[int, int], seeds: Sequence[int] | None = None
) -> ActionCheck:
    """Return a function that returns the actions of an agent as an array, or raises.

    Integers in [0, n) are actions of a `Discrete(n, start=k)` space, whatever its start. Numbers of
    the right shape are actions of a `Box`, unless they are NaN, or infinite in a direction without
    bound: environments clip them to its bounds. Of other spaces an action is a row of such numbers,
    see `ActionLayout`. Where an episode is over, anything of the right shape and type passes, and
    invalid entries become 0.

    Args:
        name: the class of the agent, for messages.
        space: of the actions of one environment.
        shape: (S, N).
        seeds: the index of each seed in the experiment, for messages; default 0 to S - 1.
    """
    seeds = range(shape[0]) if seeds is None else seeds
    if len(seeds) != shape[0]:
        raise UsageError(f"expected the indices of {shape[0]} seeds, got {list(seeds)}")
    layout, order = ActionLayout(space), seeds
    if isinstance(space, spaces.Discrete):
        convert = _discrete_check(name, space, shape, seeds)
    elif isinstance(space, spaces.Box):
        convert = _box_check(name, space, (*shape, *space.shape), seeds)
    else:
        convert = _row_check(name, layout, shape, seeds)

    def check(action: Any, idle: Array, masks: Array | None = None) -> Array:
        actions = convert(action, idle)
        if masks is not None:
            place = first_masked(actions, masks | idle[..., None], layout)
            if place is not None:
                s, e, *column = place
                part = f" in column {column[0]}" if column else ""
                raise AgentFault(
                    order[s],
                    f"{name}.act returned {actions[place]}{part} for environment copy {e}, an "
                    "action that its mask forbids",
                )
        return actions

    return check


def _row_check(
    name: str, layout: ActionLayout, shape: tuple[int, int], seeds: Sequence[int]
) -> Converter:
    kinds, words = ("iu", "integers") if layout.is_discrete else ("fiu", "numbers")
    sizes, discrete = layout.sizes, layout.sizes > 0

    def check(action: Any, idle: Array) -> Array:
        action = _converted(name, action, (*shape, *layout.shape), kinds, words)
        outside = (action < 0) | (action >= sizes)
        if not layout.is_discrete:
            outside |= action != np.floor(action)
        wrong = np.where(discrete, outside, ~np.isfinite(action))
        is_fault = wrong & ~idle[..., None]
        if is_fault.any():
            s, e, k = np.argwhere(is_fault)[0].tolist()
            column = layout.columns[k]
            expected = f"an integer from 0 to {column.size - 1}" if column.size else "a number"
            place = f" in column {k}" + (f", the part {column.name}," if column.name else "")
            raise AgentFault(
                seeds[s],
                f"{name}.act returned {action[s, e, k]}{place} of the action for environment copy "
                f"{e}, expected {expected}; an action of {_short(layout.space)} is a row of "
                f"{len(layout.columns)} numbers",
            )
        return np.where(wrong, np.zeros((), action.dtype), action) if wrong.any() else action

    return check


def _discrete_check(
    name: str, space: spaces.Discrete, shape: tuple[int, int], seeds: Sequence[int]
) -> Converter:
    n = int(space.n)

    def check(action: Any, idle: Array) -> Array:
        if type(action) is np.ndarray and action.dtype is _INT64 and action.shape == shape:
            if 0 < action.size <= _FEW:
                few = action.ravel().tolist()
                if min(few) >= 0 and max(few) < n:
                    return action
            else:
                # As unsigned integers, negative numbers are above any n: one pass detects both.
                numbers = action.view(_UINT64)
                if numbers.item(numbers.argmax()) < n:
                    return action
        action = _converted(name, action, shape, "iu", "integers")
        wrong = (action < 0) | (action >= n)
        if not wrong.any():
            return action  # type: ignore[no-any-return]
        if (wrong & ~idle).any():
            s, e = np.argwhere(wrong & ~idle)[0].tolist()
            hint = f"; agents count from 0, also in {space}" if space.start else ""
            raise AgentFault(
                seeds[s],
                f"{name}.act returned the action {action[s, e]} for environment copy {e}, expected "
                f"an integer from 0 to {n - 1}{hint}",
            )
        return np.where(wrong, 0, action)

    return check


_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)  # NumPy has one object of each
_FEW = 64  # numbers that Python compares sooner than NumPy


def _box_check(
    name: str, space: spaces.Box, shape: tuple[int, ...], seeds: Sequence[int]
) -> Converter:
    # Without bounds to clip to, a number that the type of the space cannot hold is not an action.
    dtype: np.dtype[Any] = np.dtype(space.dtype)
    bounded = space.is_bounded() or dtype.kind != "f"
    largest = np.float64(np.inf if bounded else np.finfo(dtype).max)

    def check(action: Any, idle: Array) -> Array:
        if not (
            type(action) is np.ndarray and action.dtype.kind in "fiu" and action.shape == shape
        ):
            action = _converted(name, action, shape, "fiu", "numbers")
        # If any number is NaN, so are the minimum and the maximum, and comparisons are false.
        if np.minimum.reduce(action, axis=None) >= -largest and (
            bounded or np.maximum.reduce(action, axis=None) <= largest
        ):
            return action  # type: ignore[no-any-return]
        wrong = ~(np.abs(np.clip(action, space.low, space.high)) <= largest)
        is_fault = wrong & ~idle.reshape(*shape[:2], *(1 for _ in space.shape))
        if is_fault.any():
            s, e, *rest = np.argwhere(is_fault)[0].tolist()
            entry = f" in entry {rest}" if rest else ""
            raise AgentFault(
                seeds[s],
                f"{name}.act returned {action[(s, e, *rest)]}{entry} of the action for environment "
                f"copy {e}, expected finite numbers, as in {space}",
            )
        return np.where(wrong, np.zeros((), action.dtype), action) if wrong.any() else action

    return check


def _converted(name: str, action: Any, shape: tuple[int, ...], kinds: str, words: str) -> Array:
    """Return lists, tensors and other arrays as an array of the given shape and kinds."""
    expected = f"expected {words} of shape {list(shape)}"
    try:
        array = np.asarray(action)
    except Exception as error:  # also of other libraries: a tensor on a GPU, or with a gradient
        raise UsageError(
            f"{name}.act returned {_described(action)}, which is not an array ({error}); {expected}"
        ) from error
    if array.shape == shape and array.dtype.kind in kinds:
        return array
    hint = ""
    if array.shape == shape and array.dtype.kind == "b":
        hint = "; convert them with .astype(int)"
    elif array.shape == shape and array.dtype.kind == "f":
        hint = "; actions of a Discrete space are not rounded"
    elif array.shape in ((), shape[1:], (1, *shape)):
        hint = f", one for each of {shape[0]} seeds and {shape[1]} environments per seed"
    raise UsageError(f"{name}.act returned {_described(action)}, {expected}{hint}")


def _described(action: Any) -> str:
    """Describe in a few words what was returned in place of an array."""
    if isinstance(action, (int, float, complex, np.number)) and not isinstance(action, bool):
        return f"the number {action}"
    if hasattr(action, "shape") and hasattr(action, "dtype") and not isinstance(action, np.generic):
        kind = "an array" if isinstance(action, np.ndarray) else f"a {type(action).__name__}"
        return f"{kind} of {action.dtype} and shape {list(action.shape)}"
    if isinstance(action, (list, tuple)):
        try:
            array = np.asarray(action)
        except Exception:
            return f"a {type(action).__name__} of {len(action)} with parts of different lengths"
        return f"a {type(action).__name__} of {array.dtype} and shape {list(array.shape)}"
    return (
        f"{_short(action)}"
        if action is None
        else f"{_short(action)} of type {type(action).__name__}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
