"""The chain of a policy with its endings, and which of its states are visited again and again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from rlkit.tabular.linear import solve_chain
from rlkit.tabular.mdp import BoolArray, FloatArray, TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn, policy_chain
from rlkit.tabular.returns import steps_under_limit


class EpisodeChain(NamedTuple):
    """The states of an episode under a policy; without a time limit."""

    continues: sparse.csr_array  # [num_states, num_states]: P(S' = s', the episode continues | s)
    ends: FloatArray  # [num_states]: P(the episode ends | s)
    start: FloatArray  # [num_states]: of the first state


def episode_chain(mdp: TabularMDP, probabilities: FloatArray) -> EpisodeChain:
    """Return the chain of a policy `[num_states, num_actions]`."""
    continues, _ = policy_chain(mdp, probabilities[None])
    continues.eliminate_zeros()
    ends = (mdp.ending * probabilities).sum(axis=1)
    return EpisodeChain(continues, ends, mdp.initial_distribution)


def expected_visits(chain: EpisodeChain) -> FloatArray:
    """Return how often each state is visited in an episode without a time limit, `[num_states]`.

        x = start + P^T x

    on the states that are left for good sooner or later; infinity in the states to which an
    episode that never ends may return without end.
    """
    label, is_closed = closed_classes(chain.continues, chain.ends > 0)
    recurrent = is_closed[label]
    transient = np.flatnonzero(~recurrent)
    visits = np.zeros(chain.start.size)
    inside = chain.continues[transient][:, transient]
    visits[transient] = np.maximum(0.0, solve_inside(inside.T.tocsr(), chain.start[transient]))
    entering = chain.start + chain.continues[transient].T @ visits[transient]
    entered = np.zeros(is_closed.size, dtype=np.bool_)
    entered[label[recurrent & (entering > 0)]] = True
    visits[recurrent & entered[label]] = np.inf
    return visits


def solve_inside(matrix: sparse.csr_array, constant: FloatArray) -> FloatArray:
    """Return the x with x = constant + matrix x, for the states that a chain leaves at last.

    Raises:
        NoFiniteReturn: it leaves them so seldom that float64 cannot tell.
    """
    try:
        return solve_chain(matrix, constant)
    except RuntimeError as error:  # SuperLU: the matrix is singular
        raise NoFiniteReturn(
            "visits of a policy: the probability that it leaves its states is too small for "
            "float64, so they cannot be counted; choose a horizon"
        ) from error


def visits_under_limit(chain: EpisodeChain, limit: int) -> FloatArray:
    """Return how often each state is visited in the first `limit` steps, `[num_states]`."""
    forward = chain.continues.T.tocsr()
    present, visits = chain.start, np.zeros(chain.start.size)
    for t in steps_under_limit(limit, forward.nnz):
        visits = visits + present
        following = forward @ present
        if np.array_equal(following, present):  # so every later step adds the same
            return np.asarray(visits + (limit - 1 - t) * present)
        present = following
    return visits


def closed_classes(
    matrix: sparse.csr_array, leaves: BoolArray
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int32]], BoolArray]:
    """Return the class of mutually reachable states of each state, and which classes are closed.

    Args:
        matrix: its entries are the arrows, `[num_states, num_states]`.
        leaves: whether a state leads out of the matrix, `[num_states]`.

    Returns:
        class by state `[num_states]`, and whether no state of a class leads out of it `[classes]`.
    """
    number, label = connected_components(matrix, directed=True, connection="strong")
    is_closed = np.ones(number, dtype=np.bool_)
    arrows = matrix.tocoo()
    is_closed[label[arrows.row[label[arrows.row] != label[arrows.col]]]] = False
    is_closed[label[leaves]] = False
    return label, is_closed


def with_restart(chain: EpisodeChain) -> sparse.csr_array:
    """Return the arrows of a chain in which an episode follows another, `[n + 1, n + 1]`.

    The last node stands between two episodes.
    """
    ends = sparse.csr_array((chain.ends > 0).astype(np.float64)[:, None])
    starts = sparse.csr_array((chain.start > 0).astype(np.float64)[None])
    return sparse.csr_array(sparse.block_array([[chain.continues, ends], [starts, None]]))


def reachable(arrows: sparse.csr_array, node: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return the nodes that can be reached from one node, in ascending order."""
    return np.sort(breadth_first_order(arrows, node, return_predecessors=False))
