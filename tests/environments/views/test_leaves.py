"""The parts of spaces, in Gymnasium's order."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments.views.leaves import bounds_of, build, identity_of, leaves, map_leaves

D = spaces.Discrete
NESTED = spaces.Dict(
    OrderedDict(  # not in the order of its keys
        z=spaces.Tuple((D(2), spaces.Dict(b=spaces.MultiBinary(2), a=D(3)))),
        a=spaces.Box(-1.0, 1.0, (2,)),
    )
)


def test_leaves_come_in_the_order_of_flattening_with_the_keys_that_lead_to_them() -> None:
    parts = list(leaves(NESTED))
    assert [leaf.name for leaf in parts] == ["['z'][0]", "['z'][1]['b']", "['z'][1]['a']", "['a']"]
    flat = spaces.flatten_space(NESTED)
    joined = [spaces.flatten_space(leaf.space).low for leaf in parts]
    assert np.array_equal(flat.low, np.concatenate(joined))
    assert [leaf.name for leaf in leaves(D(3))] == [""]


@pytest.mark.parametrize(
    ("space", "part"),
    [
        (spaces.Text(3), "the part Text"),
        (spaces.Dict(a=spaces.Tuple((D(2), spaces.Text(3)))), r"Text at \['a'\]\[1\]"),
        (spaces.Tuple((spaces.Graph(D(2), None),)), r"Graph at \[0\]"),
    ],
)
def test_parts_of_other_kinds_are_named_with_their_place(space: spaces.Space, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        list(leaves(space))


def test_mapped_spaces_keep_their_form_and_order() -> None:
    assert map_leaves(NESTED, lambda space: space) == NESTED
    other = map_leaves(NESTED, lambda space: D(5))
    assert [leaf.name for leaf in leaves(other)] == [leaf.name for leaf in leaves(NESTED)]
    assert all(leaf.space == D(5) for leaf in leaves(other))


def test_a_value_is_built_from_those_of_its_leaves_in_their_order() -> None:
    numbers = iter(range(4))
    value = build(NESTED, lambda space: next(numbers))
    assert value == {"z": (0, {"b": 1, "a": 2}), "a": 3}


def test_the_largest_numbers_of_a_type_are_no_bounds() -> None:
    largest = float(np.finfo(np.float32).max)
    low, high = bounds_of(
        spaces.Box(np.array([-largest, 0]), np.array([1, largest]), dtype=np.float64)
    )
    assert low.tolist() == [-np.inf, 0.0]
    assert high.tolist() == [1.0, np.inf]


def test_spaces_of_the_same_text_are_told_apart_by_their_numbers() -> None:
    ends = np.linspace(1.0, 2.0, 2000)
    others = ends + 1e-9 * (np.arange(2000) == 1000)
    boxes = [spaces.Dict(a=spaces.Box(0.0, high, dtype=np.float64)) for high in (ends, others)]
    sizes = np.full(2000, 3)
    many = [spaces.MultiDiscrete(n) for n in (sizes, sizes + (np.arange(2000) == 1000))]
    for one, other in (boxes, many):
        assert str(one) == str(other)
        assert identity_of(one) != identity_of(other)
        assert identity_of(one) == identity_of(one)
