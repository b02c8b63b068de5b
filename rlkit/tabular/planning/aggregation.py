"""The value of a policy by aggregation of states, in many levels.

Sweeps even out the error between neighbours quickly, and its mean over a region slowly: a value
travels one step, or at most one sweep's order, at a time. The means obey a smaller equation of the
same form, with groups of neighbours as states and means of rewards and probabilities, which is
solved by the same method (algebraic multigrid with plain aggregation; Notay 2010).

1. Groups of about four neighbours are made of the model once, again and again, until few are left.
2. One cycle: a sweep there and back, the correction of the groups' means, another sweep.
3. Corrections are combined so that the squared residual is smallest: generalised conjugate
   residuals (Eisenstat, Elman and Schultz 1983), with one cycle as the preconditioner. The groups'
   equation gets one such step at every level, so that its correction has the right size.

The number of cycles hardly depends on the size of the model, and no step makes the squared
residual larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rlkit.maths.compiled import unsigned
from rlkit.tabular.mdp import FloatArray, TabularMDP
from rlkit.tabular.planning import aggregation_kernels as kernels
from rlkit.tabular.planning.sweeps import Chain, in_parts

Array = NDArray[Any]

_PAIRINGS = 3  # of each level: groups of about 2^3 states
_SMALLEST = 100  # states that are solved at once
_WORTHWHILE = 0.7  # groups per state, at most
_MEMORY = 2  # earlier directions that a new one is made orthogonal to


class Groups(NamedTuple):
    """The states of one level in groups, which are the states of the next."""

    group: Array  # of each state
    member: Array  # the states, group after group
    first_member: Array  # of each group in `member`, and the number of states at the end

    @property
    def number(self) -> int:
        return len(self.first_member) - 1


class Level(NamedTuple):
    """The chain of a policy on one level, without rewards."""

    matrix: tuple[Any, ...]  # start, column, weight and discount
    groups: Groups | None  # None on the last
    inverse: FloatArray | None  # on the last


def groups_of(mdp: TabularMDP) -> list[Groups]:
    """Return the groups of each level, by the probabilities of moving under random actions."""
    num_rows = mdp.num_states * mdp.num_actions
    of_state = np.arange(0, num_rows + 1, mdp.num_actions, dtype=np.int32)
    ones = np.ones(num_rows, dtype=np.int8)
    each = sparse.csr_array((ones, np.arange(num_rows, dtype=np.int32), of_state))
    neighbours = each @ mdp.continuation  # sums over the actions, [num_states, num_states]
    neighbours = (neighbours + neighbours.T).tocsr()
    levels: list[Groups] = []
    while neighbours.shape[0] > _SMALLEST:
        whole = np.arange(neighbours.shape[0], dtype=np.uint32)
        coarse = neighbours
        for _ in range(_PAIRINGS):
            coarse.sort_indices()
            group = np.empty(coarse.shape[0], dtype=np.uint32)
            entries = (unsigned(coarse.indptr), unsigned(coarse.indices), coarse.data)
            number = kernels.match(*entries, group)
            shape = (number, coarse.shape[0])
            of_groups = (np.ones(shape[1]), (group.astype(np.int32), np.arange(shape[1])))
            sums = sparse.csr_matrix(of_groups, shape=shape)
            coarse = (sums @ coarse @ sums.T).tocsr()
            whole = group[whole]
        if coarse.shape[0] > _WORTHWHILE * neighbours.shape[0]:
            break
        counts = np.bincount(whole, minlength=number)
        levels.append(
            Groups(
                group=whole,
                member=np.argsort(whole, kind="stable").astype(np.uint32),
                first_member=np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
            )
        )
        neighbours = coarse
    return levels


def improve(
    chain: Chain,
    values: FloatArray,
    groups: Sequence[Groups],
    *,
    reduction: float,
    max_cycles: int,
    pool: ThreadPoolExecutor | None = None,
) -> int:
    """Bring `values` nearer to the value of the policy, in place.

    Args:
        chain: of the policy.
        values: `[num_states]`.
        groups: of the model that the policy belongs to.
        reduction: of the largest residual, at which to stop.
        max_cycles: each takes about ten sweeps of the chain.
        pool: threads that share the work; the result does not depend on them.

    Returns:
        The cycles done.
    """
    *matrix, reward = chain
    residual = np.empty_like(values)
    arguments = (*matrix, reward, values, residual)
    largest = max(in_parts(pool, len(values), kernels.residual_of, *arguments))
    solver = _Solver(_levels(tuple(matrix), groups), pool)
    return solver.descend(0, values, residual, max_cycles, reduction * largest)


def _levels(matrix: tuple[Any, ...], groups: Sequence[Groups]) -> list[Level]:
    levels = []
    for each in groups:
        levels.append(Level(matrix, each, None))
        start, column, weight, discount = matrix
        coarse = (
            np.empty(each.number + 1, dtype=np.uint32),
            np.empty(len(column), dtype=np.uint32),
            np.empty(len(column)),
        )
        place = np.empty(each.number, dtype=np.uint32)
        kernels.coarse_chain(start, column, weight, *each, *coarse, place)
        number = int(coarse[0][-1])
        matrix = (coarse[0], coarse[1][:number].copy(), coarse[2][:number].copy(), discount)
    inverse = _inverse(*matrix) if len(matrix[0]) - 1 <= _SMALLEST else None
    return [*levels, Level(matrix, None, inverse)]


def _inverse(start: Array, column: Array, weight: Array, discount: float) -> FloatArray:
    size = len(start) - 1
    indices = (weight, column.astype(np.int32), start.astype(np.int32))
    dense = sparse.csr_matrix(indices, shape=(size, size)).toarray()
    inverse: FloatArray = np.linalg.inv(np.eye(size) - discount * dense)
    return inverse


class _Solver:
    """Solves x = constant + discount * P x on any level.

    Args:
        levels: from the states to the last groups.
        pool: see `improve`.
    """

    def __init__(self, levels: Sequence[Level], pool: ThreadPoolExecutor | None) -> None:
        self._levels, self._pool = levels, pool

    def descend(
        self, number: int, values: FloatArray, residual: FloatArray, max_cycles: int, goal: float
    ) -> int:
        """Improve `values` by cycles until the largest residual is at most `goal`; count them."""
        matrix = self._levels[number].matrix
        earlier: list[tuple[FloatArray, FloatArray, float]] = []
        for cycle in range(max_cycles):
            direction = self.cycle(number, residual)
            image = np.empty_like(direction)
            sums = self._sums(kernels.multiply, *matrix, direction, residual, image)
            for other_direction, other_image, other_square in earlier:
                size = sum(self._parts(kernels.dot, image, other_image))
                others = (size / other_square, other_direction, other_image)
                sums = self._sums(kernels.subtract, direction, image, *others, residual)
            product, square = sums
            if not 0.0 < square < np.inf:  # squares of very large rewards are infinite
                return cycle
            earlier = [*earlier, (direction, image, square)][-_MEMORY:]
            arguments = (values, residual, direction, image, product / square)
            if max(self._parts(kernels.advance, *arguments)) <= goal:
                return cycle + 1
        return max_cycles

    def cycle(self, number: int, constant: FloatArray) -> FloatArray:
        """Return an approximate solution on a level."""
        matrix, groups, inverse = self._levels[number]
        if inverse is not None:
            solution: FloatArray = inverse @ constant
            return solution
        values = np.empty_like(constant)
        self._parts(kernels.smooth, *matrix, constant, values)
        if groups is None:
            return values
        residual, change = np.empty_like(constant), np.empty_like(constant)
        self._parts(kernels.residual_of, *matrix, constant, values, residual)
        coarse_residual, coarse = np.empty(groups.number), np.zeros(groups.number)
        kernels.restrict(residual, groups.member, groups.first_member, coarse_residual)
        self.descend(number + 1, coarse, coarse_residual, 1, 0.0)
        self._parts(kernels.prolong, values, groups.group, coarse)
        self._parts(kernels.residual_of, *matrix, constant, values, residual)
        self._parts(kernels.smooth, *matrix, residual, change)
        self._parts(kernels.add, values, change)
        return values

    def _parts(self, function: Any, first: Any, *arguments: Any) -> list[Any]:
        size = len(first) - 1 if first.dtype == np.uint32 else len(first)
        return in_parts(self._pool, size, function, first, *arguments)

    def _sums(self, function: Any, *arguments: Any) -> tuple[float, ...]:
        """Return the sums over all parts of what a kernel returns."""
        return tuple(map(sum, zip(*self._parts(function, *arguments), strict=True)))
