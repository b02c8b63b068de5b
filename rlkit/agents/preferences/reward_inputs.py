"""Observations and actions of any supported space as the inputs of a network for rewards."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.actions import ActionLayout

Array = NDArray[Any]


class RewardInputs:
    """Maps (observation, action) to one index, or to a vector of numbers.

    Where both are discrete it is the index of the pair, so that the network begins with a table.
    Otherwise discrete parts are one-hot, and real actions are clipped to their bounds, as the
    environment clips them.

    Args:
        observation_space: Discrete or Box, as agents see it.
        action_space: of the same environment.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self._states = (
            int(observation_space.n) if isinstance(observation_space, spaces.Discrete) else 0
        )
        self._obs_shape = observation_space.shape or ()
        self._layout = ActionLayout(action_space)
        self._is_one = isinstance(action_space, spaces.Discrete)
        self.is_index = bool(self._states) and self._is_one
        sizes = self._layout.sizes
        if self.is_index:
            self.size = self._states * int(sizes[0])
        else:
            num_obs = self._states or int(np.prod(self._obs_shape, dtype=np.int64))
            self.size = num_obs + int(np.maximum(sizes, 1).sum())

    def __call__(self, obs: Array, actions: Array) -> Array:
        """Return the inputs of steps.

        Args:
            obs: [..., *observation]
            actions: [..., *action]

        Returns:
            int64 [...] or float64 [..., size]
        """
        if self.is_index:
            index: Array = obs.astype(np.int64) * self._layout.sizes[0] + actions
            return index
        axes = len(self._obs_shape)
        leading = obs.shape[: obs.ndim - axes]
        if self._states:
            parts = [_one_hot(obs, self._states)]
        else:
            parts = [obs.reshape(*leading, math.prod(self._obs_shape)).astype(np.float64)]
        columns = actions.reshape(*leading, len(self._layout.sizes))
        low, high = self._layout.bounds
        for column, size in enumerate(self._layout.sizes.tolist()):
            values = columns[..., column]
            if size:
                parts.append(_one_hot(values, size))
            else:
                parts.append(np.clip(values, low[column], high[column])[..., None])
        return np.concatenate(parts, axis=-1)


def _one_hot(values: Array, size: int) -> Array:
    chosen: Array = values[..., None] == np.arange(size)
    return chosen.astype(np.float64)
