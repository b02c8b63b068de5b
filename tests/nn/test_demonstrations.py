"""Demonstrations as arrays: what identifies them, and the file that holds them."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.nn.demonstrations import Demonstrations


def made(**changes: object) -> Demonstrations:
    parts = {
        "observations": np.arange(6, dtype=np.float32).reshape(3, 2),
        "actions": np.array([0, 1, 0]),
        "episodes": np.array([0, 0, 4]),
        "expert_return": 2.5,
    }
    return Demonstrations(**{**parts, **changes})  # type: ignore[arg-type]


def test_the_file_holds_what_was_written_and_equal_arrays_have_equal_bytes() -> None:
    one = made()
    back = Demonstrations.from_bytes(one.to_bytes())
    assert back.identity == one.identity
    assert back.expert_return == 2.5
    np.testing.assert_array_equal(back.observations, one.observations)
    assert made().to_bytes() == one.to_bytes()
    assert one.num_episodes == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": np.array([0, 1, 1])},
        {"episodes": np.array([0, 1, 4])},
        {"observations": np.zeros((3, 2), dtype=np.float32)},
        {"observations": np.arange(6, dtype=np.float64).reshape(3, 2)},
        {"expert_return": float("nan")},
    ],
)
def test_other_content_has_another_identity(changes: dict[str, object]) -> None:
    assert made(**changes).identity != made().identity


def test_arrays_of_unequal_length_and_files_of_something_else_are_rejected() -> None:
    with pytest.raises(ValueError, match="3, 2 and 3"):
        made(actions=np.zeros(2))
    with pytest.raises(ValueError, match="at least one"):
        made(observations=np.zeros((0, 2)), actions=np.zeros(0), episodes=np.zeros(0))
    for data in (b"", b"PK\x03\x04", b"x" * 100):
        with pytest.raises(ValueError, match="no demonstrations"):
            Demonstrations.from_bytes(data)
