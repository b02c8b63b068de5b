"""A reference policy as plain data: its identity and its file."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.nn.reference import ReferencePolicy

LAYER = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_the_identity_is_that_of_the_numbers_names_and_shapes() -> None:
    policies = [
        ReferencePolicy("network", {"layer 0": LAYER}, "tanh"),
        ReferencePolicy("network", {"layer 0": LAYER}, "relu"),
        ReferencePolicy("network", {"layer 1": LAYER}, "tanh"),
        ReferencePolicy("network", {"layer 0": LAYER.reshape(3, 2)}, "tanh"),
        ReferencePolicy("network", {"layer 0": np.nextafter(LAYER, np.float32(9))}, "tanh"),
        ReferencePolicy("table", {"layer 0": LAYER}, "tanh"),
        ReferencePolicy("uniform"),
    ]
    assert len({str(policy.identity) for policy in policies}) == len(policies)
    copy = ReferencePolicy("network", {"layer 0": LAYER.copy(order="F")}, "tanh")
    assert copy.identity == policies[0].identity


def test_a_policy_comes_back_from_its_file() -> None:
    policy = ReferencePolicy("network", {"layer 0": LAYER, "kind": LAYER[0]}, "tanh")
    data = policy.to_bytes()
    again = ReferencePolicy.from_bytes(data)
    assert again.identity == policy.identity
    assert again.to_bytes() == data
    for damaged in (b"", data[:40], b"x" + data[1:]):
        with pytest.raises(ValueError, match="it holds no policy"):
            ReferencePolicy.from_bytes(damaged)
