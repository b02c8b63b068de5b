"""What users and environments set, agents do not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.determinism import apart, own_settings
from tests.settings import SETTINGS, restored, snapshot

KEPT = ["float64", "no-grad", "device", "threads", "deterministic", "autocast", "flush-denormal"]


@pytest.fixture
def user() -> Iterator[Any]:
    """What the user has set."""
    with restored():
        SETTINGS["float64"]()
        SETTINGS["precision"]()
        np.seterr(all="raise")
        yield snapshot()


@pytest.mark.parametrize("name", [*KEPT, "precision", "errstate"])
def test_what_an_environment_sets_is_its_own_and_is_there_again(name: str, user: Any) -> None:
    with own_settings():
        ours = snapshot()
        apart(SETTINGS[name])
        assert snapshot() == ours
        theirs = apart(snapshot)
        assert theirs != ours
        assert snapshot() == ours
        assert apart(snapshot) == theirs
        with own_settings():  # of an environment that uses rlkit, or of the next run
            assert apart(snapshot) == ours
        assert apart(snapshot) == theirs
    assert snapshot() == user


@pytest.mark.parametrize("name", ["no_grad", "inference_mode", "device"])
def test_an_agent_is_in_no_context_that_an_environment_yields_within(name: str, user: Any) -> None:
    def steps() -> Iterator[Any]:
        while True:
            with torch.device("meta") if name == "device" else getattr(torch, name)():
                yield snapshot()

    env = steps()
    with own_settings():
        ours = snapshot()
        for _ in range(3):
            assert apart(next, env) != ours
            assert snapshot() == ours
        apart(env.close)
        assert apart(snapshot) == ours
    assert snapshot() == user


@pytest.mark.parametrize("name", ["inference_mode", "no_grad"])
def test_the_user_is_again_in_the_context_that_the_run_was_called_in(name: str) -> None:
    with getattr(torch, name)(), torch.device("meta"):
        before = snapshot()
        with own_settings():
            assert torch.ones(2, requires_grad=True).sum().requires_grad
            apart(torch.set_grad_enabled, True)
        assert snapshot() == before
    assert torch.is_grad_enabled()


def test_what_underflows_is_0_for_an_agent_whatever_the_user_wants_raised(user: Any) -> None:
    with own_settings():
        assert np.exp(np.array([-1e3])) == 0
    with pytest.raises(FloatingPointError):
        np.exp(np.array([-1e3]))


def test_outside_of_a_run_the_call_of_an_environment_is_an_ordinary_one(user: Any) -> None:
    assert apart(snapshot) == user
