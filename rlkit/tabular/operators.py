"""The Bellman operators of a finite MDP, and the policy that is greedy for given values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rlkit.tabular.endings import extend_backwards, resting_actions
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.policy_chain import check_discount, check_model, policy_probabilities


def action_values(mdp: TabularMDP, values: FloatArray, discount: float) -> FloatArray:
    """Return E[R + discount * v(S') | s, a], `[num_states, num_actions]`.

    Args:
        values: v `[num_states]`.
        discount: in [0, 1].

    Raises:
        ValueError: the values have another shape, or the discount is out of range.
    """
    check_model(mdp)
    check_discount(discount)
    values = state_values(mdp, values)
    successor_value = mdp.continuing.product(values).reshape(mdp.num_states, mdp.num_actions)
    return np.asarray(mdp.expected_reward + discount * successor_value)


def state_values(mdp: TabularMDP, values: ArrayLike) -> FloatArray:
    """Return values as an array `[num_states]`, which kernels read without another check.

    Raises:
        ValueError: they have another shape.
    """
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != (mdp.num_states,):
        raise ValueError(
            f"values of states: expected the shape [{mdp.num_states}], got {list(array.shape)}"
        )
    return array


def bellman_optimality(mdp: TabularMDP, values: FloatArray, discount: float) -> FloatArray:
    """Return T v, `[num_states]`."""
    return np.asarray(action_values(mdp, values, discount).max(axis=1))


def bellman_policy(
    mdp: TabularMDP, policy: ArrayLike, values: FloatArray, discount: float
) -> FloatArray:
    """Return T_pi v, `[num_states]`.

    Args:
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.
        values: v `[num_states]`.
        discount: in [0, 1].
    """
    probabilities = policy_probabilities(mdp, policy)
    return np.asarray((probabilities * action_values(mdp, values, discount)).sum(axis=1))


def greedy(
    mdp: TabularMDP, values: FloatArray, discount: float, *, tie_tolerance: float = 1e-9
) -> IntArray:
    """Return the best action in every state, `[num_states]`.

    Actions within `tie_tolerance` of the best are tied, and the lowest index wins, so that rounding
    never decides. One exception: where the lowest index would leave the agent in states from which
    it never ends an episode (walking into the same wall at discount 1, for instance), the lowest
    tied action that leads towards an ending is taken. A zero-reward loop is acceptable where the
    value is 0.
    """
    if np.isnan(values).any():
        raise ValueError("values of states: expected numbers to be greedy for, got NaN")
    q = action_values(mdp, values, discount)
    tied = q >= q.max(axis=1, keepdims=True) - tie_tolerance
    policy = np.asarray(tied.argmax(axis=1), dtype=np.int64)

    chosen = np.eye(mdp.num_actions, dtype=np.bool_)[policy]
    resting = (np.abs(values) <= tie_tolerance) & resting_actions(mdp, chosen).any(axis=1)
    arrives = extend_backwards(mdp, policy, resting, allowed=chosen)
    extend_backwards(mdp, policy, arrives, allowed=tied)
    return policy
