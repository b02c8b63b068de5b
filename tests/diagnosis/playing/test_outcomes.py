"""Comparing what environments returned."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.diagnosis.playing.outcomes import Outcome, difference, frozen, same_bytes


class Thing:
    """Its repr has an address."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        ({"a": 1, "b": (np.ones(2), 3)}, {"b": (np.ones(2), 3), "a": 1}),
        (Thing(), Thing()),
        (np.array([None, 1], dtype=object), np.array([None, 1], dtype=object)),
        (None, None),
    ],
)
def test_equal_values_have_equal_bytes(one: object, other: object) -> None:
    assert frozen(one) == frozen(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1.0]), np.array([1.0 + 1e-15])),
        (np.array([1.0]), np.array([1.0], np.float32)),
        (np.zeros((1, 2)), np.zeros((2, 1))),
        (0.0, -0.0),
        ({"a": 1}, {"b": 1}),
        ((1, 2), (1, 2, 3)),
        ("a", b"a"),
        (True, 1),
    ],
)
def test_other_values_have_other_bytes(one: object, other: object) -> None:
    assert frozen(one) != frozen(other)


def test_the_first_difference_is_named() -> None:
    first = [Outcome(np.zeros(2)), Outcome(np.ones(2), 1.0), Outcome(np.ones(2), 2.0, True)]
    assert difference(first, first) is None
    assert difference(first, first[:1]) is None  # as far as both go
    again = [*first[:1], Outcome(np.ones(2), 1.5), Outcome(np.zeros(2))]
    where = difference(first, again)
    assert where is not None
    assert (where.step, where.text) == (1, "the reward at step 1 was 1.5 and not 1.0")
    where = difference(first, [Outcome(np.ones(2))])
    assert where is not None
    assert where.text == "the first observation was [1. 1.] and not [0. 0.]"
    assert same_bytes(first) == same_bytes(list(first)) != same_bytes(again)
