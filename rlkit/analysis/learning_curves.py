"""Learning curves of several seeds: one x axis for all, and an interval of the mean at each x."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.analysis.intervals import check_share, mean_intervals
from rlkit.analysis.resampling import Floats


@dataclass(frozen=True)
class Curve:
    """Learning curves of one agent on a common x, as `align_curves` returns them."""

    name: str
    num_env_steps: ArrayLike  # [E], ascending
    returns: ArrayLike  # [S, E], nan where a seed has no value


@dataclass(frozen=True)
class Reference:
    """A line to compare with: the optimum, the threshold of a solved task, a random policy."""

    label: str
    value: float
    curve: int | None = None  # whose colour it has, counted from 0; None = grey


@dataclass(frozen=True)
class CurveBand:
    """Mean and interval at every x; `num_seeds` counts the seeds that reached that x."""

    mean: Floats  # [E]
    low: Floats  # [E], nan where fewer than two seeds
    high: Floats  # [E]
    num_seeds: NDArray[np.int64]  # [E]
    confidence: float


def align_curves(
    num_env_steps: Sequence[ArrayLike],
    returns: Sequence[ArrayLike],
    *,
    grid: ArrayLike | None = None,
    reached: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Put learning curves with different x on one x axis, without interpolation or truncation.

    The value at x is the last one recorded at or before x (a step function). It is nan before a
    seed's first record and after the x that the seed has reached, so a seed that stopped early is
    missing there, and the others are not truncated to it.

    Args:
        num_env_steps: per seed `[E_s]`, environment steps at which it was recorded, ascending.
        returns: per seed `[E_s]`.
        grid: `[E]`, the common x; by default every recorded x.
        reached: `[S]`, the environment steps each seed was trained for; by default its last record.

    Returns:
        The grid `[E]` and the aligned returns `[S, E]`.
    """
    doing = "aligning learning curves"
    xs = [np.asarray(x, dtype=np.float64) for x in num_env_steps]
    ys = [np.asarray(y, dtype=np.float64) for y in returns]
    if not xs or len(xs) != len(ys):
        raise ValueError(
            f"{doing}: expected the same number of seeds (at least 1) in num_env_steps and "
            f"returns, got {len(xs)} and {len(ys)}; pass one array of each per seed"
        )
    for seed, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(
                f"{doing}, seed {seed}: expected num_env_steps and returns of one shape [E], got "
                f"{x.shape} and {y.shape}; record both at the same moments"
            )
        if not np.all(np.isfinite(x)) or np.any(np.diff(x) < 0):
            raise ValueError(
                f"{doing}, seed {seed}: num_env_steps must be finite and ascending, got {x}; sort "
                "the records by environment step"
            )
    common = np.unique(np.concatenate(xs)) if grid is None else np.asarray(grid, dtype=np.float64)
    last = [x[-1] if x.size else -np.inf for x in xs]
    ends = np.asarray(last if reached is None else reached, dtype=np.float64)
    aligned = np.full((len(xs), len(common)), np.nan)
    for seed, (x, y) in enumerate(zip(xs, ys, strict=True)):
        index = np.searchsorted(x, common, side="right") - 1
        known = (index >= 0) & (common <= ends[seed])
        aligned[seed, known] = y[index[known]]
    return common, aligned


def curve_band(returns: ArrayLike, *, confidence: float = 0.95) -> CurveBand:
    """Return the mean over seeds and its interval at every x: `mean_interval` for all x at once.

    Args:
        returns: `[S, E]`; nan where a seed has no value (it failed or stopped earlier). Each x
            uses the seeds that have one, and `num_seeds` counts them.
        confidence: pointwise, not of the band as a whole, in (0, 1).
    """
    x = np.asarray(returns, dtype=np.float64)
    check_share("confidence", confidence)
    if x.ndim != 2 or np.any(np.isinf(x)):
        raise ValueError(
            f"computing the band of a learning curve: expected returns [S, E], finite or nan, got "
            f"shape {x.shape} with {int(np.isinf(x).sum())} infinite values; pass one row per seed"
        )
    num_seeds = np.isfinite(x).sum(axis=0)
    ordered = np.sort(x, axis=0)  # puts nan last
    mean, low, high = np.full((3, x.shape[1]), np.nan)
    for n in np.unique(num_seeds[num_seeds > 0]):
        at = num_seeds == n
        mean[at], low[at], high[at] = mean_intervals(ordered[:n, at], confidence)
    return CurveBand(mean, low, high, num_seeds, confidence)
