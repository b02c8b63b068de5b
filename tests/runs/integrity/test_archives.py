"""Archives of arrays have the bytes of `numpy.savez`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from rlkit.runs.integrity import archives
from rlkit.runs.integrity.archives import archive_of

TYPES = ("?", "i1", "u1", "<i8", ">i4", "f2", "<f4", "<f8", ">f8", "c16", "<U3", "S2")


def by_numpy(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@given(
    st.dictionaries(
        st.text("ab/_.é水 ", min_size=1, max_size=9).filter(lambda name: name != "file"),
        st.sampled_from(TYPES).flatmap(
            lambda kind: arrays_of.arrays(
                kind, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
            )
        ),
        max_size=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_the_bytes_are_those_of_numpy(arrays: dict[str, Any]) -> None:
    assert archive_of(arrays) == by_numpy(arrays)


def test_arrays_that_are_not_in_the_order_of_c_have_the_bytes_of_numpy() -> None:
    matrix = np.arange(12.0).reshape(3, 4)
    arrays = {"columns": np.asfortranarray(matrix), "some": matrix[:, ::2], "turned": matrix.T}
    arrays["mixed"] = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    assert archive_of(arrays) == by_numpy(arrays)


def test_a_large_array_has_the_bytes_of_numpy() -> None:
    arrays = {"large": np.arange(3_000_000), "none": np.zeros((0, 5))}
    assert archive_of(arrays) == by_numpy(arrays)


def test_numpy_writes_what_needs_wider_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"a": np.arange(10), "b": np.arange(3)}
    monkeypatch.setattr(archives, "_LARGE", 40)
    assert archive_of(arrays) == by_numpy(arrays)


def test_objects_are_rejected() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        archive_of({"a": np.array([object()])})
