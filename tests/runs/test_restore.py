"""A state that is restored is that of its checkpoint, or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.runs import checkpoints, curves, store
from rlkit.runs.reports import Reports, Stopped
from rlkit.runs.restore import join_states
from rlkit.training.seed_trainer import train_seeds
from rlkit.training.specification import RunSpec
from rlkit.training.tracker import Tracker


def test_states_of_equal_form_are_stacked_and_others_listed() -> None:
    one, two = {"a": np.zeros(2), "b": np.zeros(1)}, {"a": np.ones(2), "b": np.ones(3)}
    joined = join_states([one, two])
    assert isinstance(joined["a"], np.ndarray)
    assert joined["a"].tolist() == [[0, 0], [1, 1]]
    assert [part.tolist() for part in joined["b"]] == [[0], [1, 1, 1]]


@pytest.mark.trap("F66")
def test_a_state_of_other_shapes_or_of_another_agent_is_rejected(
    out: Path, spec_of: Callable[..., RunSpec]
) -> None:
    def resume(spec: RunSpec) -> None:
        train_seeds(spec, spec.resolve(), out, [0], Reports())

    store.prepare_folder(out)
    resume(spec_of("ppo", steps=200))
    csv = curves.curve_path(out, 0).read_bytes()
    for other in (
        spec_of("reinforce"),
        spec_of("ppo", hidden_sizes=(8, 4)),
        spec_of("ppo", rollout_length=7),
        spec_of("ppo", envs=2),
        spec_of("ppo-normalised"),
    ):
        with pytest.raises(Exception, match=r"continuing the agent from .* failed: its state"):
            resume(other)
    assert curves.curve_path(out, 0).read_bytes() == csv
    resume(spec_of("ppo"))


def test_the_shape_of_a_table_is_not_broadcast(out: Path, spec_of: Callable[..., RunSpec]) -> None:
    spec = spec_of("q-learning")
    state = stop_midway(spec, out, 65)
    (steps, path), *_ = checkpoints.list_checkpoints(out, 0)
    path.unlink()
    checkpoints.save_checkpoint(out, 0, steps, {**state, "agent/q": state["agent/q"][:1]})
    checkpoints.adopt(out, 0, "")
    with pytest.raises(Exception, match=r"'q' of shape \(1, 4\), expected \(16, 4\)"):
        train_seeds(spec, spec.resolve(), out, [0], Reports())


def stop_midway(spec: RunSpec, folder: Path, iterations: int) -> dict[str, Any]:
    """Stop a run soon after so many iterations; return the entries of its checkpoint."""
    seen, observe = [0], Tracker.observe

    def counted(self: Tracker, *args: Any) -> None:
        seen[0] += 1
        observe(self, *args)

    store.prepare_folder(folder)
    reports = Reports(stop=lambda: seen[0] >= iterations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "observe", counted)
        with pytest.raises(Stopped):
            train_seeds(spec, spec.resolve(), folder, [0], reports)
    return checkpoints.newest_checkpoint(folder, 0)[1]
