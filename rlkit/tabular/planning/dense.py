"""Policy iteration for small models in dense arrays, compiled: some microseconds per state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel

Array = NDArray[Any]

_MOST_ROUNDS = 1000
_TIED = 1e-12  # of the largest value: differences that may be rounding


def dense_action_values(transition: Array, reward: Array, discount: float, policy: Array) -> Array:
    """Return the optimal action values of a model, `[n, A]`.

    The result is the same whatever the number of threads or processors. A row of `transition` may
    sum to less than 1; the episode ends with the rest of the probability.

    Args:
        transition: P(s' | s, a), `[n, A, >= n]`; of the last axis only the first n count.
        reward: E[R | s, a], `[n, A]`.
        discount: in [0, 1).
        policy: where to start, `[n]`; it is changed to the optimal policy.

    Raises:
        ValueError: a shape or an action does not fit, or the discount is not below 1.
    """
    n, num_actions = shape = reward.shape if reward.ndim == 2 else (0, 0)
    if transition.shape[:2] != shape or transition.shape[2:] < (n,) or policy.shape != (n,):
        raise ValueError(
            "dense_action_values: expected transition [n, A, >= n], reward [n, A] and policy [n], "
            f"got {list(transition.shape)}, {list(reward.shape)} and {list(policy.shape)}"
        )
    if ((policy < 0) | (policy >= num_actions)).any() or not 0.0 <= discount < 1.0:
        raise ValueError(
            f"dense_action_values: expected actions in [0, {num_actions}) and a discount in "
            f"[0, 1), got {policy.min(initial=0)} to {policy.max(initial=0)} and {discount!r}"
        )
    return np.asarray(_iterate(transition, reward, discount, policy))


@kernel
def _iterate(transition: Array, reward: Array, discount: float, policy: Array) -> Array:
    n, num_actions = reward.shape
    values, q = np.empty(n), np.empty((n, num_actions))
    matrix = np.empty((n, n))
    for _ in range(_MOST_ROUNDS):
        _evaluate(transition, reward, discount, policy, matrix, values)
        tied = _TIED * max(1.0, np.abs(values).max())
        changed = False
        for s in range(n):
            for a in range(num_actions):
                future = 0.0
                for t in range(n):
                    future += transition[s, a, t] * values[t]
                q[s, a] = reward[s, a] + discount * future
            best = policy[s]
            for a in range(num_actions):
                if q[s, a] > q[s, best] + tied:
                    best = a
            if best != policy[s]:
                policy[s], changed = best, True
        if not changed:
            break
    return q


@kernel
def _evaluate(
    transition: Array, reward: Array, discount: float, policy: Array, matrix: Array, values: Array
) -> None:
    """Solve (I - discount P) v = r of a policy by Gaussian elimination.

    Every row is strictly diagonally dominant, so that no pivoting is needed.
    """
    n = values.shape[0]
    for s in range(n):
        for t in range(n):
            matrix[s, t] = -discount * transition[s, policy[s], t]
        matrix[s, s] += 1.0
        values[s] = reward[s, policy[s]]
    for k in range(n):
        for s in range(k + 1, n):
            factor = matrix[s, k] / matrix[k, k]
            if factor != 0.0:
                for t in range(k + 1, n):
                    matrix[s, t] -= factor * matrix[k, t]
                values[s] -= factor * values[k]
    for s in range(n - 1, -1, -1):
        for t in range(s + 1, n):
            values[s] -= matrix[s, t] * values[t]
        values[s] /= matrix[s, s]
