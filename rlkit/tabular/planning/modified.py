"""Modified policy iteration (Puterman and Shin 1978), for large models.

1. A few Gauss-Seidel sweeps, there and back, spread values through the model.
2. One sweep of the optimality operator gives the greedy policy and a certificate. Stop if it is
   good enough.
3. Bring the values nearer to those of that policy (`aggregation`), sweep again, and go to 2.

The third step costs a fraction of the sweeps that it replaces, but has no guarantee. The values
with the smallest change so far are therefore kept. Where no later ones are better for a while, the
iteration returns to them and continues with more and more sweeps, each of which reduces the error.
"""

from __future__ import annotations

import time

import numpy as np

from rlkit.tabular.mdp import FloatArray, TabularMDP
from rlkit.tabular.planning.aggregation import groups_of, improve
from rlkit.tabular.planning.certificate import UNKNOWN, Certifier
from rlkit.tabular.planning.plan import Plan, Report, check_tolerance, first_values
from rlkit.tabular.planning.sweeps import Sweeps, threads
from rlkit.tabular.policy_chain import check_discount, check_model

_FIRST_SWEEPS = 20
_SWEEPS = 2  # after each evaluation of a policy
_PATIENCE = 10  # evaluations without progress
_REDUCTION = 0.1  # of the residual, in one evaluation
_PROGRESS = 0.9  # of the smallest error so far: the largest error that counts as progress
_CYCLES = 8  # of one evaluation, at most


def modified_policy_iteration(
    mdp: TabularMDP,
    *,
    discount: float,
    tolerance: float = 1e-9,
    max_sweeps: int = 1_000_000,
    initial_values: FloatArray | None = None,
    report: Report | None = None,
) -> Plan:
    """Return values within tolerance / 2 of V*, see the module; for discounts below 1.

    Args:
        discount: in [0, 1).
        tolerance: twice the error allowed in any state's value, > 0.
        max_sweeps: over all states; cycles of `aggregation` do not count.
        initial_values: `[num_states]` to start from, by default 0.
        report: called after each sweep of the operator.
    """
    check_model(mdp)
    check_discount(discount)
    if discount == 1.0:
        raise ValueError(
            "modified policy iteration: the discount must be below 1; at 1 use value_iteration or "
            "policy_iteration"
        )
    check_tolerance(tolerance, max_sweeps)
    began = time.perf_counter()
    certifier = Certifier(mdp, discount, tolerance)
    values = first_values(mdp, initial_values)
    result = np.empty_like(values)
    best, of_best = values.copy(), UNKNOWN
    failures, num_sweeps, groups = 0, _SWEEPS, None
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, discount, pool)
        sweeps.there_and_back(values, min(_FIRST_SWEEPS, max_sweeps - 1))
        while True:
            certificate = certifier.sweep(sweeps, values, result, report)
            values, result = result, values
            if certifier.ends(certificate) or sweeps.count >= max_sweeps:
                break
            failures = 0 if certificate.error < _PROGRESS * of_best.error else failures + 1
            if certificate.error < of_best.error:
                best[:], of_best = values, certificate
            if failures >= _PATIENCE or not np.isfinite(certificate.error):
                values[:], failures = best, 0
                num_sweeps *= 2
                sweeps.there_and_back(values, num_sweeps)
                continue
            groups = groups_of(mdp) if groups is None else groups
            improve(
                *(sweeps.chain(), values, groups),
                reduction=_REDUCTION,
                max_cycles=_CYCLES,
                pool=pool,
            )
            sweeps.there_and_back(values, num_sweeps)
    if not certificate.error <= of_best.error:  # also where it is NaN
        values, certificate = best, of_best
    return certifier.plan(values, certificate, sweeps.count, began)
