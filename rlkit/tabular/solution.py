"""Solve a known environment: one call from an environment to its exact answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP, check_limit
from rlkit.tabular.planning import horizon as planning_horizon
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.near import NearOptimum
from rlkit.tabular.planning.plan import EPSILON
from rlkit.tabular.planning.solvers import Plan, gauss_seidel, policy_iteration, value_iteration
from rlkit.tabular.planning.undiscounted import best_total_return
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.returns import (
    best_return_under_limit,
    from_start,
    return_under_limit,
    total_return,
)

LARGE = 10_000  # states, from which on speed and memory count
METHODS = ("value-iteration", "gauss-seidel", "policy-iteration", "modified-policy-iteration")
_DISCOUNTED = ("gauss-seidel", "modified-policy-iteration")

# (sweep, below, above): from this sweep on, V* is known to be in [values - below, values + above]
History = list[tuple[int, float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """The exact answers for one MDP and one discount.

    `start_value` is discounted and ignores the time limit. The two returns are the expected score
    of an episode: undiscounted, and truncated at the time limit. Without a limit they are the
    undiscounted returns of whole episodes, and None where no finite one exists; for models of at
    least `LARGE` states they are not computed, and None too.
    """

    discount: float
    start_value: float  # V* averaged over the initial distribution
    greedy_return_under_limit: float | None  # expected return of `policy`
    optimal_return_under_limit: (
        float | None
    )  # best possible; under a limit, of a policy that knows the time
    time_limit: int | None  # steps
    sweeps: int  # over all states, or evaluations of policy iteration
    seconds: float  # wall-clock time of solving, without building the model
    values: FloatArray  # V*, [num_states]
    policy: IntArray  # greedy for this discount, [num_states]
    method: str  # one of METHODS
    tolerance: float  # twice the error that was allowed in V*
    num_states: int
    num_transitions: int
    below: float  # V* >= values - below in every state, rounding included
    above: float  # V* <= values + above in every state, rounding included
    lower: float  # start_value is at least this
    upper: float  # start_value is at most this
    converged: bool  # whether the tolerance was reached, or all that float64 can resolve
    build_seconds: float  # wall-clock time of building the model, 0 where it was given
    history: History  # empty unless it was requested
    near_reference: NearOptimum | None = None  # of `rlkit.solve` with a reference

    @property
    def certified_error(self) -> float:
        """The largest possible |values - V*| over states."""
        return max(self.below, self.above)

    @property
    def returns_omitted(self) -> bool:
        """Whether the undiscounted returns were not computed, since that takes too long."""
        return self.num_states >= LARGE and self.time_limit is None


def solve(
    model: TabularMDP | Callable[[], gym.Env[Any, Any]],
    *,
    discount: float = 0.99,
    tolerance: float = 1e-9,
    method: str = "auto",
    horizon: int | str | None = "auto",
    max_sweeps: int | None = None,
    history: bool = False,
) -> Solution:
    """Solve an MDP, or an environment whose transition table is known.

    Args:
        model: a TabularMDP, or a function that returns an environment.
        discount: in [0, 1].
        tolerance: twice the error allowed in V*, in units of reward (see `value_iteration`).
        method: one of `METHODS`, or "auto": modified policy iteration for at least `LARGE` states
            and a discount below 1, otherwise value iteration.
        horizon: steps after which episodes are truncated, for the undiscounted returns; None for no
            limit, "auto" for the model's own.
        max_sweeps: at most so many; fewer than needed leave the bounds wide, but true. None for the
            method's own limit.
        history: whether to keep the bounds after every sweep.

    Raises:
        UnknownModel: if the environment has no trustworthy transition table.
        NoFiniteReturn: at discount 1, where no policy has a finite optimal return.
        NotConverged: at discount 1, after `max_sweeps`; by policy iteration at any discount.
    """
    if method not in ("auto", *METHODS):
        raise ValueError(f"unknown method {method!r}; choose auto or one of {', '.join(METHODS)}")
    if discount == 1.0 and method in _DISCOUNTED:
        allowed = " or ".join(name for name in METHODS if name not in _DISCOUNTED)
        raise ValueError(f"{method} needs a discount below 1; at discount 1 use {allowed}")
    began = time.perf_counter()
    mdp = model if isinstance(model, TabularMDP) else mdp_from_env(model)
    built = time.perf_counter()
    limit = _limit(mdp, horizon)
    large = mdp.num_states >= LARGE
    if method == "auto":
        method = METHODS[-1] if large and discount < 1.0 else METHODS[0]
    sweeps: History = []
    report = (lambda *sweep: sweeps.append(sweep)) if history else None
    sweeping = {} if max_sweeps is None else {"max_sweeps": max_sweeps}
    plan = _planner(method, tolerance)(mdp, discount=discount, report=report, **sweeping)
    policy = plan.policy if large or discount == 1.0 else _refined_policy(mdp, plan, discount)
    greedy_return, optimal_return = _returns(mdp, policy, limit)
    start, below, above = _from_start(mdp, plan)
    return Solution(
        discount=discount,
        start_value=start,
        greedy_return_under_limit=greedy_return,
        optimal_return_under_limit=optimal_return,
        time_limit=limit,
        sweeps=plan.sweeps,
        seconds=time.perf_counter() - built,
        values=plan.values,
        policy=policy,
        method=method,
        tolerance=tolerance,
        num_states=mdp.num_states,
        num_transitions=mdp.num_entries,
        below=plan.below,
        above=plan.above,
        lower=start - below,
        upper=start + above,
        converged=plan.converged,
        build_seconds=0.0 if model is mdp else built - began,
        history=sweeps,
    )


def _planner(method: str, tolerance: float) -> Callable[..., Plan]:
    if method == "policy-iteration":  # exact
        return policy_iteration
    planners: dict[str, Callable[..., Plan]] = {
        "value-iteration": value_iteration,
        "gauss-seidel": gauss_seidel,
        "modified-policy-iteration": modified_policy_iteration,
    }
    return partial(planners[method], tolerance=tolerance)


def _limit(mdp: TabularMDP, horizon: int | str | None) -> int | None:
    if horizon == "auto":
        return mdp.time_limit
    if horizon is None:
        return None
    if isinstance(horizon, str):
        raise ValueError(
            f'horizon: expected "auto", None or a number of steps >= 1, got {horizon!r}'
        )
    return check_limit(horizon)


def _returns(
    mdp: TabularMDP, policy: IntArray, limit: int | None
) -> tuple[float | None, float | None]:
    """Return the undiscounted return of a policy, and the best one."""
    large = mdp.num_states >= LARGE
    if limit is None:
        return (None, None) if large else (total_return(mdp, policy), best_total_return(mdp))
    if large:
        of_policy = planning_horizon.policy_return(mdp, policy, limit)
        return of_policy, planning_horizon.best_return(mdp, limit)
    return float(return_under_limit(mdp, policy, limit)[0]), best_return_under_limit(mdp, limit)


def _from_start(mdp: TabularMDP, plan: Plan) -> tuple[float, float, float]:
    """Return the average value over the initial distribution, and its own `below` and `above`."""
    start = from_start(mdp, plan.values)
    weight = mdp.initial_distribution
    starts = weight > 0
    # NumPy sums in blocks of 128, eight terms at a time, and the blocks in pairs.
    rounding = 64 * EPSILON * float(np.abs(weight[starts] * plan.values[starts]).sum())
    total = float(weight.sum())
    return start, total * plan.below + rounding, total * plan.above + rounding


def _refined_policy(mdp: TabularMDP, plan: Plan, discount: float) -> IntArray:
    """Return the greedy policy of sweeps continued to the precision of float64.

    Far from the rewards, or under a small discount, the values of two actions can differ by less
    than any reasonable tolerance, while the choice still matters to the return.
    """
    finest = float(np.finfo(np.float64).tiny)
    return value_iteration(
        mdp, discount=discount, tolerance=finest, initial_values=plan.values
    ).policy
