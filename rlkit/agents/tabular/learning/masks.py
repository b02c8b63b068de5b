"""The choices of learners of tables where an environment allows only some actions.

They take the place of those among all actions in the kernels of a learner, so that a loop without
masks does not contain them: it is compiled in two thirds of the time.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.compiled import Kernels
from rlkit.agents.tabular.learning import updates
from rlkit.agents.tabular.learning.updates import Table
from rlkit.maths.compiled import part, with_parts

Array = NDArray[Any]


@part
def explore_allowed(
    q: Array, s: int, boltzmann: bool, level: float, noise: Array, n: int, masks: Array
) -> int:
    """Return the action of training in state s among those that the mask of environment n allows.

    The arguments are those of `explore`.

    Args:
        masks: which actions are allowed, bool [N, actions].
    """
    greedy = not boltzmann and noise[0, n] >= level
    best, total = best_allowed(q, s, masks, n), 0.0
    for a in range(q.shape[1]):
        if masks[n, a]:
            total += share_allowed(q[s, a], best, boltzmann, greedy, level)
    remaining, last = noise[1, n] * total, 0
    for a in range(q.shape[1]):
        if masks[n, a]:
            share = share_allowed(q[s, a], best, boltzmann, greedy, level)
            remaining -= share
            if share > 0.0:
                last = a
            if remaining < 0.0:
                return a
    return last  # by rounding, or because of NaN


@part
def share_allowed(value: float, best: float, boltzmann: bool, greedy: bool, level: float) -> float:
    """Return a number in proportion to the probability of an allowed action."""
    if boltzmann:
        share: float = np.exp((value - best) / level)
        return share
    return 1.0 if value == best or not greedy else 0.0


@part
def best_allowed(q: Array, s: int, masks: Array, n: int) -> float:
    """Return the value of the best action in state s that the mask of environment n allows."""
    best = -np.inf
    for a in range(q.shape[1]):
        if masks[n, a]:
            best = max(best, q[s, a])
    return best


@part
def value_allowed(q: Array, s: int, boltzmann: bool, level: float, masks: Array, n: int) -> float:
    """Return sum_a P(a | s) Q(s, a) under the policy of `explore_allowed`."""
    best, total, weighted, number = best_allowed(q, s, masks, n), 0.0, 0.0, 0
    for a in range(q.shape[1]):
        if masks[n, a]:
            weight = np.exp((q[s, a] - best) / level) if boltzmann else 1.0
            total += weight
            weighted += weight * q[s, a]
            number += 1
    if boltzmann:
        return weighted / total
    value: float = (1.0 - level) * best + level * (weighted / number)
    return value


@part
def choose(table: Table, s: int, boltzmann: bool, level: float, noise: Array, n: int) -> int:
    """Return the action of training in state s of environment n."""
    return explore_allowed(table.q, s, boltzmann, level, noise, n, table.masks)


@part
def mean_after(table: Table, s: int, boltzmann: bool, level: float, n: int) -> float:
    """Return sum_a P(a | s) Q(s, a) under the exploring policy in s, where environment n came."""
    return value_allowed(table.q, s, boltzmann, level, table.next_masks, n)


@part
def best_before(table: Table, s: int, n: int) -> float:
    """Return the value of the best allowed action in s, where environment n was acted in."""
    return best_allowed(table.q, s, table.masks, n)


@part
def best_after(table: Table, s: int, n: int) -> float:
    """Return the value of the best allowed action in s, where environment n came."""
    return best_allowed(table.q, s, table.next_masks, n)


@part
def best_kept(table: Table, s: int, masks: Array, of: tuple[int, int, int]) -> float:
    """Return the value of the best allowed action in s, where a kept outcome led."""
    best = -np.inf
    for a in range(table.q.shape[1]):
        if masks[of[0], of[1], of[2], a]:
            best = max(best, table.q[s, a])
    return best


@part
def best_action_after(table: Table, s: int, n: int) -> int:
    """Return the first of the best allowed actions in s, where environment n came."""
    best = -1
    for a in range(table.q.shape[1]):
        if table.next_masks[n, a] and (best < 0 or table.q[s, a] > table.q[s, best]):
            best = a
    return best


_CHOICES = {
    getattr(updates, each.__name__): each
    for each in (choose, mean_after, best_before, best_after, best_kept, best_action_after)
}


@functools.cache
def masked(kernels: Kernels) -> Kernels:
    """Return the kernels of a learner with choices among the allowed actions."""
    return Kernels(*(with_parts(each, _CHOICES) for each in kernels))
