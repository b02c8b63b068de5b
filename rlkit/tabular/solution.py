"""Solve a known environment: one call from an environment to its exact answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.planning.solvers import Plan, value_iteration
from rlkit.tabular.planning.undiscounted import best_total_return
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.returns import (
    best_return_under_limit,
    from_start,
    return_under_limit,
    total_return,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """The exact answers for one MDP and one discount.

    `start_value` is discounted and ignores the time limit. The two returns are the expected score
    of an episode: undiscounted, and truncated at the MDP's own time limit. Without a limit they are
    the undiscounted returns of whole episodes, and None where no finite one exists.
    """

    discount: float
    start_value: float  # V* averaged over the initial distribution
    greedy_return_under_limit: float | None  # expected return of `policy`
    optimal_return_under_limit: (
        float | None
    )  # best possible; under a limit, of a policy that knows the time
    time_limit: int | None  # steps
    sweeps: int  # of value iteration
    seconds: float  # wall-clock time of solving, without building the model
    values: FloatArray  # V*, [num_states]
    policy: IntArray  # greedy for this discount, [num_states]


def solve(
    model: TabularMDP | Callable[[], gym.Env[Any, Any]],
    *,
    discount: float = 0.99,
    tolerance: float = 1e-9,
) -> Solution:
    """Solve an MDP, or an environment whose transition table is known.

    Args:
        model: a TabularMDP, or a function that returns an environment.
        discount: in [0, 1].
        tolerance: twice the error allowed in V*, in units of reward (see `value_iteration`).

    Raises:
        UnknownModel: if the environment has no trustworthy transition table.
        NoFiniteReturn: at discount 1, where no policy has a finite optimal return.
        NotConverged: if value iteration would take more than a million sweeps.
    """
    mdp = model if isinstance(model, TabularMDP) else mdp_from_env(model)
    began = time.perf_counter()
    plan = value_iteration(mdp, discount=discount, tolerance=tolerance)
    policy = _refined_policy(mdp, plan, discount)
    if mdp.time_limit is None:
        greedy_return, optimal_return = total_return(mdp, policy), best_total_return(mdp)
    else:
        greedy_return = float(return_under_limit(mdp, policy)[0])
        optimal_return = best_return_under_limit(mdp)
    return Solution(
        discount=discount,
        start_value=from_start(mdp, plan.values),
        greedy_return_under_limit=greedy_return,
        optimal_return_under_limit=optimal_return,
        time_limit=mdp.time_limit,
        sweeps=plan.sweeps,
        seconds=time.perf_counter() - began,
        values=plan.values,
        policy=policy,
    )


def _refined_policy(mdp: TabularMDP, plan: Plan, discount: float) -> IntArray:
    """Return the greedy policy of sweeps continued to the precision of float64.

    Far from the rewards, or under a small discount, the values of two actions can differ by less
    than any reasonable tolerance, while the choice still matters to the return.
    """
    if discount == 1.0:
        return plan.policy
    finest = float(np.finfo(np.float64).tiny)
    return value_iteration(
        mdp, discount=discount, tolerance=finest, initial_values=plan.values
    ).policy
