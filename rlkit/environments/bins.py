"""Box observations divided into bins, so that agents with tables can use them.

Each number of an observation falls into one of a few bins of equal width between two limits;
numbers outside fall into the outermost bins. A combination of bins is one index, the last number
counting fastest.

The division stands between an environment and its agents: the environment and the actors of a run
deal in its own observations, agents see one Discrete space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.leaves import bounds_of
from rlkit.errors import UsageError
from rlkit.options import Unfit, converted

Array = NDArray[Any]

MOST_CELLS = 50_000_000  # of a table's states; more would hardly fit into memory


@dataclass(frozen=True)
class Binning:
    """What a user asks for; each tuple has one number for all dimensions or one for each.

    Args:
        bins: the number of bins, >= 1.
        low: lower limits; empty for those of the space.
        high: upper limits; empty for those of the space.
    """

    bins: tuple[int, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def make_binning(bins: Any, low: Any, high: Any) -> Binning | None:
    """Return the binning that options describe, or None if there is none.

    Args:
        bins: a whole number, several, or None or an empty sequence for no binning.
        low: a number, several, or None or an empty sequence for the limits of the space.
        high: the same.

    Raises:
        UsageError: an option is of another kind, or limits are given without bins.
    """
    counts = _several("bins", bins, int)
    limits = {name: _several(name, value, float) for name, value in _limits(low, high)}
    if not counts:
        given = [f"{name} (--{name.replace('_', '-')})" for name, value in limits.items() if value]
        if given:
            raise UsageError(f"option {given[0]}: it has no meaning without bins (--bins)")
        return None
    if min(counts) < 1:
        raise UsageError(f"option bins (--bins): expected whole numbers >= 1, got {list(counts)}")
    return Binning(counts, *limits.values())


def _limits(low: Any, high: Any) -> tuple[tuple[str, Any], ...]:
    return ("bin_low", low), ("bin_high", high)


def _several(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    """Return a number, or several, as a tuple."""
    if value is None:
        return ()
    several = isinstance(value, Sequence) or np.ndim(value) > 0
    try:
        numbers: tuple[Any, ...] = converted(value if several else (value,), tuple[kind, ...])
    except Unfit as error:
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}): expected one number or "
            f"{error.expected}, got {value!r:.100}"
        ) from None
    if not all(math.isfinite(number) for number in numbers):
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}): expected finite numbers, got {numbers}"
        )
    return numbers


class Bins:
    """Turns observations of a Box into indices.

    Args:
        space: of the observations.
        binning: what the user asked for.
        name: of the environment, for messages.

    Raises:
        UsageError: the space is no Box, a dimension has no limits, or the numbers do not fit it.
    """

    def __init__(self, space: spaces.Space[Any], binning: Binning, name: str) -> None:
        if not isinstance(space, spaces.Box):
            raise UsageError(
                f"option bins (--bins): {name} has the observation space {space}, and only the "
                "numbers of a Box are divided into bins; omit it"
            )
        size = math.prod(space.shape)
        self._axes = len(space.shape)
        self.counts = np.array(_each("bins", binning.bins, size, name), dtype=np.int64)
        self._low = _bounds("low", space, binning.low, size, name)
        self._high = _bounds("high", space, binning.high, size, name)
        wrong = np.flatnonzero(~(self._low < self._high))
        if wrong.size:
            d = int(wrong[0])
            raise UsageError(
                f"bins of {name}: the limits of dimension {d} must rise, got {self._low[d]:g} to "
                f"{self._high[d]:g} (--bin-low, --bin-high)"
            )
        with np.errstate(over="ignore"):
            widths = self._high - self._low
        if not np.isfinite(widths).all():
            raise UsageError(
                f"bins of {name}: the limits are too far apart for float64 (--bin-low, --bin-high)"
            )
        cells = math.prod(self.counts.tolist())
        if cells > MOST_CELLS:
            raise UsageError(
                f"option bins (--bins): {self.counts.tolist()} bins make {cells:,} states, more "
                f"than {MOST_CELLS:,}; use fewer bins, or an agent with a network such as ppo"
            )
        self.space = spaces.Discrete(cells)
        self._weights = np.append(np.cumprod(self.counts[:0:-1])[::-1], 1).astype(np.int64)

    @property
    def limits(self) -> tuple[Array, Array]:
        """The lower and upper limits of each dimension."""
        return self._low, self._high

    def __call__(self, obs: Array) -> Array:
        """Return the indices [...] of observations [..., *shape], int64."""
        leading = obs.shape[: obs.ndim - self._axes]
        flat = obs.reshape(*leading, -1).astype(np.float64)
        share = (flat - self._low) / (self._high - self._low)
        # Clipped before the conversion: an integer cannot hold every float.
        digits = np.clip(np.floor(share * self.counts), 0, self.counts - 1).astype(np.int64)
        indices: Array = (digits * self._weights).sum(axis=-1)
        return indices


def _each(name: str, given: Sequence[Any], size: int, environment: str) -> list[Any]:
    """Return one number for each dimension."""
    if len(given) not in (1, size):
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}): expected one number or {size}, one for "
            f"each dimension of the observations of {environment}, got {len(given)}"
        )
    return list(given) * (size if len(given) == 1 else 1)


def _bounds(
    side: str, space: spaces.Box, given: Sequence[float], size: int, name: str
) -> NDArray[np.float64]:
    """Return the lower or upper limits: those given, else those of the space."""
    if given:
        return np.array(_each(f"bin_{side}", given, size, name), dtype=np.float64)
    bounds = bounds_of(space)[side == "high"]
    unbounded = np.flatnonzero(np.isinf(bounds))
    if unbounded.size:
        listed = ", ".join(map(str, unbounded.tolist()))
        plural = "s" if unbounded.size > 1 else ""
        end = "below" if side == "low" else "above"
        raise UsageError(
            f"option bins (--bins): the observations of {name} have no bound {end} in dimension"
            f"{plural} {listed}; give limits with --bin-low and --bin-high (bin_low=, bin_high=), "
            f"one number for all or {size}, one for each dimension: values beyond them fall into "
            "the outermost bins"
        )
    return bounds
