"""Sweeps over the states of a model, which threads can share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlkit.maths.compiled import num_threads, unsigned
from rlkit.tabular.mdp import FloatArray, TabularMDP
from rlkit.tabular.planning import kernels

Array = NDArray[Any]
T = TypeVar("T")

# States of one part of a sweep. Parts depend on the model alone, and not on the number of threads,
# so that sums over states have the same bytes for any number.
_PART = 1 << 16


class Chain(NamedTuple):
    """The chain of one policy: v = r + discount * P v, in the form of `aggregation_kernels`."""

    start: Array
    column: Array
    weight: FloatArray
    discount: float
    reward: FloatArray


def in_parts(
    pool: ThreadPoolExecutor | None, num_states: int, function: Callable[..., T], *arguments: Any
) -> list[T]:
    """Call a kernel for each part of the states, in threads; return the results in order."""
    bounds = [*range(0, num_states, _PART), num_states]
    parts = [(np.uint32(a), np.uint32(b)) for a, b in itertools.pairwise(bounds)]
    if pool is None or len(parts) == 1:
        return [function(*arguments, *part) for part in parts]
    return [job.result() for job in [pool.submit(function, *arguments, *part) for part in parts]]


class Sweeps:
    """The Bellman operator of a model at one discount, and its greedy policy.

    Args:
        mdp: the model.
        discount: in [0, 1].
        pool: threads that share the sweeps of a large model; the result does not depend on them.
    """

    def __init__(
        self, mdp: TabularMDP, discount: float, pool: ThreadPoolExecutor | None = None
    ) -> None:
        matrix = mdp.continuation
        self._start = unsigned(matrix.indptr)
        self._column, self._weight = unsigned(matrix.indices), matrix.data
        self._reward = mdp.expected_reward.ravel()
        self._num_states, self._num_actions = mdp.num_states, np.uint32(mdp.num_actions)
        self._discount = discount
        self._pool = pool
        self.policy = np.zeros(mdp.num_states, dtype=np.uint32)  # of the last sweep
        self.count = 0

    def optimality(self, values: FloatArray, result: FloatArray) -> tuple[float, float]:
        """Write T v to `result`; return the smallest and the largest (T v)(s) - v(s)."""
        self.count += 1
        arguments = (*self._model, values, result, self.policy)
        changes = in_parts(self._pool, self._num_states, kernels.optimality_sweep, *arguments)
        return min(low for low, _ in changes), max(high for _, high in changes)

    def gauss_seidel(self, values: FloatArray, *, backwards: bool) -> float:
        """Update the values in place, state after state; return the largest change."""
        self.count += 1
        arguments = (*self._model, values, self.policy, backwards)
        return kernels.gauss_seidel_sweep(*arguments)

    def there_and_back(self, values: FloatArray, number: int) -> None:
        """Update the values in place by so many Gauss-Seidel sweeps, every other one backwards."""
        for i in range(number):
            self.gauss_seidel(values, backwards=bool(i % 2))

    def chain(self) -> Chain:
        """Return the chain of the policy of the last sweep, and its rewards."""
        start = np.empty(self._num_states + 1, dtype=np.uint32)
        kernels.chain_entries(self._start, self._num_actions, self.policy, start)
        column = np.empty(int(start[-1]), dtype=np.uint32)
        weight = np.empty(int(start[-1]))
        model = (self._start, self._column, self._weight, self._num_actions)
        kernels.fill_chain(*model, self.policy, start, column, weight)
        rows = np.arange(self._num_states, dtype=np.int64) * int(self._num_actions)
        return Chain(start, column, weight, self._discount, self._reward[rows + self.policy])

    @property
    def _model(self) -> tuple[Any, ...]:
        return (
            *(self._start, self._column, self._weight, self._reward),
            *(self._num_actions, self._discount),
        )


@contextmanager
def threads(mdp: TabularMDP) -> Iterator[ThreadPoolExecutor | None]:
    """Yield one thread for each processor, or None where the model is too small to share."""
    if mdp.num_states <= _PART or num_threads() == 1:
        yield None
        return
    with ThreadPoolExecutor(num_threads()) as pool:
        yield pool
