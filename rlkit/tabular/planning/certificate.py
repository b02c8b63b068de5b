"""Bounds on V* from one sweep of the optimality operator, and when they are good enough.

For discount < 1 and any v, let c and C be the smallest and the largest change (T v)(s) - v(s), or 0
if that is smaller or larger. Then in every state

    T v + discount * c / (1 - discount)  <=  V*  <=  T v + discount * C / (1 - discount)

(Puterman 1994, theorem 6.6.3, for rows that sum to at most one). Where no episode ends, rows sum to
one, and the bounds hold without replacing c and C by 0. The values are then moved to the middle of
the bounds, which are often close to each other long before the values are close to V*. The float64
error of a sweep adds noise / (1 - discount) on either side.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import greedy
from rlkit.tabular.planning.plan import EPSILON, Plan, Report, most_steps, require_representable
from rlkit.tabular.planning.sweeps import Sweeps


class Certificate(NamedTuple):
    """How far V* can be from the values after a sweep, once `shift` is added to them."""

    below: float  # V* >= values + shift - below
    above: float  # V* <= values + shift + above
    change: float  # discount * the largest change of the sweep, or half of its range
    noise: float  # bound on the float64 error of the sweep
    shift: float = 0.0  # 0 where episodes can end

    @property
    def error(self) -> float:
        return max(self.below, self.above)


UNKNOWN = Certificate(np.inf, np.inf, np.inf, 0.0)


class Certifier:
    """The certificates of one model at one discount, and whether they suffice.

    Args:
        mdp: the model.
        discount: in [0, 1).
        tolerance: twice the error allowed in any state's value.
    """

    def __init__(self, mdp: TabularMDP, discount: float, tolerance: float) -> None:
        self._mdp, self._discount, self._tolerance = mdp, discount, tolerance
        self._largest_reward = float(max(mdp.reward.max(), -mdp.reward.min()))
        self._excess = _excess(mdp)
        self._steps = most_steps(mdp, discount)
        self._change = np.inf  # of the last sweep
        self._falls = True  # whether that was less than of the sweep before

    def certify(self, values: FloatArray, least: float, most: float) -> Certificate:
        """Return the certificate of `values`, the result of a sweep with these changes."""
        gamma = self._discount
        size = self._largest_reward + gamma * float(max(values.max(), -values.min()))
        noise = (self._mdp.longest_row + 2) * EPSILON * size
        shift = 0.0
        if gamma * (1 + self._excess) < 1:
            # Rows that sum to 1 + excess prolong the geometric series of the changes.
            longer = 1 / (1 - gamma * (1 + self._excess)) - 1 / (1 - gamma)
            noise += gamma * max(abs(least), abs(most)) * longer * (1 - gamma)
            shift = gamma * (least + most) / 2
            below = above = gamma * (most - least) / 2
            steps = 1 / (1 - gamma)
        else:
            below, above = gamma * max(0.0, -least), gamma * max(0.0, most)
            steps = self._steps
        return Certificate(
            below=(below + noise) * steps,
            above=(above + noise) * steps,
            change=max(below, above),
            noise=noise,
            shift=shift / (1 - gamma),
        )

    def sweep(
        self, sweeps: Sweeps, values: FloatArray, result: FloatArray, report: Report | None
    ) -> Certificate:
        """Write T v to `result`, and return and report its certificate."""
        certificate = self.certify(result, *sweeps.optimality(values, result))
        self._falls = certificate.change < self._change
        self._change = certificate.change
        if report is not None:
            report(sweeps.count, certificate.below, certificate.above)
        return certificate

    def suffices(self, certificate: Certificate) -> bool:
        """Return whether the tolerance is reached, or all that float64 can resolve."""
        resolved = certificate.change <= certificate.noise
        return bool(np.isfinite(certificate.error)) and (
            certificate.error <= self._tolerance / 2 or resolved
        )

    def ends(self, certificate: Certificate) -> bool:
        """Return whether to stop after the last sweep, whose certificate this is.

        Rounding is bounded, and mostly smaller than its bound: where it keeps the tolerance out of
        reach, sweeps continue as long as they reduce the change.
        """
        reached = certificate.error <= self._tolerance / 2
        return self.suffices(certificate) and (reached or not self._falls)

    def plan(
        self, values: FloatArray, certificate: Certificate, num_sweeps: int, began: float
    ) -> Plan:
        """Return the plan of these values, shifted; `began` is when the solver started."""
        values += certificate.shift
        require_representable(self._mdp, self._discount, values, certificate.error)
        return Plan(
            values=values,
            policy=self.policy(values, certificate),
            sweeps=num_sweeps,
            below=certificate.below,
            above=certificate.above,
            converged=self.suffices(certificate),
            seconds=time.perf_counter() - began,
        )

    def policy(self, values: FloatArray, certificate: Certificate) -> IntArray:
        """Return the greedy policy; actions that the certificate cannot tell apart are tied."""
        rounding = certificate.noise / (1 - self._discount)
        ties = min(2 * certificate.error, 1e-9 + 2 * rounding)
        return greedy(self._mdp, values, self._discount, tie_tolerance=ties)


def _excess(mdp: TabularMDP) -> float:
    """Return how much a row can differ from a sum of one; infinite if an episode can end."""
    if mdp.may_end.any():
        return np.inf
    sums = mdp.continuation.sum(axis=1)
    return float(np.abs(sums - 1).max()) + mdp.longest_row * EPSILON
