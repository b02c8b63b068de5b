"""Runs of a user's own agents are opened by the name that they store, or with the class given."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.agents.tabular.q_learning import QLearning
from rlkit.errors import RlkitWarning, UsageError
from tests import steady_agent

SMALL: dict[str, Any] = {"seeds": 2, "steps": 60, "evaluate_every": 30, "first": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The agent in a file of its own."""
    return Path(shutil.copy(steady_agent.__file__, tmp_path / "mine.py"))


@pytest.fixture
def run(file: Path, tmp_path: Path) -> rlkit.Run:
    """A run of the agent in the file."""
    return rlkit.train(f"{file}:Steady", "FrozenLake-v1", out=tmp_path / "runs", **SMALL)


def test_a_run_of_a_file_is_opened_by_its_name_with_its_options(run: rlkit.Run) -> None:
    opened = rlkit.load(run.folder)
    assert opened.actor(1).act(0) == 2
    assert opened.agent_state(0)["first"] == np.array([2])
    assert opened.spec.config == run.spec.config
    assert opened.evaluate(3)["mean"] == run.evaluate(3)["mean"]


def test_where_the_file_is_not_there_the_class_is_asked_for(run: rlkit.Run, file: Path) -> None:
    moved = file.rename(file.with_name("moved.py"))
    with pytest.raises(
        UsageError, match=r"mine\.py:Steady, and there is no such file: bring it back, or give it"
    ):
        rlkit.load(run.folder).actor(0)
    for agent in (steady_agent.Steady, f"{moved}:Steady"):
        assert rlkit.load(run.folder, agent=agent).actor(0).act(0) == 2


def test_another_agent_than_that_of_training_is_noticed(run: rlkit.Run, file: Path) -> None:
    with pytest.warns(RlkitWarning, match="its code is another"):
        rlkit.load(run.folder, agent=Other).actor(0)
    file.write_text(file.read_text().replace("Always(self.config.first)", "Always(3)"))
    with pytest.warns(RlkitWarning, match="changed since the run"):
        opened = rlkit.load(run.folder)
    with pytest.raises(UsageError, match=r"is not the code .*Nothing was run"):
        opened.actor(0)
    with pytest.warns(RlkitWarning) as caught:
        assert rlkit.load(run.folder, trust=True).actor(0).act(0) == 3
    assert "is not the one that the run" in str(caught[-1].message)


class Other(steady_agent.Steady):
    """Acts otherwise."""

    def actor(self, *, greedy: bool = True) -> Any:
        return steady_agent.Always(1)


def test_a_run_from_elsewhere_needs_trust_and_its_name_cannot_be_replaced(
    run: rlkit.Run, tmp_path: Path, file: Path
) -> None:
    from rlkit.runs.record import read_record, write_record
    from rlkit.training.kind import AGENT_RUN

    record = read_record(run.folder, AGENT_RUN)
    evil = Path(shutil.copy(file, tmp_path / "evil.py"))
    with evil.open("a") as source:
        source.write("raise SystemExit('run')")
    write_record(run.folder, {**record, "agent_reference": f"{evil}:Steady"})
    with pytest.raises(UsageError, match="another machine, or its record was changed"):
        rlkit.load(run.folder).actor(0)


def test_a_class_without_a_name_has_to_be_given(tmp_path: Path) -> None:
    class Local(steady_agent.Steady): ...

    run = rlkit.train(Local, "FrozenLake-v1", out=tmp_path, **SMALL)
    with pytest.raises(UsageError, match=r"Local, which is not an agent of rlkit .*give it"):
        rlkit.load(run.folder).actor(0)
    assert rlkit.load(run.folder, agent=Local).actor(0).act(0) == 2
    plain = rlkit.train("random", "FrozenLake-v1", seeds=1, steps=20, out=tmp_path)
    with pytest.raises(UsageError, match="omit agent"):
        rlkit.load(plain.folder, agent=QLearning).actor(0)
