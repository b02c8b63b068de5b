"""The posterior of the model of a finite MDP: Dirichlet outcomes and normal-gamma rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class ModelPosterior:
    """The belief about the transitions and rewards of each pair (s, a).

    Outcomes: the n states and, as outcome n, the end of the episode by termination. Their
    probabilities have the prior Dirichlet(c / (n + 1), ...), and after counts m the posterior
    Dirichlet(c / (n + 1) + m).

    Rewards: normal with unknown mean rho and precision tau, independent of the outcome. The prior
    weighs as much as one reward, tau ~ Gamma(1, rate = scale^2) and rho | tau ~ N(mean, 1 / tau).
    After N rewards with the sum S and the sum of squares Q,

        kappa = 1 + N,  mu = (mean + S) / kappa,  a = 1 + N / 2,
        b = scale^2 + (Q + mean^2 - kappa mu^2) / 2
        tau ~ Gamma(a, rate = b),  rho | tau ~ N(mu, 1 / (kappa tau))

    Args:
        num_states: n.
        num_actions: A.
        prior_count: c, > 0.
        reward_mean: of the prior.
        reward_scale: of the prior, > 0.

    Source: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, section 3.
    """

    def __init__(
        self,
        num_states: int,
        num_actions: int,
        *,
        prior_count: float,
        reward_mean: float,
        reward_scale: float,
    ) -> None:
        self._concentration = prior_count / (num_states + 1)
        self._mean, self._scale = reward_mean, reward_scale
        self._counts = np.zeros((num_states, num_actions, num_states + 1), dtype=np.int64)
        self._sums = np.zeros((2, num_states, num_actions))  # of rewards and of their squares

    def add(self, s: int, a: int, reward: float, next_state: int, *, terminated: bool) -> None:
        """Add one transition."""
        self._counts[s, a, -1 if terminated else next_state] += 1
        self._sums[0, s, a] += reward
        self._sums[1, s, a] += reward * reward

    def sample(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw a model: probabilities of the outcomes, `[n, A, n + 1]`, and mean rewards `[n, A]`.

        A Dirichlet draw consists of gamma draws over their sum.
        """
        gammas = rng.standard_gamma(self._counts + self._concentration)
        total = gammas.sum(axis=-1, keepdims=True)
        size = gammas.shape[-1]
        probability = np.where(total > 0, gammas / np.where(total > 0, total, 1.0), 1.0 / size)
        kappa, mu, a, b = self._rewards()
        tau = rng.standard_gamma(a) / b
        return probability, mu + rng.standard_normal(mu.shape) / np.sqrt(kappa * tau)

    def mean(self) -> tuple[Array, Array]:
        """Return the mean of the probabilities, `[n, A, n + 1]`, and of the rewards, `[n, A]`."""
        weights = self._counts + self._concentration
        return weights / weights.sum(axis=-1, keepdims=True), self._rewards()[1]

    def transition_doubt(self) -> Array:
        """Return the root of the sum of the variances of the outcomes' probabilities, `[n, A]`."""
        weights = self._counts + self._concentration
        total = weights.sum(axis=-1, keepdims=True)
        mean = weights / total
        doubt: Array = np.sqrt((mean * (1 - mean) / (total + 1)).sum(axis=-1))
        return doubt

    @property
    def visits(self) -> Array:
        """The number of transitions of each pair, `[n, A]`."""
        visits: Array = self._counts.sum(axis=-1)
        return visits

    @property
    def untried(self) -> float:
        """The share of pairs without a transition."""
        return float((self.visits == 0).mean())

    def _rewards(self) -> tuple[Array, Array, Array, Array]:
        """Return kappa, mu, a and b."""
        total, squares = self._sums
        number = self.visits
        kappa = 1.0 + number
        mu = (self._mean + total) / kappa
        spread = np.maximum(0.0, squares + self._mean**2 - kappa * mu**2)  # rounding
        return kappa, mu, 1.0 + number / 2, self._scale**2 + spread / 2

    def state(self) -> dict[str, Array]:
        """Return everything that changes."""
        return {"counts": self._counts.copy(), "reward_sums": self._sums.copy()}

    def load(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._counts[...], self._sums[...] = state["counts"], state["reward_sums"]
