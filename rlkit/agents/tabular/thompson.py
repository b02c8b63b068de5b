"""Thompson sampling (Thompson 1933; Russo et al. 2018) for Bernoulli bandits.

For each environment, at each step:

1. Draw theta_k ~ Beta(alpha + s_k, beta + f_k), the posterior of each arm after s_k successes and
   f_k failures, and pull an arm with the largest theta_k: each arm with the posterior probability
   that it is the best.
2. Observe r in {0, 1}: s_k <- s_k + r, f_k <- f_k + 1 - r (Bayes' theorem).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rlkit.agent import Task, Transition
from rlkit.agents.tabular.bandits import Bandits, Grouping, remarks_on_evaluation, require_bandit
from rlkit.agents.tabular.tables import TableActor
from rlkit.errors import EnvironmentFault, UsageError
from rlkit.options import require_choice, require_range
from rlkit.seeding import NoiseBlocks, SeedStreams, uniform_rows

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ThompsonConfig:
    """Options of Thompson sampling."""

    prior_alpha: float = 1.0  # alpha of the Beta prior of every arm, > 0
    prior_beta: float = 1.0  # beta of the Beta prior of every arm, > 0
    # new: each episode is another bandit, at whose end all is forgotten; same: all are one bandit;
    # auto: the same where the model is known
    bandits: Bandits = "auto"

    def __post_init__(self) -> None:
        require_range(self, "prior_alpha", "prior_beta", low=0, open_low=True)
        require_choice(self, "bandits", among=Bandits)


class Thompson:
    """Thompson sampling for all seeds; the module's docstring has the numbered steps."""

    Config = ThompsonConfig
    metrics = ("posterior_std",)
    default_num_envs = 1
    knows_rewards = True
    needs_discrete_observations = True
    needs_discrete_actions = True

    @staticmethod
    def depends_on_total_steps(config: ThompsonConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    @staticmethod
    def remarks(task: Task, config: ThompsonConfig) -> Sequence[str]:
        """Return a sentence on evaluation where bandits are drawn."""
        return remarks_on_evaluation("thompson", task)

    def __init__(self, task: Task, config: ThompsonConfig) -> None:
        num_arms = require_bandit("thompson", task)
        if task.mdp is not None and not np.isin(task.mdp.reward, (0.0, 1.0)).all():
            raise UsageError(
                "thompson keeps the posterior of the probability of reward 1, and the rewards of "
                f"this environment are {sorted(set(task.mdp.reward.tolist()))}, expected 0 and 1. "
                "Use ucb there."
            )
        self._task = task
        self._prior = np.array([config.prior_alpha, config.prior_beta])
        self._groups = Grouping(task, config.bandits)
        shape = (task.num_seeds, self._groups.num_groups, num_arms, 2)
        self._counts = np.zeros(shape, dtype=np.int64)  # successes and failures
        draw = uniform_rows(task.num_envs, num_arms)
        generators = [stream.generator("action") for stream in task.streams]
        self._noise = NoiseBlocks(generators, draw, block_length=256)

    def act(self, obs: Array) -> Array:
        return _sampled_arms(self._prior + self._counts, self._noise.next())

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        _require_bernoulli(transition.reward, self._task.streams)
        rows = np.arange(self._task.num_seeds)
        std = np.zeros(len(rows))
        num_envs = transition.reward.shape[1]
        for n in range(num_envs):  # one after another: they may share a group
            arm, group = transition.action[:, n], self._groups.of(n)
            failed = (transition.reward[:, n] == 0).astype(np.int64)
            self._counts[rows, group, arm, failed] += 1
            alpha, beta = (self._prior + self._counts[rows, group, arm]).T
            std += np.sqrt(alpha * beta / (alpha + beta + 1)) / (alpha + beta)
        self._groups.forget(transition.terminated | transition.truncated, self._counts)
        return {"posterior_std": std / num_envs}

    def actor(self, *, greedy: bool = True) -> TableActor | ThompsonActor:
        """Return the arm with the largest posterior mean, or sampling from the posterior.

        Environments with beliefs of their own are taken together.
        """
        posterior = self._prior + self._counts.sum(axis=1, keepdims=True)
        if not greedy:
            return ThompsonActor(posterior, self._task.streams)
        means = posterior[..., 0] / posterior.sum(axis=-1)
        return TableActor(means, 0.0, self._task.streams)

    def state_dict(self) -> dict[str, Array]:
        return {"counts": self._counts.copy(), "noise": self._noise.state()}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._counts[...] = state["counts"]
        self._noise.load(state["noise"])


class ThompsonActor:
    """Thompson sampling from posteriors that no longer change.

    Args:
        posterior: alpha and beta of each arm, `[S, 1, K, 2]`.
        streams: the streams of each seed.
    """

    def __init__(self, posterior: Array, streams: Sequence[SeedStreams]) -> None:
        self._posterior, self._streams = posterior, streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        self._generators = [stream.generator("exploration", *part) for stream in self._streams]

    def act(self, obs: Array) -> Array:
        shape = (obs.shape[1], self._posterior.shape[2])
        noise = np.stack([rng.random(shape) for rng in self._generators])
        return _sampled_arms(self._posterior, noise)


def _sampled_arms(posterior: Array, uniform: Array) -> Array:
    """Return the arm with the largest draw from its posterior, `[S, N]`.

    A uniform number becomes a draw by the inverse of the distribution function.

    Args:
        posterior: alpha and beta, `[S, N or 1, K, 2]`.
        uniform: in [0, 1), `[S, N, K]`.
    """
    theta = special.betaincinv(posterior[..., 0], posterior[..., 1], uniform)
    arms: Array = theta.argmax(axis=-1)
    return arms


def _require_bernoulli(reward: Array, streams: Sequence[SeedStreams]) -> None:
    valid = (reward == 0) | (reward == 1)
    if not valid.all():
        s, n = np.argwhere(~valid)[0]
        raise EnvironmentFault(
            streams[s].index,
            f"thompson keeps the posterior of the probability of reward 1: environment {n} gave "
            f"the reward {reward[s, n]:g}, expected 0 or 1. Use ucb there.",
        )
