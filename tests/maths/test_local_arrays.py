"""Local copies hold what was copied, and change nothing outside before `store`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from rlkit.maths.compiled import compose, part
from rlkit.maths.local_arrays import GIVEN_ARRAYS, flat, local_copies


class Inner(NamedTuple):
    flags: Any  # [2]
    words: Any  # [3], uint64


class Outer(NamedTuple):
    numbers: Any  # [2, 3]
    inner: Inner
    counts: Any  # [1]


def outer() -> Outer:
    inner = Inner(np.array([True, False]), np.array([0, 7, 2**64 - 1], dtype=np.uint64))
    return Outer(np.arange(6.0).reshape(2, 3), inner, np.array([-5]))


@part
def change(own: Any) -> None:
    for i in range(own.numbers.shape[0]):
        for j in range(own.numbers.shape[1]):
            own.numbers[i, j] += 10 * i
    own.inner.flags[1] = own.inner.flags[0]
    own.inner.words[0] = own.inner.words[2]
    own.counts[0] -= 1


def _stub(*arguments: Any) -> Any:
    raise NotImplementedError


alter = load = store = _stub


def text(outside: Any, seen: Any, keep: bool) -> float:
    """Change copies; write what they hold to `seen`, and back where `keep` is true."""
    own = load(outside)
    alter(own)
    total = 0.0
    line = flat(own.numbers)
    for i in range(line.shape[0]):
        total += line[i] * 10.0**i
    seen[0] = own.counts[0]
    if keep:
        store(own, outside)
    return total


COPIES = {"local": local_copies(outer()), "given": GIVEN_ARRAYS}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("keep", [True, False])
def test_copies_are_written_back_by_store_alone(name: str, keep: bool) -> None:
    loads = dict(zip(("load", "store"), COPIES[name], strict=True))
    composed = compose(text, alter=change, **loads)
    outside, seen = outer(), np.zeros(1, dtype=np.int64)
    total = composed(outside, seen, keep)
    assert total == 0 + 10 + 200 + 13_000 + 140_000 + 1_500_000
    assert seen[0] == -6
    changed = keep or name == "given"
    expected = outer()
    if changed:
        expected = Outer(
            np.array([[0.0, 1.0, 2.0], [13.0, 14.0, 15.0]]),
            Inner(np.array([True, True]), np.array([2**64 - 1, 7, 2**64 - 1], dtype=np.uint64)),
            np.array([-6]),
        )
    assert outside.numbers.tolist() == expected.numbers.tolist()
    assert outside.inner.flags.tolist() == expected.inner.flags.tolist()
    assert outside.inner.words.tolist() == expected.inner.words.tolist()
    assert outside.counts.tolist() == expected.counts.tolist()


def test_loops_with_copies_of_other_shapes_have_other_names() -> None:
    names = {
        compose(text, alter=change, load=load, store=store).__name__
        for load, store in (COPIES["local"], local_copies((np.zeros(3),)), GIVEN_ARRAYS)
    }
    assert len(names) == 3
