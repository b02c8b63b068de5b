"""Running statistics of observations and rewards, per seed, that bring them to unit scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RunningMoments:
    """The mean and variance of all values so far, per seed (Chan et al. 1979, eq. 2.1).

    Args:
        num_seeds: S.
        size: number of features F.
    """

    def __init__(self, num_seeds: int, size: int) -> None:
        self._count = np.zeros((num_seeds, 1))
        self._mean = np.zeros((num_seeds, size))
        self._sum_of_squares = np.zeros((num_seeds, size))

    def update(self, x: Array) -> None:
        """Include observations [S, N, F]."""
        num_new = x.shape[1]
        mean = x.mean(axis=1, dtype=np.float64)
        squares = ((x - mean[:, None]) ** 2).sum(axis=1)
        total = self._count + num_new
        delta = mean - self._mean
        self._mean += delta * num_new / total
        self._sum_of_squares += squares + delta**2 * self._count * num_new / total
        self._count = total

    @property
    def mean(self) -> Array:
        """[S, F]"""
        return self._mean

    @property
    def variance(self) -> Array:
        """[S, F]; 1 before the second observation."""
        enough = self._count > 1
        return np.where(enough, self._sum_of_squares / np.maximum(self._count, 1), 1.0)

    def state(self) -> Array:
        """[S, 1 + 2 F]"""
        return np.concatenate([self._count, self._mean, self._sum_of_squares], axis=1)

    def load(self, state: Array) -> None:
        """Continue from what `state` returned."""
        size = self._mean.shape[1]
        self._count = state[:, :1].copy()
        self._mean = state[:, 1 : 1 + size].copy()
        self._sum_of_squares = state[:, 1 + size :].copy()


def standard_score(x: Array, mean: Array, variance: Array, *, clip: float = 10.0) -> Array:
    """Return observations in units of their standard deviation, clipped to [-clip, clip].

    Args:
        x: [S, M, F]
        mean: [S, F]
        variance: [S, F]
        clip: the largest magnitude returned.

    Returns:
        float32 [S, M, F]
    """
    z = (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-8)
    scaled: Array = np.clip(z, -clip, clip).astype(np.float32)
    return scaled


class RewardScaler:
    """Divides rewards by the standard deviation of the running discounted return.

    The running return of each environment is discounted with the agent's own discount and reset to
    0 at the end of an episode. Rewards are not shifted, since that would change the task.

    Args:
        num_seeds: S.
        num_envs: N.
        discount: that of the agent.
    """

    def __init__(self, num_seeds: int, num_envs: int, discount: float) -> None:
        self._discount = discount
        self._returns = np.zeros((num_seeds, num_envs))
        self._moments = RunningMoments(num_seeds, 1)

    def scale(self, reward: Array, is_last: Array, *, clip: float = 10.0) -> Array:
        """Include rewards [S, N] in the statistics and return them scaled."""
        self._returns = self._discount * self._returns + reward
        self._moments.update(self._returns[:, :, None])
        self._returns = np.where(is_last, 0.0, self._returns)
        return np.clip(reward / np.sqrt(self._moments.variance + 1e-8), -clip, clip)

    def state(self) -> Array:
        """[S, N + 3]"""
        return np.concatenate([self._returns, self._moments.state()], axis=1)

    def load(self, state: Array) -> None:
        """Continue from what `state` returned."""
        num_envs = self._returns.shape[1]
        self._returns = state[:, :num_envs].copy()
        self._moments.load(state[:, num_envs:])
