"""A run keeps a copy of what it was trained from, and needs the run that it came from no more."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.errors import RlkitError, RlkitWarning
from rlkit.nn.reference import ReferencePolicy
from rlkit.runs.integrity.verify import verify_run
from rlkit.runs.record import read_record
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.copies import REFERENCE, stored_copy, write_copy
from rlkit.training.prepare import prepare
from rlkit.training.run import Run
from rlkit.training.train import train_prepared


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


def test_a_seeds_bytes_depend_on_neither_batch_nor_interruption(
    trained_folder: Callable[..., Path], small: Callable[..., Run], tmp_path: Path, results: Any
) -> None:
    reference = trained_folder("ppo", seeds=1)
    near = {"reference": reference, "kl_coef": 0.2, "kl_target": 0.01, "reports": Reports()}
    together = small("ppo", seeds=2, out=tmp_path / "a", **near).folder
    small("ppo", seeds=1, steps=400, out=tmp_path / "b", **near)
    shutil.rmtree(reference)  # and the copy in the folder continues the run
    folder = next((tmp_path / "b").iterdir())
    run = Run(folder)
    assert run.reference is not None
    longer = dataclasses.replace(run.spec, num_env_steps=600)  # as `rlkit resume` would
    train_prepared(prepare(longer, 2, folder.parent), 2, reports=Reports())
    assert results(folder) == results(together)
    assert verify_run(folder, AGENT_RUN).problems == ()
    assert verify_run(folder, AGENT_RUN).notes == ()
    assert len(rlkit.load(folder).evaluate(episodes=1)["seeds"]) == 2


def test_a_copy_that_is_gone_or_changed_is_named_and_the_policy_still_plays(
    trained_folder: Callable[..., Path], small: Callable[..., Run], out: Path
) -> None:
    run = small("reinforce", seeds=1, steps=200, reference="uniform", kl_coef=0.2,
                reports=Reports())  # fmt: skip
    record = read_record(run.folder, AGENT_RUN)
    assert record["reference"] == ReferencePolicy("uniform").identity
    assert stored_copy(run.folder, record, "reference") is not None
    assert stored_copy(run.folder, {}, "reference") is None
    other = ReferencePolicy("uniform", activation="relu")
    for data, reason in (
        (None, "No such file"),
        (b"x", "no policy"),
        (other.to_bytes(), "not the"),
    ):
        (run.folder / REFERENCE).unlink(missing_ok=True)
        if data is not None:
            (run.folder / REFERENCE).write_bytes(data)
        with pytest.raises(RlkitError, match=f"{REFERENCE}, cannot be used: .*{reason}"):
            stored_copy(run.folder, record, "reference")
    with pytest.warns(RlkitWarning, match="Restore the file"):
        assert rlkit.load(run.folder).evaluate(episodes=1)["seeds"]
    write_copy(run.folder, "reference", ReferencePolicy("uniform"))
    assert rlkit.load(run.folder).reference is not None
