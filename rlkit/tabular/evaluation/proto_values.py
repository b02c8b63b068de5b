"""Proto-value functions: smooth functions on the graph of states (Mahadevan 2005)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

from rlkit.tabular.evaluation.chain import episode_chain, reachable, with_restart
from rlkit.tabular.mdp import FloatArray, IntArray, TabularMDP
from rlkit.tabular.policy_chain import check_model

DENSE = 1_000  # states up to which all eigenvectors are computed


class ProtoValues(NamedTuple):
    """The first eigenvectors of a graph's Laplacian."""

    eigenvalues: FloatArray  # [K], ascending from 0
    vectors: FloatArray  # [K, num_states], each of length 1; NaN in states that are not reached


def proto_values(mdp: TabularMDP, number: int) -> ProtoValues:
    """Return the first eigenvectors of the Laplacian of the graph of states.

        L = D - W,  W(s, s') = (P(s, s') + P(s', s)) / 2 for s != s',  D(s, s) = sum_s' W(s, s')

    P is the chain of the policy that chooses each action with the same probability, transitions
    that end an episode included. The eigenvalue is the sum of W (v(s) - v(s'))^2 over neighbours,
    so the first vectors change as little as possible between them; the first of all is constant.
    Vectors of equal eigenvalues, as on square maps, may be any basis of their span.

    Args:
        number: K, at most the number of states that can be reached from the initial ones.

    Raises:
        ValueError: there are fewer states.
    """
    check_model(mdp)
    acting, states = _states(mdp)
    if not 1 <= number <= states.size:
        raise ValueError(
            f"proto-values: expected a number from 1 to {states.size:,}, the states that can be "
            f"reached, got {number}"
        )
    laplacian = _laplacian(mdp, acting)[states][:, states]
    if states.size <= max(DENSE, number + 1):
        eigenvalues, columns = np.linalg.eigh(laplacian.toarray())
    else:
        first = np.random.default_rng(0).standard_normal(states.size)
        # L is singular; just below 0 it can be inverted, where its smallest eigenvalues are the
        # largest.
        eigenvalues, columns = eigsh(laplacian.tocsc(), number, sigma=-1e-4, v0=first)
    order = np.argsort(eigenvalues)[:number]
    vectors = np.full((number, mdp.num_states), np.nan)
    vectors[:, states] = _with_sign(columns[:, order].T)
    # Rounding leaves the eigenvalues that are 0 at about 1e-16.
    return ProtoValues(np.where(eigenvalues > 1e-13, eigenvalues, 0.0)[order], vectors)


def _states(mdp: TabularMDP) -> tuple[IntArray, IntArray]:
    """Return the states in which the random policy may act, and these with their successors."""
    chain = episode_chain(mdp, _uniform(mdp))
    nodes = reachable(with_restart(chain), mdp.num_states)
    acting = np.zeros(mdp.num_states, dtype=np.bool_)
    acting[nodes[nodes < mdp.num_states]] = True
    row = np.repeat(np.arange(mdp.row_start.size - 1), np.diff(mdp.row_start))
    used = acting[row // mdp.num_actions] & (mdp.probability > 0)
    return np.flatnonzero(acting), np.union1d(np.flatnonzero(acting), mdp.next_state[used])


def _uniform(mdp: TabularMDP) -> FloatArray:
    return np.full((mdp.num_states, mdp.num_actions), 1.0 / mdp.num_actions)


def _laplacian(mdp: TabularMDP, acting: IntArray) -> sparse.csr_array:
    """Return L, `[num_states, num_states]`; only steps from the acting states are arrows."""
    rows = np.zeros(mdp.num_states)
    rows[acting] = 1.0 / mdp.num_actions
    row = np.repeat(np.arange(mdp.row_start.size - 1), np.diff(mdp.row_start)) // mdp.num_actions
    moves = row != mdp.next_state
    weight = 0.5 * (mdp.probability * rows[row])[moves]
    arrows = sparse.coo_array(
        (weight, (row[moves], mdp.next_state[moves])), shape=(mdp.num_states, mdp.num_states)
    ).tocsr()
    symmetric = sparse.csr_array(arrows + arrows.T)
    degree = np.asarray(symmetric.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(degree) - symmetric)


def _with_sign(vectors: FloatArray) -> FloatArray:
    """Return vectors `[K, n]` in which the first entry that is not 0 is positive."""
    is_nonzero = np.abs(vectors) > 1e-6 * np.abs(vectors).max(axis=1, keepdims=True)
    first = np.take_along_axis(vectors, is_nonzero.argmax(axis=1)[:, None], axis=1)
    return np.asarray(vectors * np.where(first < 0, -1.0, 1.0))
