"""The answer key of policies that are kept near a reference: their returns, and the best ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.soft import (
    SoftPlan,
    penalised_return_under_limit,
    penalised_value,
    soft_return_under_limit,
    soft_value_iteration,
)
from rlkit.tabular.policy_chain import policy_probabilities
from rlkit.tabular.returns import from_start, return_under_limit


@dataclass(frozen=True, kw_only=True)
class PenalisedReturn:
    """The return of one policy less its penalty, beside the best one that is possible.

    Under a time limit all are undiscounted and of episodes up to the limit. The best policy may
    then watch the clock, so that a gap of 0 can be out of reach for policies that do not. Without a
    limit all are discounted.
    """

    penalised_return: float  # expected return - kl_coef * kl
    kl: float  # nats per episode, D_KL(policy || reference) summed over its steps
    penalised_optimum: float

    @property
    def gap(self) -> float:
        """How far the policy is from the best one, >= 0."""
        return self.penalised_optimum - self.penalised_return


def penalised_return(
    mdp: TabularMDP,
    policy: Any,
    reference: Any,
    *,
    kl_coef: float,
    discount: float,
    limit: int | None,
    optimum: float | None = None,
) -> PenalisedReturn:
    """Return the penalised return of a policy, and how far it is from the optimum.

    Args:
        mdp: the model.
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        reference: likewise.
        kl_coef: the penalty of one nat, > 0, in units of reward.
        discount: where there is no limit, in [0, 1).
        limit: the steps of an episode, or None.
        optimum: that of `penalised_optimum`, if it is known.

    Raises:
        ValueError: the policy takes an action that the reference never takes, or a number is out of
            range.
    """
    if limit is None:
        value = from_start(
            mdp, penalised_value(mdp, policy, reference, kl_coef=kl_coef, discount=discount)
        )
        # The penalised value is linear in the penalty, so twice the penalty shows how much it is.
        doubled = penalised_value(mdp, policy, reference, kl_coef=2 * kl_coef, discount=discount)
        kl = (value - from_start(mdp, doubled)) / kl_coef
    else:
        value = penalised_return_under_limit(mdp, policy, reference, kl_coef=kl_coef, limit=limit)
        rewards = float(return_under_limit(mdp, policy_probabilities(mdp, policy)[None], limit)[0])
        kl = (rewards - value) / kl_coef
    if optimum is None:
        optimum = penalised_optimum(mdp, reference, kl_coef=kl_coef, discount=discount, limit=limit)
    return PenalisedReturn(penalised_return=value, kl=kl, penalised_optimum=optimum)


def penalised_optimum(
    mdp: TabularMDP, reference: Any, *, kl_coef: float, discount: float, limit: int | None
) -> float:
    """Return the largest penalised return; arguments as for `penalised_return`."""
    if limit is not None:
        return soft_return_under_limit(mdp, reference, kl_coef=kl_coef, limit=limit)
    return soft_value_iteration(mdp, reference, kl_coef=kl_coef, discount=discount).start_value


@dataclass(frozen=True, kw_only=True, eq=False)
class NearOptimum:
    """The best policy near a reference, for one discount and one penalty."""

    plan: SoftPlan  # discounted, without a time limit
    of_plan: PenalisedReturn  # its policy, in episodes; see `PenalisedReturn`
    of_reference: float  # the return of the reference in the same episodes, which has no penalty


def solve_near(
    mdp: TabularMDP,
    reference: Any,
    *,
    kl_coef: float,
    discount: float,
    tolerance: float = 1e-9,
    limit: int | None,
) -> NearOptimum:
    """Return the policy with the largest penalised return, and what it reaches in episodes.

    Args, raises: as `penalised_return` and `soft_value_iteration`.
    """
    plan = soft_value_iteration(
        mdp, reference, kl_coef=kl_coef, discount=discount, tolerance=tolerance
    )
    options: dict[str, Any] = {"kl_coef": kl_coef, "discount": discount, "limit": limit}
    of_plan = penalised_return(mdp, plan.policy, reference, **options)
    optimum = of_plan.penalised_optimum
    alone = penalised_return(mdp, reference, reference, **options, optimum=optimum)
    return NearOptimum(plan=plan, of_plan=of_plan, of_reference=alone.penalised_return)
