"""Errors that are raised before anything is trained or written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.training import prepare
from rlkit.training.run import Run
from rlkit.training.specification import RunSpec
from rlkit.training.train import train
from rlkit_envs.masked_corridor import MaskedCorridor


def test_an_agent_that_cannot_use_the_environment_is_rejected_before_anything_is_written(
    small: Callable[..., Run], out: Any
) -> None:
    with pytest.raises(UsageError, match="discrete"):
        small("q-learning", environment="MountainCar-v0", seeds=1)
    assert not out.exists()


def test_an_environment_that_cannot_be_built_is_rejected_before_anything_is_written(
    small: Callable[..., Run], out: Any
) -> None:
    with pytest.raises(RlkitError, match=r"building the environment .*colour='red'"):
        small("q-learning", env_args={"colour": "red"}, seeds=1)
    assert not out.exists()


@pytest.mark.trap("T65", "F12")
def test_other_versions_are_rejected_with_a_list_and_allowed_on_request(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, results: Any
) -> None:
    before = results(small("q-learning", seeds=2, steps=300).folder)
    now = {**prepare.versions(), "torch": "0.1"}
    monkeypatch.setattr(prepare, "versions", lambda: now)
    with pytest.raises(UsageError, match=r"other versions \(torch \S+ -> 0\.1\)"):
        small("q-learning", seeds=2)
    run = small("q-learning", seeds=2, steps=300)  # nothing is left to be done with them
    assert run.record["reproducible"] is True
    assert results(run.folder) == before
    run = small("q-learning", seeds=2, allow_drift=True)
    assert run.record["reproducible"] is False
    assert any("0.1" in note for note in run.record["notes"])
    assert run.status == "finished"


@pytest.mark.trap("T65", "F12")
def test_a_run_that_other_instructions_continue_is_marked(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small("random", seeds=1, steps=100)
    assert first.record["arithmetic"]["MKL_CBWR"] == os.environ["MKL_CBWR"]
    assert small("random", seeds=1, steps=200).record["reproducible"]
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert small("random", seeds=1, steps=200).record["reproducible"]  # nothing was left to do
    with pytest.warns(RlkitWarning, match="continued with other arithmetic"):
        run = small("random", seeds=1)
    assert run.record["reproducible"] is False
    assert any("'ATEN_CPU_CAPABILITY': 'default'" in note for note in run.record["notes"])


@pytest.mark.parametrize("agent", ["psrl", "lspi", "thompson", "ucb", "value-iteration"])
def test_agents_without_masks_name_those_that_take_them(agent: str, out: Any) -> None:
    able = "q-learning, sarsa, expected-sarsa, double-q-learning, n-step-sarsa, monte-carlo, dyna-q"
    able += ", reinforce, ppo, preference-ppo, behaviour-cloning, random"
    text = f"{agent} takes none; of the agents of rlkit {able} do"
    with pytest.raises(UsageError, match=text):
        train(agent, MaskedCorridor, seeds=1, steps=10, action_masks=True, out=out)
    assert not out.exists()


@pytest.mark.trap("F70")
@pytest.mark.parametrize(
    ("agent", "options"),
    [
        ("n-step-sarsa", {"return_steps": 10**12}),
        ("dyna-q", {"planning_steps": 10**9}),
        ("dyna-q", {"model_memory": 10**10}),
    ],
)
def test_stored_steps_beyond_memory_are_rejected_before_they_are_allocated(
    small: Callable[..., Run], out: Any, agent: str, options: dict[str, int]
) -> None:
    with pytest.raises(UsageError, match=r"GB of memory for 2 seeds, and .* are available"):
        small(agent, seeds=2, **options)
    assert not out.exists()


def test_an_agent_whose_arrays_cannot_be_allocated_is_rejected(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> None:
        raise MemoryError("Unable to allocate 298 GiB")

    monkeypatch.setattr(RunSpec, "build_agent", too_large)
    with pytest.raises(UsageError, match=r"arrays do not fit into memory \(Unable to allocate"):
        small("random", seeds=1)
