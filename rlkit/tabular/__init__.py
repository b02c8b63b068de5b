"""Finite MDPs whose every probability is known, and their exact answers.

    mdp = tabular.mdp_from_env(lambda: gym.make("FrozenLake-v1"))   # a table that was tested
    solution = tabular.solve(mdp, discount=0.99)                    # values, policy, returns
    plan = tabular.value_iteration(mdp, discount=0.99)              # v <- T v, with its error
    values = tabular.policy_value(mdp, plan.policy, discount=0.99)
    returns = tabular.return_under_limit(mdp, plan.policy)          # the score of an episode
    tabular.evaluate(mdp, plan.policy).success_probability          # all about one policy

Nothing here depends on seeds, agents or torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlkit.tabular.bandits.beliefs import bayes_optimal_return as bayes_optimal_return
    from rlkit.tabular.bandits.beliefs import belief_counts as belief_counts
    from rlkit.tabular.bandits.beliefs import belief_mdp as belief_mdp
    from rlkit.tabular.bandits.beliefs import belief_state as belief_state
    from rlkit.tabular.bandits.gittins import gittins_index as gittins_index
    from rlkit.tabular.evaluation.evaluate import PolicyEvaluation as PolicyEvaluation
    from rlkit.tabular.evaluation.evaluate import evaluate as evaluate
    from rlkit.tabular.evaluation.long_run import Mixing as Mixing
    from rlkit.tabular.evaluation.long_run import mixing as mixing
    from rlkit.tabular.evaluation.long_run import (
        stationary_distribution as stationary_distribution,
    )
    from rlkit.tabular.evaluation.lstd import lstd as lstd
    from rlkit.tabular.evaluation.proto_values import ProtoValues as ProtoValues
    from rlkit.tabular.evaluation.proto_values import proto_values as proto_values
    from rlkit.tabular.grids.drawing import policy_map as policy_map
    from rlkit.tabular.grids.lake import frozen_lake as frozen_lake
    from rlkit.tabular.grids.maps import parse_map as parse_map
    from rlkit.tabular.grids.maps import random_map as random_map
    from rlkit.tabular.grids.maps import read_map as read_map
    from rlkit.tabular.mdp import TabularMDP as TabularMDP
    from rlkit.tabular.operators import action_values as action_values
    from rlkit.tabular.operators import bellman_optimality as bellman_optimality
    from rlkit.tabular.operators import bellman_policy as bellman_policy
    from rlkit.tabular.operators import greedy as greedy
    from rlkit.tabular.planning.dense import dense_action_values as dense_action_values
    from rlkit.tabular.planning.modified import (
        modified_policy_iteration as modified_policy_iteration,
    )
    from rlkit.tabular.planning.plan import NotConverged as NotConverged
    from rlkit.tabular.planning.plan import Plan as Plan
    from rlkit.tabular.planning.soft import SoftPlan as SoftPlan
    from rlkit.tabular.planning.soft import (
        penalised_return_under_limit as penalised_return_under_limit,
    )
    from rlkit.tabular.planning.soft import penalised_value as penalised_value
    from rlkit.tabular.planning.soft import soft_return_under_limit as soft_return_under_limit
    from rlkit.tabular.planning.soft import soft_value_iteration as soft_value_iteration
    from rlkit.tabular.planning.solvers import gauss_seidel as gauss_seidel
    from rlkit.tabular.planning.solvers import policy_iteration as policy_iteration
    from rlkit.tabular.planning.solvers import value_iteration as value_iteration
    from rlkit.tabular.planning.undiscounted import best_total_return as best_total_return
    from rlkit.tabular.policy_chain import NoFiniteReturn as NoFiniteReturn
    from rlkit.tabular.reading.model import mdp_from_env as mdp_from_env
    from rlkit.tabular.reading.published import UnknownModel as UnknownModel
    from rlkit.tabular.returns import TimedPlan as TimedPlan
    from rlkit.tabular.returns import optimal_return_under_limit as optimal_return_under_limit
    from rlkit.tabular.returns import policy_value as policy_value
    from rlkit.tabular.returns import return_under_limit as return_under_limit
    from rlkit.tabular.returns import total_return as total_return
    from rlkit.tabular.solution import Solution as Solution
    from rlkit.tabular.solution import solve as solve

# Where each public name lives; it is imported when first used.
_HOME = {
    "Mixing": "rlkit.tabular.evaluation.long_run",
    "NoFiniteReturn": "rlkit.tabular.policy_chain",
    "NotConverged": "rlkit.tabular.planning.plan",
    "Plan": "rlkit.tabular.planning.plan",
    "PolicyEvaluation": "rlkit.tabular.evaluation.evaluate",
    "ProtoValues": "rlkit.tabular.evaluation.proto_values",
    "SoftPlan": "rlkit.tabular.planning.soft",
    "Solution": "rlkit.tabular.solution",
    "TabularMDP": "rlkit.tabular.mdp",
    "TimedPlan": "rlkit.tabular.returns",
    "UnknownModel": "rlkit.tabular.reading.published",
    "action_values": "rlkit.tabular.operators",
    "bayes_optimal_return": "rlkit.tabular.bandits.beliefs",
    "belief_counts": "rlkit.tabular.bandits.beliefs",
    "belief_mdp": "rlkit.tabular.bandits.beliefs",
    "belief_state": "rlkit.tabular.bandits.beliefs",
    "bellman_optimality": "rlkit.tabular.operators",
    "bellman_policy": "rlkit.tabular.operators",
    "best_total_return": "rlkit.tabular.planning.undiscounted",
    "dense_action_values": "rlkit.tabular.planning.dense",
    "evaluate": "rlkit.tabular.evaluation.evaluate",
    "frozen_lake": "rlkit.tabular.grids.lake",
    "gauss_seidel": "rlkit.tabular.planning.solvers",
    "gittins_index": "rlkit.tabular.bandits.gittins",
    "greedy": "rlkit.tabular.operators",
    "lstd": "rlkit.tabular.evaluation.lstd",
    "mdp_from_env": "rlkit.tabular.reading.model",
    "mixing": "rlkit.tabular.evaluation.long_run",
    "modified_policy_iteration": "rlkit.tabular.planning.modified",
    "optimal_return_under_limit": "rlkit.tabular.returns",
    "parse_map": "rlkit.tabular.grids.maps",
    "penalised_return_under_limit": "rlkit.tabular.planning.soft",
    "penalised_value": "rlkit.tabular.planning.soft",
    "policy_iteration": "rlkit.tabular.planning.solvers",
    "policy_map": "rlkit.tabular.grids.drawing",
    "policy_value": "rlkit.tabular.returns",
    "proto_values": "rlkit.tabular.evaluation.proto_values",
    "random_map": "rlkit.tabular.grids.maps",
    "read_map": "rlkit.tabular.grids.maps",
    "return_under_limit": "rlkit.tabular.returns",
    "soft_return_under_limit": "rlkit.tabular.planning.soft",
    "soft_value_iteration": "rlkit.tabular.planning.soft",
    "solve": "rlkit.tabular.solution",
    "stationary_distribution": "rlkit.tabular.evaluation.long_run",
    "total_return": "rlkit.tabular.returns",
    "value_iteration": "rlkit.tabular.planning.solvers",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlkit.tabular' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
