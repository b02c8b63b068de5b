"""A baseline for policy gradients that is fitted by least squares (Duan et al. 2016, section 4.2).

    b(s, t) = w . [x, x^2, t/100, (t/100)^2, (t/100)^3, 1]

where x are the numbers of a Box observation, clipped to [-10, 10], and t counts the steps of the
episode. Of a discrete observation, x has one entry per state, which is 1 in that state; its square
is the same and omitted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import UsageError

RIDGE = 1e-5  # added to the diagonal, as in rllab
MOST_FEATURES = 4_000
_CLIP = 10.0


class LinearBaseline:
    """The weights of each seed, 0 before the first fit.

    Args:
        space: of the observations.
        num_seeds: S.

    Raises:
        UsageError: an observation has too many numbers.
    """

    def __init__(self, space: spaces.Space[Any], num_seeds: int) -> None:
        self._num_states = int(space.n) if isinstance(space, spaces.Discrete) else None
        size = int(np.prod(space.shape or (1,), dtype=np.int64))
        self.size = 4 + (2 * size if self._num_states is None else self._num_states)
        if self.size > MOST_FEATURES:
            raise UsageError(
                f"option baseline (--baseline): linear would have {self.size:,} features, more "
                f"than {MOST_FEATURES:,}; use the network (--baseline)"
            )
        self.weights = torch.zeros(num_seeds, self.size, dtype=torch.float64)

    def values(self, s: int, obs: NDArray[Any], times: Tensor) -> Tensor:
        """Return b of observations [D, ...] at times [D] of their episodes, float32 [D]."""
        return (self._features(obs, times) @ self.weights[s]).float()

    def fit(self, s: int, obs: NDArray[Any], times: Tensor, returns: Tensor) -> float:
        """Fit the weights of one seed to returns [D]; return the mean of (b - G)^2 / 2 before it.

        Solves (X^T X + RIDGE I) w = X^T G in float64.
        """
        features, targets = self._features(obs, times), returns.double()
        loss = 0.5 * (features @ self.weights[s] - targets).square().mean()
        gram = features.T @ features + RIDGE * torch.eye(self.size, dtype=torch.float64)
        self.weights[s] = torch.linalg.solve(gram, features.T @ targets)
        return float(loss)

    def _features(self, obs: NDArray[Any], times: Tensor) -> Tensor:
        """Return the features of observations [D, ...], [D, size]."""
        time = times.double()[:, None] / 100.0
        of_time = [time, time**2, time**3, torch.ones_like(time)]
        if self._num_states is not None:
            states = torch.from_numpy(obs.astype(np.int64))
            own = [torch.nn.functional.one_hot(states, self._num_states).double()]
        else:
            x = torch.from_numpy(obs.reshape(len(obs), -1).astype(np.float64)).clamp(-_CLIP, _CLIP)
            own = [x, x**2]
        return torch.cat([*own, *of_time], dim=1)
