"""BernoulliBandit-v0: arms that pay 1 or 0, with means that are given or drawn anew each episode.

An episode is one bandit and every step one pull: the observation is always 0, and arm k pays 1 with
probability means[k]. The horizon is the time limit, 50 pulls unless `max_episode_steps` is given.

With `means` all episodes have the same arms, and `P` is their transition table. Without, each reset
draws the mean of each arm from its Beta prior with the seed of the reset; `P` is then None and
`beta_priors` publishes the priors, from which the Bayes-optimal return can be computed.

Thompson (1933), On the likelihood that one unknown probability exceeds another in view of the
evidence of two samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

ENV_ID = "BernoulliBandit-v0"
Outcomes = list[tuple[float, int, float, bool]]


class BernoulliBandit(gym.Env[np.int64, np.int64]):
    """A Bernoulli bandit.

    Args:
        means: the probability of reward 1 of each arm, in [0, 1]; None to draw them at each reset.
        arms: how many; by default as many as there are means or pairs in `prior`, or 2.
        prior: alpha and beta of the Beta distribution that means are drawn from, > 0: one pair for
            all arms, or one per arm. The default (1, 1) is uniform. Not with `means`.

    Raises:
        ValueError: the arguments do not describe a bandit.
    """

    def __init__(
        self,
        means: Sequence[float] | None = None,
        arms: int | None = None,
        prior: Sequence[float] | Sequence[Sequence[float]] | None = None,
    ) -> None:
        if means is not None and prior is not None:
            raise ValueError(
                f"{ENV_ID}: give means, which are then the same in every episode, or the prior "
                f"that they are drawn from, not both; got means={means!r} and prior={prior!r}"
            )
        number = None if arms is None else _number_of_arms(arms)
        self.beta_priors: NDArray[np.float64] | None = None
        self.P: dict[int, dict[int, Outcomes]] | None = None
        self._means: NDArray[np.float64]
        if means is None:
            self.beta_priors = _priors((1.0, 1.0) if prior is None else prior, number)
            self._means = np.full(len(self.beta_priors), np.nan)  # until the first reset
        else:
            self._means = _means(means, number)
            arms_of = enumerate(self._means.tolist())
            self.P = {0: {k: [(p, 0, 1.0, False), (1 - p, 0, 0.0, False)] for k, p in arms_of}}
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(len(self._means))

    @property
    def means(self) -> NDArray[np.float64]:
        """The means of the arms in this episode, a copy."""
        return np.array(self._means)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        if self.beta_priors is not None:
            alpha, beta = self.beta_priors.T
            self._means = self.np_random.beta(alpha, beta)
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        paid = self.np_random.random() < self._means[action]
        return np.int64(0), float(paid), False, False, {}


def _number_of_arms(arms: int) -> int:
    if isinstance(arms, bool) or not isinstance(arms, int) or arms < 1:
        raise ValueError(f"{ENV_ID}: expected arms to be a whole number >= 1, got {arms!r}")
    return arms


def _means(means: Sequence[float], number: int | None) -> NDArray[np.float64]:
    values = _numbers("means", means)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{ENV_ID}: expected means of at least one arm, as [0.4, 0.6], {_got(means)}"
        )
    if not ((values >= 0) & (values <= 1)).all():  # also where one is NaN
        raise ValueError(f"{ENV_ID}: expected every mean in [0, 1], {_got(means)}")
    if number not in (None, len(values)):
        raise ValueError(f"{ENV_ID}: expected a mean for each of {number} arms, {_got(means)}")
    return values


def _priors(prior: Any, number: int | None) -> NDArray[np.float64]:
    values = _numbers("prior", prior)
    if values.ndim == 1:
        values = np.tile(values, (2 if number is None else number, 1))
    if values.ndim != 2 or values.shape[1] != 2 or not len(values):
        raise ValueError(
            f"{ENV_ID}: expected prior to be a pair [alpha, beta] or one pair for each of at least "
            f"one arm, {_got(prior)}"
        )
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"{ENV_ID}: expected finite alpha and beta above 0 in prior, {_got(prior)}"
        )
    if number not in (None, len(values)):
        raise ValueError(f"{ENV_ID}: expected a prior for each of {number} arms, {_got(prior)}")
    return values


def _numbers(name: str, given: Any) -> NDArray[np.float64]:
    try:
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{ENV_ID}: expected {name} to be numbers, {_got(given)}") from error


def _got(given: Any) -> str:
    return f"got {given!r:.100}"


if ENV_ID not in gym.registry:
    gym.register(id=ENV_ID, entry_point=f"{__name__}:BernoulliBandit", max_episode_steps=50)
