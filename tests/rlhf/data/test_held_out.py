"""Held-out examples. Those of reward models are tested in tests/rlhf/training too."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.data.held_out import row_keys, split_rows
from rlkit.rlhf.data.sequences import pack


@pytest.mark.parametrize("count", [0, 1, 30])
def test_rows_are_split_at_random_and_none_is_lost(count: int) -> None:
    rng = np.random.default_rng(0)
    held_out, training = split_rows(100, count, rng)
    assert len(held_out) == count
    assert sorted([*held_out, *training]) == list(range(100))
    again = split_rows(100, count, rng)
    assert list(again[1]) != list(training)


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_on_one_side(seed: int) -> None:
    keys = [str(i // 3) for i in range(60)]
    held_out, training = split_rows(60, 10, np.random.default_rng(seed), keys)
    assert len(training) == 50  # the same for every seed
    assert len(held_out) == 9
    assert not {keys[i] for i in held_out} & {keys[i] for i in training}


def test_an_example_that_is_too_frequent_to_be_held_out_is_reported() -> None:
    with pytest.raises(UsageError, match="2 of 8 preferences must be held out"):
        split_rows(8, 2, np.random.default_rng(0), ["a"] * 4 + ["b"] * 4)


def test_keys_are_equal_for_copies_and_for_swapped_pairs() -> None:
    left = pack([[1], [1], [2]], [[3], [4], [3]], pad=0)
    right = pack([[1], [1], [2]], [[4], [3], [3]], pad=0)
    keys = row_keys(left, right)
    assert keys[0] == keys[1] != keys[2]
    assert len(set(row_keys(left))) == 3
