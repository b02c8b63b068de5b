"""What value iteration and policy iteration share: the plan, its error, policy improvement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import action_values, greedy, state_values

# policy -> (its values [num_states], the most steps over which an error can add up)
Evaluate = Callable[[IntArray], tuple[FloatArray, float]]

# Called after every sweep that certifies values, with the number of sweeps so far, below and above.
Report = Callable[[int, float, float], None]

EPSILON = float(np.finfo(np.float64).eps)


class NotConverged(RuntimeError):
    """An iteration ran out of sweeps, or float64 cannot represent the answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The result of a solver."""

    values: FloatArray  # [num_states]; -inf: no policy has a finite return
    policy: IntArray  # [num_states], greedy with respect to values
    sweeps: int  # over all states, or evaluations of policy iteration
    below: float  # V* >= values - below in every state, rounding included
    above: float  # V* <= values + above in every state, rounding included
    converged: bool = True  # whether the requested tolerance was reached
    seconds: float = 0.0  # wall-clock time of the solver

    @property
    def error_bound(self) -> float:
        """The largest possible |values - V*| over states."""
        return max(self.below, self.above)

    @property
    def lower(self) -> FloatArray:
        """A bound on V* from below, `[num_states]`, which holds converged or not."""
        return self.values - self.below

    @property
    def upper(self) -> FloatArray:
        """A bound on V* from above, `[num_states]`, which holds converged or not."""
        return self.values + self.above


def improve_until_greedy(
    mdp: TabularMDP,
    policy: IntArray,
    evaluate: Evaluate,
    *,
    discount: float,
    max_sweeps: int,
    finite: BoolArray | None = None,
    report: Report | None = None,
) -> tuple[Plan, IntArray]:
    """Evaluate a policy and make it greedy until no action is better than the chosen one.

    An action replaces the chosen one only if it is better by more than the rounding of the
    evaluation.

    Args:
        policy: actions to start from, `[num_states]`.
        evaluate: returns the value of a policy, and the steps over which an error can add up.
        discount: in [0, 1].
        max_sweeps: most policies to evaluate.
        finite: the states `[num_states]` with a finite value; by default all.
        report: called after each evaluation.

    Returns:
        The plan, with ties as in `greedy`, and the policy whose value it holds.

    Raises:
        NotConverged: after `max_sweeps` evaluations, or where float64 cannot resolve the answer.
    """
    began = time.perf_counter()
    if finite is None:
        finite = np.ones(mdp.num_states, dtype=np.bool_)
    sweeps = 0
    while sweeps < max_sweeps:
        sweeps += 1
        values, horizon = evaluate(policy)
        noise = 16 * horizon * rounding(mdp, values, discount)
        q = action_values(mdp, values, discount)
        chosen = np.take_along_axis(q, policy[:, None], axis=1)[:, 0]
        best = q.max(axis=1)
        improves = best > chosen + noise
        if report is not None:
            error = _error(mdp, values, best, finite, discount, horizon)
            report(sweeps, error, error)
        if not improves.any():
            break
        policy = np.where(improves, q.argmax(axis=1), policy)
    else:
        raise NotConverged(
            f"policy iteration at discount {discount}: still improving after {max_sweeps} "
            "policies; raise max_sweeps"
        )
    error = _error(mdp, values, best, finite, discount, horizon)
    require_representable(mdp, discount, values[finite], error)
    size = max(1.0, float(np.abs(values[finite]).max()), float(np.abs(mdp.reward).max()))
    if error > 1e-4 * size:
        raise NotConverged(
            f"policy iteration at discount {discount}: episodes take about {horizon:.3g} steps, "
            f"which leaves an uncertainty of {error:.3g} in float64; lower the discount"
        )
    final = greedy(mdp, values, discount, tie_tolerance=2 * noise)
    plan = Plan(
        values=values,
        policy=final,
        sweeps=sweeps,
        below=error,
        above=error,
        seconds=time.perf_counter() - began,
    )
    return plan, policy


def _error(
    mdp: TabularMDP,
    values: FloatArray,
    best: FloatArray,
    finite: BoolArray,
    discount: float,
    horizon: float,
) -> float:
    """Bound |values - V*| by the residual and rounding, which add up over `horizon` steps."""
    residual = float(np.abs(best[finite] - values[finite]).max())
    return horizon * (residual + rounding(mdp, values, discount))


def first_values(mdp: TabularMDP, initial_values: FloatArray | None) -> FloatArray:
    """Return a copy of the values to start from, `[num_states]`, zeros where none are given.

    Raises:
        ValueError: they have another shape, or are not finite.
    """
    if initial_values is None:
        return np.zeros(mdp.num_states)
    values = state_values(mdp, initial_values).copy()
    if not np.isfinite(values).all():
        raise ValueError("initial_values: expected a finite number for each state")
    return values


def check_tolerance(tolerance: float, max_sweeps: int) -> None:
    """Raise ValueError where a solver cannot work with these."""
    if not tolerance > 0:
        raise ValueError(f"value iteration: tolerance must be > 0, got {tolerance!r}")
    if max_sweeps < 1:
        raise ValueError(f"value iteration: max_sweeps must be >= 1, got {max_sweeps!r}")


def most_steps(mdp: TabularMDP, discount: float) -> float:
    """Return the sum of discount^t, over which an error in each step adds up; discount below 1.

    A row may sum to a little more than one, which makes the sum longer; infinite where it diverges.
    """
    continues = np.where(mdp.terminated, 0.0, mdp.probability)
    surplus = float(np.add.reduceat(continues, mdp.row_start[:-1]).max()) - 1
    if surplus <= mdp.longest_row * EPSILON:  # rounding
        return 1 / (1 - discount)
    shrinks = 1 - discount * (1 + surplus)
    return 1 / shrinks if shrinks > 0 else np.inf


def require_representable(
    mdp: TabularMDP, discount: float, values: FloatArray, error: float
) -> None:
    """Raise NotConverged where sums of rewards are too large for float64, so nothing is proven."""
    if np.isfinite(error) and np.isfinite(values).all():
        return
    size = float(np.abs(mdp.reward).max())
    raise NotConverged(
        f"planning at discount {discount}: rewards of up to {size:.3g} add up to more than float64 "
        "can hold; divide the rewards by a constant, or lower the discount"
    )


def rounding(mdp: TabularMDP, values: FloatArray, discount: float) -> float:
    """Bound the float64 error of one application of an operator: K + 2 roundings on either side."""
    finite = values[np.isfinite(values)]
    size = np.abs(mdp.reward).max() + discount * np.abs(finite).max(initial=0.0)
    return float((mdp.longest_row + 2) * EPSILON * size)


def out_of_sweeps(max_sweeps: int, discount: float, error: float, tolerance: float) -> NotConverged:
    """Return the error of a value iteration that used up its sweeps."""
    return NotConverged(
        f"value iteration at discount {discount}: after {max_sweeps} sweeps the values are only "
        f"known within {error:.3g}, expected {tolerance / 2:.3g}; raise max_sweeps or tolerance, "
        "or use policy_iteration, which does not slow down as the discount nears 1"
    )
