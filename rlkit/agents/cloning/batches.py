"""Which demonstrations are held out, and which each gradient step learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.seeding import SeedStreams

Array = NDArray[Any]


def held_out_rows(episodes: Array, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which decisions are held out, bool [D]: those of whole episodes that are drawn.

    With one episode none is; otherwise at least one is held out and one trained on.

    Args:
        episodes: the number of the episode of each decision, [D].
        share: of the episodes, in [0, 1); 0 = none.
        rng: draws them.
    """
    numbers = np.unique(episodes)
    count = min(max(1, round(share * len(numbers))), len(numbers) - 1) if share else 0
    return np.isin(episodes, rng.permutation(numbers)[:count])


class Minibatches:
    """Minibatches of each seed: passes over the rows, each in an order of its own.

    Which rows a gradient step sees depends on its number and the seed only, so there is nothing
    to store. Rows that fill no whole minibatch are omitted from their pass.

    Args:
        num_rows: of demonstrations that are trained on.
        size: rows of a minibatch; at most all of them.
        streams: of each seed.
    """

    def __init__(self, num_rows: int, size: int, streams: Sequence[SeedStreams]) -> None:
        self._num_rows, self._streams = num_rows, streams
        self.size = min(size, num_rows)
        self._per_pass = num_rows // self.size
        self._pass = -1

    def of_steps(self, first: int, count: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each seed [S, B] for so many gradient steps, from number `first`."""
        for step in range(first, first + count):
            number, place = divmod(step, self._per_pass)
            if number != self._pass:
                self._pass = number
                self._order = np.stack([self._drawn(stream, number) for stream in self._streams])
            yield self._order[:, place * self.size : (place + 1) * self.size]

    def _drawn(self, stream: SeedStreams, number: int) -> NDArray[np.int64]:
        return stream.generator("minibatch", number).permutation(self._num_rows)
