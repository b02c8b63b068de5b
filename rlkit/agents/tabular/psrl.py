"""PSRL: posterior sampling for reinforcement learning (Strens 2000; Osband, Russo, Van Roy 2013).

For each environment:

1. At the start of an episode draw one model from the posterior: for each pair (s, a) the
   probabilities of its outcomes from a Dirichlet distribution, and its mean reward.
2. Plan in this model: Q = E[R] + gamma P max_a Q, by policy iteration.
3. Follow its greedy policy until the episode ends, or for `model_steps` steps in long episodes,
   which might otherwise never end.
4. Add each transition to the posterior (Bayes' theorem): the outcome to the counts of the Dirichlet
   distribution, the reward to the statistics of the normal-gamma distribution.

The outcomes of a pair are the n states and the end of the episode by termination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.agents.tabular.model_posterior import ModelPosterior
from rlkit.agents.tabular.tables import TableActor, require_tabular
from rlkit.errors import UsageError
from rlkit.options import require_range, require_whole
from rlkit.seeding import generator_states, restore_generators
from rlkit.tabular.memory import available_bytes
from rlkit.tabular.planning.dense import dense_action_values

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PSRLConfig:
    """Options of PSRL."""

    discount: float = 0.99  # gamma of the plans, in [0, 1)
    prior_count: float = 1.0  # weight of the prior of a pair's outcomes, in transitions, > 0
    reward_mean: float = 0.0  # mean of the prior of a pair's mean reward
    reward_scale: float = 1.0  # scale of that prior, in units of reward, > 0
    model_steps: int = 200  # steps after which a model is replaced also within an episode, >= 1

    def __post_init__(self) -> None:
        require_range(self, "discount", low=0, high=1, open_high=True)
        require_range(self, "prior_count", "reward_scale", low=0, open_low=True)
        require_range(self, "reward_mean", low=-np.inf)
        require_whole(self, "model_steps", at_least=1)


class PSRL:
    """PSRL for all seeds; the module's docstring has the numbered steps."""

    Config = PSRLConfig
    metrics = ("model_value", "untried_pairs")
    default_num_envs = 1
    needs_discrete_observations = True
    needs_discrete_actions = True

    @staticmethod
    def depends_on_total_steps(config: PSRLConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    @staticmethod
    def why_no_update(task: Task, config: PSRLConfig) -> str:
        """Return the condition under which a new model is drawn."""
        return (
            f"the next model is drawn when an episode ends, or after {config.model_steps:,} steps"
        )

    def __init__(self, task: Task, config: PSRLConfig) -> None:
        num_states, num_actions = require_tabular("psrl", task)
        _require_memory(task.num_seeds, num_states, num_actions)
        self._task, self._config = task, config
        self._posteriors = [
            ModelPosterior(
                num_states,
                num_actions,
                prior_count=config.prior_count,
                reward_mean=config.reward_mean,
                reward_scale=config.reward_scale,
            )
            for _ in task.streams
        ]
        self._generators = [stream.generator("action") for stream in task.streams]
        # Action values of the model that each environment follows.
        self._q = np.zeros((task.num_seeds, task.num_envs, num_states, num_actions))
        self._age = np.zeros((task.num_seeds, task.num_envs), dtype=np.int64)  # steps with a model
        self._rows, self._columns = np.ogrid[: task.num_seeds, : task.num_envs]
        for s, n in np.ndindex(task.num_seeds, task.num_envs):
            self._draw_model(s, n)

    def _draw_model(self, s: int, n: int) -> None:
        transition, reward = self._posteriors[s].sample(self._generators[s])
        start = self._q[s, n].argmax(axis=-1)  # the plan for the model before
        self._q[s, n] = dense_action_values(transition, reward, self._config.discount, start)

    def act(self, obs: Array) -> Array:
        actions: Array = self._q[self._rows, self._columns, obs].argmax(axis=-1)
        return actions

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        config, (num_seeds, num_envs) = self._config, transition.obs.shape
        for s, posterior in enumerate(self._posteriors):
            for n in range(num_envs):
                posterior.add(
                    transition.obs[s, n],
                    transition.action[s, n],
                    transition.reward[s, n],
                    transition.next_obs[s, n],
                    terminated=bool(transition.terminated[s, n]),
                )
        self._age += 1
        drawn = transition.terminated | transition.truncated | (self._age >= config.model_steps)
        if not drawn.any():
            return {}
        self._age[drawn] = 0
        value, untried = np.full((2, num_seeds), np.nan)
        for s, n in np.argwhere(drawn).tolist():
            self._draw_model(s, n)
        starts = self._q[self._rows, self._columns, transition.following_obs].max(axis=-1)
        for s in np.flatnonzero(drawn.any(axis=1)).tolist():
            value[s] = starts[s, drawn[s]].mean()
            untried[s] = self._posteriors[s].untried
        return {"model_value": value, "untried_pairs": untried}

    def actor(self, *, greedy: bool = True) -> TableActor:
        """Return the greedy policy of the mean model, or of the model that is being followed."""
        q = self._q[:, 0].copy()
        if greedy:
            for s, posterior in enumerate(self._posteriors):
                transition, reward = posterior.mean()
                start = q[s].argmax(axis=-1)
                q[s] = dense_action_values(transition, reward, self._config.discount, start)
        return TableActor(q, 0.0, self._task.streams)

    def posterior(self, s: int) -> ModelPosterior:
        """Return the posterior of the model of seed s, which continues to change in training."""
        return self._posteriors[s]

    def state_dict(self) -> dict[str, Array]:
        states = [posterior.state() for posterior in self._posteriors]
        return {
            **{name: np.stack([state[name] for state in states]) for name in states[0]},
            "q": self._q.copy(),
            "age": self._age.copy(),
            "generator": generator_states(self._generators),
        }

    def load_state_dict(self, state: dict[str, Array]) -> None:
        for s, posterior in enumerate(self._posteriors):
            posterior.load({name: state[name][s] for name in posterior.state()})
        self._q[...], self._age[...] = state["q"], state["age"]
        restore_generators(self._generators, state["generator"])


def _require_memory(num_seeds: int, num_states: int, num_actions: int) -> None:
    """Raise UsageError where the counts, and a model drawn from them, do not fit into memory."""
    needed = 8 * num_states * num_actions * (num_states + 1) * (num_seeds + 2)
    available = available_bytes()
    if available is not None and needed > available:
        raise UsageError(
            f"psrl keeps a count for each state, action and successor: {num_states:,} states and "
            f"{num_actions} actions need about {needed / 1e9:,.2g} GB of memory, and "
            f"{available / 1e9:,.2g} GB are available. Use q-learning there."
        )
