"""Units in which demonstrations are learned, and policies that act in the original ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.observations import FlatBox

Array = NDArray[Any]

_CONSTANT = 1e-6  # a standard deviation below this share of the mean is rounding


@dataclass(frozen=True)
class Scaling:
    """The moments of the demonstrated observations and actions, float64.

    Entries that are not scaled have the mean 0 and the standard deviation 1. Discrete observations
    or actions have no entries.

    Args:
        obs_mean: [F]
        obs_std: [F]
        action_mean: [A]
        action_std: [A]
        low: the smallest actions in units of the standard deviation, [A].
        high: the largest ones, [A].
    """

    obs_mean: Array
    obs_std: Array
    action_mean: Array
    action_std: Array
    low: Array
    high: Array

    @classmethod
    def of(
        cls,
        observations: Array,
        actions: Array,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
    ) -> Scaling:
        """Return the scaling of demonstrations [D, ...]; actions of a Box only are scaled."""
        if isinstance(observation_space, spaces.Discrete):
            obs_mean = obs_std = np.zeros(0)
        else:
            obs_mean, obs_std = _moments(_flat(observations))
        if isinstance(observation_space, FlatBox):
            number = observation_space.is_number
            obs_mean, obs_std = np.where(number, obs_mean, 0.0), np.where(number, obs_std, 1.0)
        if not isinstance(action_space, spaces.Box):
            nothing = np.zeros(0)
            return cls(obs_mean, obs_std, nothing, nothing, nothing, nothing)
        mean, std = _moments(_flat(actions))
        scaled = (_flat(actions) - mean) / std
        return cls(obs_mean, obs_std, mean, std, scaled.min(axis=0), scaled.max(axis=0))

    @classmethod
    def none(cls, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Scaling:
        """Return the scaling that changes nothing, of the same shapes."""
        observations, actions = (
            np.zeros((1, *(space.shape or ()))) for space in (observation_space, action_space)
        )
        return cls.of(observations, actions, observation_space, action_space)

    def observations(self, observations: Array) -> Array:
        """Return observations [..., F] in units of their standard deviation, float32."""
        scaled: Array = ((observations - self.obs_mean) / self.obs_std).astype(np.float32)
        return scaled

    def actions(self, actions: Array) -> Array:
        """Return actions [D, ...] in units of their standard deviation, float32 [D, A]."""
        scaled: Array = ((_flat(actions) - self.action_mean) / self.action_std).astype(np.float32)
        return scaled

    @property
    def log_volume(self) -> float:
        """The sum of log standard deviations of actions: what a density loses by the scaling."""
        return float(np.log(self.action_std).sum())

    def state(self, num_seeds: int) -> Array:
        """Return the same numbers for every seed, [S, 2 F + 4 A]."""
        row = np.concatenate([getattr(self, field.name) for field in fields(self)])
        return np.tile(row, (num_seeds, 1))

    def loaded(self, state: Array) -> Scaling:
        """Return the scaling that `state` returned, of the same shapes as this one."""
        lengths = [len(getattr(self, field.name)) for field in fields(self)]
        return Scaling(*np.split(state[0].astype(np.float64), np.cumsum(lengths)[:-1]))

    def unscaled(self, layers: Sequence[Array]) -> list[Array]:
        """Return a perceptron of the original units that acts as one of scaled units.

        Standardisation is linear, so it becomes part of the first layer, and of the last one where
        actions are scaled.

        Args:
            layers: of one seed, weight [in, out] and bias [out] of each layer in turn.

        Returns:
            likewise, float64.
        """
        own = [np.array(array, dtype=np.float64) for array in layers]
        if len(self.obs_mean):
            own[0] /= self.obs_std[:, None]
            own[1] -= (own[0] * self.obs_mean[:, None]).sum(axis=0)
        if len(self.action_mean):
            own[-2] *= self.action_std
            own[-1] = own[-1] * self.action_std + self.action_mean
        return own


def _flat(rows: Array) -> Array:
    return rows.reshape(len(rows), -1).astype(np.float64)


def _moments(rows: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column; 1 for one that is constant."""
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    return mean, np.where(std > _CONSTANT * np.abs(mean), std, 1.0)
