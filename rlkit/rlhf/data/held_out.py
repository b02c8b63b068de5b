"""Splits examples into those held out and those trained on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.rlhf.data.sequences import Sequences


def split_rows(
    num_examples: int,
    count: int,
    rng: np.random.Generator,
    keys: Sequence[Hashable] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows to hold out and those to train on.

    Duplicates are kept in the same part. Those at the border are trained on, so the number of
    training examples is always the same.

    Args:
        num_examples: number of examples.
        count: how many of them to hold out, 0 to num_examples - 1.
        rng: draws the rows.
        keys: of each example, equal for duplicates; None = there are none.

    Raises:
        UsageError: every example has too many duplicates to be held out.
    """
    order = rng.permutation(num_examples)
    if keys is None or count == 0:
        return order[:count], order[count:]
    numbers: dict[Hashable, int] = {}
    example = np.array([numbers.setdefault(keys[row], len(numbers)) for row in order])
    _, first, copies = np.unique(example, return_index=True, return_counts=True)
    # Duplicates move to the first of them; those of a too frequent example to the end.
    place = (first + num_examples * (copies > count))[example]
    moved = np.argsort(place, kind="stable")
    order, place = order[moved], place[moved]
    held_out = order[:count][place[:count] < place[count]]
    if not len(held_out):
        raise UsageError(
            f"{count} of {num_examples} preferences must be held out, but each occurs more than "
            f"{count} times in the file, and duplicates would be in both splits; remove them"
        )
    return held_out, order[count:]


def row_keys(*parts: Sequences) -> list[tuple[bytes, ...]]:
    """Return for each row of some batches what is equal for duplicates, in any order of parts."""
    tokens = (part.tokens.numpy() for part in parts)
    return [tuple(sorted(row.tobytes() for row in rows)) for rows in zip(*tokens, strict=True)]
