"""LSTD-Q: the action values of a policy from samples, by one linear solve (see `lspi`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from rlkit.agents.linear.features import Features
from rlkit.tabular.evaluation.lstd import solve_ridge

Array = NDArray[Any]


class LSTDQ:
    """The equations for the action values of a policy, from the samples of one seed.

    Products are torch's, which a run restricts to one thread: the bytes of a large sum depend on
    the number of threads.

    Args:
        features: of observations.
        samples: observations, actions, rewards, terminations and successors, [M, ...].
        num_actions: A.
        discount: gamma.
        ridge: added to the diagonal.
    """

    def __init__(
        self,
        features: Features,
        samples: tuple[Array, ...],
        num_actions: int,
        *,
        discount: float,
        ridge: float,
    ) -> None:
        obs, self._action, self._reward, self._terminated, next_obs = samples
        self._num_actions, self._discount, self._ridge = num_actions, discount, ridge
        self._now, self._next = features.matrix(obs), features.matrix(next_obs)
        self._size = features.size
        rows = [np.flatnonzero(self._action == a) for a in range(num_actions)]
        self._diagonal = [_product(self._now[at], self._now[at]) for at in rows]
        self._constant = np.concatenate([self._now[at].T @ self._reward[at] for at in rows])

    def greedy(self, weights: Array) -> Array:
        """Return the best action in each successor, [M], the first among equals."""
        best: Array = np.asarray(self._next @ weights).argmax(axis=1)
        return best

    def solve(self, actions: Array) -> Array:
        """Return the weights [features, A] of the policy that takes these actions next."""
        blocks = [
            [self._block(a, b, actions) for b in range(self._num_actions)]
            for a in range(self._num_actions)
        ]
        ridge = self._ridge
        if isinstance(self._now, sparse.csr_array):
            solution = solve_ridge(sparse.block_array(blocks), self._constant, ridge)
        else:
            matrix = torch.from_numpy(np.block(blocks) + ridge * np.eye(len(self._constant)))
            solution = torch.linalg.solve(matrix, torch.from_numpy(self._constant)).numpy()
        return np.ascontiguousarray(solution.reshape(self._num_actions, self._size).T)

    def _block(self, a: int, b: int, actions: Array) -> Any:
        at = np.flatnonzero((self._action == a) & (actions == b) & ~self._terminated)
        future = self._discount * _product(self._now[at], self._next[at])
        return self._diagonal[a] - future if a == b else -future

    def error(self, weights: Array, actions: Array) -> float:
        """Return the mean of |r + gamma Q(s', a') - Q(s, a)| over the samples."""
        rows = np.arange(len(actions))
        future = np.asarray(self._next @ weights)[rows, actions]
        target = self._reward + np.where(self._terminated, 0.0, self._discount * future)
        return float(np.abs(target - np.asarray(self._now @ weights)[rows, self._action]).mean())


def _product(left: Any, right: Any) -> Any:
    """Return left^T right."""
    if isinstance(left, sparse.csr_array):
        return left.T @ right
    return (torch.from_numpy(left).T @ torch.from_numpy(right)).numpy()
