"""The state of each seed at its best evaluation so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import State
from rlkit.runs import checkpoints
from rlkit.runs.integrity.sums import Extent, LineSums

Array = NDArray[Any]


class BestStates:
    """The states of some seeds at their best evaluations, the earliest where several are equal.

    They are held in memory, and written before the next checkpoint: a seed that is continued from
    a checkpoint evaluates again what came after it.

    Args:
        folder: of the run.
        seeds: that are trained together.
    """

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        self._folder, self._seeds = folder, seeds
        self._values = np.full(len(seeds), -np.inf)
        self._unwritten: dict[int, tuple[int, dict[str, Array], Extent]] = {}

    def take_up(self, s: int, num_steps: int, evaluations: Array) -> None:
        """Continue one seed at a step, with the evaluations of its rows so far."""
        checkpoints.forget_best(self._folder, self._seeds[s], num_steps)
        known = evaluations[np.isfinite(evaluations)]
        self._values[s] = known.max(initial=-np.inf)

    def add(
        self,
        num_steps: int,
        evaluations: Array,
        state: Callable[[], State],
        rows: Sequence[LineSums],
    ) -> None:
        """Keep the state of each seed whose evaluation is better than all before.

        Args:
            num_steps: of each seed.
            evaluations: one of each seed, [S]; NaN is none.
            state: returns the state of all seeds.
            rows: the sums of the csv of each seed, with the row of this evaluation.
        """
        better = np.flatnonzero(evaluations > self._values)
        if not len(better):
            return
        of_all = state()
        for s in map(int, better):
            own = {name: np.array(value[s]) for name, value in of_all.items()}
            self._unwritten[s] = num_steps, own, rows[s].extent
            self._values[s] = evaluations[s]

    def take(self) -> Callable[[int, LineSums], None]:
        """Return a function (seed's position, sums of its csv) that writes what is not yet written.

        It holds that from now on, because training goes on while the disk is waited for.
        """
        taken, self._unwritten = self._unwritten, {}

        def write(s: int, lines: LineSums) -> None:
            if s in taken:
                num_steps, state, rows = taken[s]
                checkpoints.save_best(
                    self._folder, self._seeds[s], num_steps, state, lines=lines, rows=rows
                )

        return write


def best_state(folder: Path, seed: int) -> tuple[int, Mapping[str, Array]]:
    """Return the steps and the state of a seed's best evaluation.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    known = checkpoints.list_best(folder, seed)
    if not known:
        raise ValueError(checkpoints.best_problem(folder, seed) or "there is none")
    steps, path = known[0]
    return steps, checkpoints.own_checkpoint(folder, seed, path)
