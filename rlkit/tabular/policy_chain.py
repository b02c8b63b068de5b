"""The Markov chain of a policy in an MDP, and the expected sum of its rewards.

A policy fixes the actions, which leaves a chain with a matrix P (the probability of continuing in
s') and an expected reward r. Its value solves v = r + discount * P v.

At discount 1 the total reward must be finite. It is where the chain is sure to end or to become
*quiet*: to enter a set of states that it never leaves and that gives no reward. An episode that
never ends but is quiet has the return it has collected so far.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from rlkit.processes.calls import describe
from rlkit.tabular.graph import backward_closure
from rlkit.tabular.linear import solve_chain
from rlkit.tabular.mdp import BoolArray, FloatArray, TabularMDP


class NoFiniteReturn(ValueError):
    """The requested undiscounted return does not exist, or no policy has one."""


def check_model(mdp: TabularMDP) -> None:
    """Raise ValueError if a model is something else, such as the name of an environment."""
    if not isinstance(mdp, TabularMDP):
        raise ValueError(
            f"expected a model, a TabularMDP, got {describe(mdp)}; rlkit.solve takes the name of "
            'an environment, and mdp_from_env(lambda: gym.make("FrozenLake-v1")) reads its model'
        )


def check_discount(discount: float) -> float:
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount must be in [0, 1], got {discount!r}")
    return float(discount)


def policy_probabilities(mdp: TabularMDP, policies: ArrayLike) -> FloatArray:
    """Return policies as probabilities `[..., num_states, num_actions]`.

    Args:
        policies: integers `[..., num_states]`, the action in each state; or probabilities
            `[..., num_states, num_actions]`, with rows that sum to one within 1e-5 (networks work
            in single precision), which are rescaled to sum to one.
    """
    check_model(mdp)
    given: NDArray[np.generic] = np.asarray(policies)
    shape = (mdp.num_states, mdp.num_actions)
    if given.dtype.kind in "iu" and given.shape[-1:] == shape[:1]:
        actions = np.asarray(given, dtype=np.int64)
        if ((actions < 0) | (actions >= mdp.num_actions)).any():
            raise ValueError(
                f"reading a policy: actions must be in [0, {mdp.num_actions}), got "
                f"{actions.min()} to {actions.max()}"
            )
        return np.asarray(np.eye(mdp.num_actions)[actions])
    if given.dtype.kind != "f" or given.shape[-2:] != shape:
        raise ValueError(
            f"reading a policy: expected integer actions of shape [..., {shape[0]}] or "
            f"probabilities of shape [..., {shape[0]}, {shape[1]}], got {given.dtype} of shape "
            f"{given.shape}"
        )
    probability = np.array(given, dtype=np.float64, order="C")
    total = probability.sum(axis=-1, keepdims=True)
    wrong = ~((np.abs(total - 1) <= 1e-5)[..., 0] & (probability >= 0).all(axis=-1))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            "reading a policy: action probabilities must be >= 0 and sum to 1, got "
            f"{probability[at]} at state {at[-1]}"
        )
    return np.asarray(probability / total)


def policy_chain(
    mdp: TabularMDP, probabilities: FloatArray
) -> tuple[scipy.sparse.csr_array, FloatArray]:
    """Return the chains of a batch of policies in one block-diagonal matrix.

    Args:
        probabilities: `[B, num_states, num_actions]`.

    Returns:
        P, sparse `[B * num_states, B * num_states]`, and r `[B * num_states]`. Each row is summed
        on its own and in a fixed order, so the bytes of one policy do not depend on the others.
    """
    num_policies = probabilities.shape[0]
    member, state, action = taken = np.nonzero(probabilities)
    choice = scipy.sparse.csr_array(
        (
            probabilities[taken],
            (member * mdp.num_states + state, state * mdp.num_actions + action),
        ),
        shape=(num_policies * mdp.num_states, mdp.num_states * mdp.num_actions),
    )
    steps = choice @ mdp.continuation
    block = np.repeat(np.arange(num_policies) * mdp.num_states, mdp.num_states)
    columns = steps.indices + np.repeat(block, np.diff(steps.indptr))
    side = num_policies * mdp.num_states
    chain = scipy.sparse.csr_array((steps.data, columns, steps.indptr), shape=(side, side))
    return chain, choice @ mdp.expected_reward.ravel()


def discounted_value(mdp: TabularMDP, probabilities: FloatArray, discount: float) -> FloatArray:
    """Solve v = r + discount * P v for a discount below one; `[num_states]`."""
    chain, reward = policy_chain(mdp, probabilities[None])
    return solve_chain(discount * chain, reward)


def total_reward(mdp: TabularMDP, probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the undiscounted value of a policy and the steps it takes, from every state.

    Returns:
        The expected total reward `[num_states]` and the expected number of steps until the episode
        ends or is quiet `[num_states]`. Both are NaN in the states from which the policy may
        continue without end and keep earning rewards: neither exists there.

    Raises:
        NoFiniteReturn: if an end is so unlikely that float64 cannot distinguish it from none.
    """
    chain, reward = policy_chain(mdp, probabilities[None])
    quiet = np.asarray(~(mdp.may_reward & (probabilities > 0)).any(axis=-1))
    while (leaving := quiet & reaches(chain, ~quiet)).any():
        quiet &= ~leaving
    settled = np.asarray(quiet | (mdp.may_end & (probabilities > 0)).any(axis=-1))
    endless = backward_closure(chain, ~backward_closure(chain, settled))

    live = np.flatnonzero(~endless & ~quiet)
    values = np.where(endless, np.nan, 0.0)
    steps = values.copy()
    if live.size:
        inside = chain[live][:, live]
        try:
            values[live] = solve_chain(inside, reward[live])
            steps[live] = solve_chain(inside, np.ones(live.size))
        except RuntimeError as error:  # SuperLU: the matrix is singular
            raise NoFiniteReturn(
                "total reward of a policy: the probability that its episodes end is too small for "
                "float64, so no return can be computed; choose a discount below 1 or a time limit"
            ) from error
    return values, steps


def reaches(matrix: scipy.sparse.csr_array, states: BoolArray) -> BoolArray:
    """Return whether each row of a non-negative matrix puts weight on any of these states."""
    return np.asarray((matrix @ states.astype(np.float64)) > 0)
