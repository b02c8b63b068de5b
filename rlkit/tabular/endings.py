"""Which actions can end the episode, or stop it from earning rewards, ignoring probabilities.

An agent *rests* where it can continue without end and without any further reward. For the
undiscounted return, resting is an ending like any other.
"""

from __future__ import annotations

import numpy as np

from rlkit.tabular import graph
from rlkit.tabular.mdp import BoolArray, IntArray, TabularMDP
from rlkit.tabular.policy_chain import reaches


def terminating_policy(mdp: TabularMDP) -> tuple[IntArray, BoolArray]:
    """Return a policy that is sure to end the episode or to rest wherever any policy is.

    States are given up in rounds, and an action counts only if it cannot lead to a state that was
    given up before.

    Returns:
        The actions `[num_states]`, and the states `[num_states]` from which they are sure.
    """
    rests = resting_actions(mdp, np.ones((mdp.num_states, mdp.num_actions), dtype=np.bool_))
    sure = np.ones(mdp.num_states, dtype=np.bool_)
    while True:
        policy = rests.argmax(axis=1)
        safe = ~_may_lead_to(mdp, ~sure)
        arrives = extend_backwards(mdp, policy, np.asarray(rests.any(axis=1)), allowed=safe)
        if (arrives == sure).all():
            return policy, sure
        sure = arrives


def extend_backwards(
    mdp: TabularMDP, policy: IntArray, arrived: BoolArray, *, allowed: BoolArray
) -> BoolArray:
    """Extend `arrived` backwards through allowed actions of a model; see `graph`."""
    return graph.extend_backwards(
        mdp.continuation, policy, arrived, allowed=allowed, ends=mdp.may_end
    )


def resting_actions(mdp: TabularMDP, allowed: BoolArray) -> BoolArray:
    """Return the allowed actions `[num_states, num_actions]` with which the agent can rest.

    They give no reward, and lead only to states that have such an action too, or end the episode.
    """
    return graph.remaining_actions(mdp.continuation, allowed & ~mdp.may_reward)


def _may_lead_to(mdp: TabularMDP, states: BoolArray) -> BoolArray:
    """Return whether action a in state s can lead to these states, `[num_states, num_actions]`."""
    return reaches(mdp.continuation, states).reshape(mdp.num_states, mdp.num_actions)
