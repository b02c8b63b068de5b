"""Value iteration (Bellman 1957) as an agent: it plans once, then follows its plan.

1. Sweep V <- max_a [ r + gamma P V ] until V is within the tolerance of V*.
2. Act greedily with respect to V. Transitions teach it nothing.

It needs the model of the environment: a known finite MDP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task, Transition
from rlkit.agents.tabular.tables import one_hot, require_tabular
from rlkit.errors import UsageError
from rlkit.options import require_range
from rlkit.tabular.operators import action_values
from rlkit.tabular.solution import solve

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ValueIterationConfig:
    """Options of value iteration."""

    discount: float = 0.99  # gamma, in [0, 1]
    tolerance: float = 1e-9  # twice the error allowed in V*, in any state, > 0

    def __post_init__(self) -> None:
        require_range(self, "discount", low=0, high=1)
        require_range(self, "tolerance", low=0, open_low=True)


class ValueIteration:
    """The planner: its own actor, and `learn` does nothing."""

    Config = ValueIterationConfig
    metrics: tuple[str, ...] = ()
    default_num_envs = 1
    knows_rewards = True

    @staticmethod
    def depends_on_total_steps(config: ValueIterationConfig) -> bool:
        """Return False: there is no schedule."""
        return False

    def __init__(self, task: Task, config: ValueIterationConfig) -> None:
        require_tabular("value-iteration", task)
        if task.mdp is None:
            raise UsageError(
                "value-iteration plans with the model of the environment, and this one exposes no "
                "transition table `P`. Use q-learning, which needs none."
            )
        try:
            plan = solve(task.mdp, discount=config.discount, tolerance=config.tolerance)
        except ValueError as error:
            raise UsageError(f"value-iteration: {error}") from error
        self._policy, self._values = plan.policy, plan.values
        self._action_values = action_values(task.mdp, plan.values, config.discount)
        self._num_seeds, self._num_actions = task.num_seeds, task.mdp.num_actions

    def act(self, obs: Array) -> Array:
        actions: Array = self._policy[obs]
        return actions

    def probabilities(self, obs: Array) -> Array:
        """Return the probability of each action, [S, M, A]."""
        return one_hot(self._policy[obs], self._num_actions)

    def value(self, obs: Array) -> Array:
        """Return V*(s), [S, M]."""
        values: Array = self._values[obs]
        return values

    def action_values(self, obs: Array) -> Array:
        """Return the value of each action if all later ones are optimal, Q*(s, a), [S, M, A]."""
        values: Array = self._action_values[obs]
        return values

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        return {}

    def actor(self, *, greedy: bool = True) -> ValueIteration:
        return self

    def state_dict(self) -> dict[str, Array]:
        return {"policy": np.tile(self._policy, (self._num_seeds, 1))}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Do nothing: the plan is made on construction and never changes."""
