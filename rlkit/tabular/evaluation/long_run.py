"""The long run of a policy: the share of time in each state, and how soon it is reached.

A new episode follows every ending, without a time limit:

    M(s, s') = P_pi(s, s') + P(end | s) * initial_distribution(s')
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

from rlkit.tabular.evaluation.chain import (
    EpisodeChain,
    closed_classes,
    episode_chain,
    reachable,
    solve_inside,
    with_restart,
)
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn, policy_probabilities

DENSE = 1_000  # states up to which all eigenvalues are computed


class Mixing(NamedTuple):
    """How fast the distribution of the present state forgets the first state."""

    second_eigenvalue: float  # |lambda_2|, the second largest modulus among the eigenvalues of M
    time: float  # -1 / ln |lambda_2| steps, in which the distance shrinks by a factor of e


def stationary_distribution(mdp: TabularMDP, policy: ArrayLike) -> FloatArray:
    """Return the long-run share of time in each state when a new episode follows every ending.

        d = d M,  sum_s d(s) = 1:  the left eigenvector of eigenvalue 1

    The time limit is ignored. If episodes end, d is proportional to the expected visits of an
    episode; otherwise to those between two returns to one state.

    Args:
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.

    Returns:
        `[num_states]`.

    Raises:
        NoFiniteReturn: if the agent may end up in one of several sets of states that it never
            leaves, so that the distribution depends on chance.
    """
    return long_run(episode_chain(mdp, policy_probabilities(mdp, policy)))


def long_run(chain: EpisodeChain) -> FloatArray:
    """Return the stationary distribution of a chain; see `stationary_distribution`."""
    between = chain.start.size  # the node between two episodes
    arrows = with_restart(chain)
    nodes = reachable(arrows, between)
    label, is_closed = closed_classes(arrows[nodes][:, nodes], np.zeros(nodes.size, dtype=np.bool_))
    number = int(np.count_nonzero(is_closed))
    if number != 1:
        raise NoFiniteReturn(
            "stationary distribution: expected one set of states that the agent never leaves, got "
            f"{number}; the long-run distribution depends on chance"
        )
    states = nodes[is_closed[label]]
    distribution = np.zeros(between)
    if states[-1] == between:
        others, first = states[:-1], chain.start[states[:-1]]
    else:
        distribution[states[0]] = 1.0
        others = states[1:]
        first = chain.continues[[states[0]]][:, others].toarray()[0]
    inside = chain.continues[others][:, others]
    if others.size:
        distribution[others] = np.maximum(0.0, solve_inside(inside.T.tocsr(), first))
    return np.asarray(distribution / distribution.sum())


def mixing(mdp: TabularMDP, policy: ArrayLike) -> Mixing:
    """Return the second eigenvalue of the chain of a policy, and the mixing time.

    After t steps from the worst first state, the distribution of the state differs from the
    long-run one by about |lambda_2|^t. The time is 0 where the first step forgets everything, and
    infinite where the distribution never settles: the chain is periodic, or it may settle in
    several places.

    Args:
        policy: actions `[num_states]` or probabilities `[num_states, num_actions]`.

    Raises:
        RuntimeError: the iteration for the eigenvalue of a large chain did not converge.
    """
    chain = episode_chain(mdp, policy_probabilities(mdp, policy))
    nodes = reachable(with_restart(chain), chain.start.size)
    states = np.asarray(nodes[nodes < chain.start.size], dtype=np.int64)
    modulus = _second(chain, states)
    if modulus >= 1.0 - 1e-9:
        return Mixing(1.0, math.inf)
    return Mixing(modulus, -1.0 / math.log(modulus) if modulus > 0.0 else 0.0)


def _second(chain: EpisodeChain, states: IntArray) -> float:
    """Return the second largest modulus among the eigenvalues of M on these states."""
    inside = chain.continues[states][:, states]
    ends, start = chain.ends[states], chain.start[states]
    if states.size <= DENSE:
        eigenvalues = np.linalg.eigvals(inside.toarray() + np.outer(ends, start))
        return float(np.sort(np.abs(eigenvalues))[-2]) if states.size > 1 else 0.0
    try:
        share = long_run(chain)[states]
    except NoFiniteReturn:
        return 1.0

    def product(x: FloatArray) -> FloatArray:
        # Without the eigenvalue 1: its right eigenvector is constant, its left one is `share`.
        x = x.ravel()
        return np.asarray(inside @ x + ends * (start @ x) - share @ x)

    operator = LinearOperator(inside.shape, matvec=product, dtype=np.float64)
    first = np.random.default_rng(0).standard_normal(states.size)
    for basis in (20, 60, 200):
        try:
            largest = eigs(operator, 2, ncv=basis, v0=first, return_eigenvectors=False, tol=1e-10)
        except ArpackNoConvergence:
            continue
        return float(np.abs(largest).max())
    raise RuntimeError(
        f"mixing time: the second eigenvalue of the chain of {states.size:,} states did not "
        "converge; many eigenvalues have nearly the same modulus"
    )
