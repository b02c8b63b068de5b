"""A run that is trained again has equal bytes, the same distribution, or another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit import rlhf
from rlkit.cli import main
from rlkit.errors import UsageError
from rlkit.runs.record import read_record, write_record
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run
from rlkit.upkeep.reproducing import Reproduction
from tests.rlhf.stages.small_runs import MODEL
from tests.upkeep.test_resuming import interrupt


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


MOODY = """
import os
import gymnasium as gym

class Moody(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        mood = os.stat(os.path.join(os.path.dirname(__file__), "mood")).st_size
        better = mood if mood > 1 else 1e-9 * mood
        return 0, self.np_random.normal() + better, False, self.steps == 10, {}
"""


@pytest.fixture
def moody(tmp_path: Path) -> Callable[..., Path]:
    """Train in an environment whose rewards depend on the size of the file `mood`."""
    (tmp_path / "moody.py").write_text(MOODY)
    (tmp_path / "mood").write_text("")

    def train(seeds: int) -> Path:
        options: dict[str, Any] = {"steps": 60, "evaluate_every": 20, "evaluation_episodes": 0}
        place = f"{tmp_path / 'moody.py'}:Moody"
        return rlkit.train("random", place, seeds=seeds, out=tmp_path / "runs", **options).folder

    return train


def again(folder: Path, **options: Any) -> Reproduction:
    return rlkit.reproduce(folder, reports=Reports(), **options)


def test_a_run_has_equal_bytes_wherever_it_is_trained(
    trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained_folder("q-learning", seeds=2)
    result = again(folder)
    assert (result.verdict, result.repetition, result.changed) == ("equal bytes", None, {})
    assert [each.seed for each in result.seeds] == [0, 1]
    kept = again(folder, seeds=1, out=tmp_path / "again")
    assert kept.repetition is not None
    assert kept.repetition.is_dir()
    assert len(kept.seeds) == 1
    assert main(["reproduce", str(folder), "--json"]) == 0


def test_another_distribution_is_noticed(
    moody: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = moody(6)
    assert again(folder).verdict == "equal bytes"
    (tmp_path / "mood").write_text("12345")
    result = again(folder)
    assert result.verdict == "different"
    assert result.p_value is not None
    assert result.p_value < 0.05
    assert [each.differs_at for each in result.seeds] == [20] * 6
    assert main(["reproduce", str(folder)]) == 1
    text = capsys.readouterr().out
    assert "different in distribution (permutation test, p = 0.0022, 6 seeds)" in text
    assert "seed 5 differs from environment step 20 on" in text
    assert "versions and processor are those that the run recorded" in text


def test_other_bytes_may_have_the_same_distribution_or_be_too_few_to_tell(
    moody: Callable[..., Path], tmp_path: Path
) -> None:
    folder = moody(6)
    (tmp_path / "mood").write_text("1")
    result = again(folder)
    assert result.verdict == "same in distribution"
    assert result.reproduced
    few = again(folder, seeds=2)
    assert few.verdict == "undecided"
    assert not few.reproduced
    assert "too few to tell" in str(few)


def test_what_else_differs_is_listed(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("random", seeds=1)
    record = read_record(folder, AGENT_RUN)
    versions = {**record["versions"], "numpy": "1.0"}
    write_record(folder, {**record, "versions": versions})
    result = again(folder)
    assert result.verdict == "equal bytes"
    assert result.changed["numpy"][0] == "1.0"


def test_a_stage_of_rlhf_is_reproduced(tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_demonstrations": 16, "num_epochs": 1, "out": tmp_path / "runs"}
    run = rlhf.sft("enumerable", model=MODEL, **options)
    result = again(run.folder)
    assert (result.verdict, result.unit) == ("equal bytes", "update")


def test_what_cannot_be_reproduced_is_rejected(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("random", seeds=2)
    with pytest.raises(UsageError, match="at most the 2 seeds"):
        again(folder, seeds=3)
    with pytest.raises(UsageError, match="is where the run is"):
        again(folder, out=folder.parent)
    interrupt(folder, 0)
    with pytest.raises(UsageError, match="seed 1 is the first that is complete"):
        again(folder, seeds=1)
    interrupt(folder, 1)
    with pytest.raises(UsageError, match=r"no seed of .* is complete; `rlkit resume`"):
        again(folder)
