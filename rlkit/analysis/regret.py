"""Regret: the best achievable expected return minus the return that was reached."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[Any]


def regret(returns: ArrayLike, optimum: float) -> Floats:
    """Return optimum - return at each point of a curve, in the shape of `returns`.

    Args:
        returns: expected or sampled episode returns; NaN stays NaN.
        optimum: the best achievable expected return.
    """
    return np.asarray(optimum - np.asarray(returns, dtype=np.float64))


def cumulative_regret(
    num_episodes: ArrayLike, mean_return: ArrayLike, starts_anew: ArrayLike, optimum: float
) -> Floats:
    """Return the regret of all episodes of training until each row of a csv, `[E]`.

        regret = sum over episodes of (optimum - return)

    Each mean return is over the episodes since the last row that starts the averages anew.

    Args:
        num_episodes: that have ended, `[E]`, ascending.
        mean_return: of training, `[E]`; NaN where no episode ended.
        starts_anew: whether the averages start again after the row, `[E]`.
        optimum: the best achievable expected return.
    """
    episodes = np.asarray(num_episodes, dtype=np.float64)
    means = np.asarray(mean_return, dtype=np.float64)
    anew = np.asarray(starts_anew, dtype=np.bool_)
    own = np.empty(episodes.size)
    before, counted = 0.0, 0.0
    for row, (number, mean) in enumerate(zip(episodes, means, strict=True)):
        number_since = number - counted
        own[row] = before + (number_since * (optimum - mean) if number_since > 0 else 0.0)
        if anew[row]:
            before, counted = own[row], number
    return own
