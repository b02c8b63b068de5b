"""Requests and results agree: steps, seeds, comparisons and their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitWarning, UsageError
from rlkit.runs.execution import Interrupted
from rlkit.runs.record import write_record
from rlkit.runs.reports import Reports

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")

LEARN: dict[str, Any] = {"evaluate_every": 500, "epsilon_steps": 1500}


def learn(out: Path, **options: Any) -> rlkit.Run:
    return rlkit.train("q-learning", "FrozenLake-v1", out=out, **(LEARN | options))


@pytest.mark.slow
def test_a_longer_run_gives_its_rows_and_scores_at_what_was_asked(tmp_path: Path) -> None:
    fresh = learn(tmp_path / "fresh", seeds=3, steps=1000)
    longer = learn(tmp_path / "longer", seeds=3, steps=2000)
    with pytest.warns(RlkitWarning, match="already has 2,000"):
        shorter = learn(tmp_path / "longer", seeds=3, steps=1000)
    assert shorter.folder == longer.folder
    np.testing.assert_array_equal(shorter.steps, fresh.steps)
    np.testing.assert_array_equal(shorter.curve, fresh.curve)
    np.testing.assert_array_equal(shorter.scores, fresh.scores)
    assert shorter.num_env_steps == 1000
    assert longer.num_env_steps == 2000


@pytest.mark.slow
def test_a_seed_added_at_fewer_steps_has_its_score_there(tmp_path: Path) -> None:
    fresh = learn(tmp_path / "fresh", seeds=3, steps=1000)
    learn(tmp_path / "run", seeds=2, steps=2000)
    shorter = learn(tmp_path / "run", seeds=3, steps=1000)
    np.testing.assert_array_equal(shorter.scores, fresh.scores)
    whole = rlkit.load(shorter.folder)
    assert list(np.isfinite(whole.scores)) == [True, True, False]


@pytest.mark.slow
def test_without_a_row_at_the_very_step_all_scores_are_of_the_row_before(tmp_path: Path) -> None:
    fresh = learn(tmp_path / "fresh", seeds=3, steps=1000)
    learn(tmp_path, seeds=2, steps=2000)
    with pytest.warns(RlkitWarning, match=r"no row is at 1,200 .* those at 1,000"):
        shorter = learn(tmp_path, seeds=3, steps=1200)
    assert list(shorter.score_steps) == [1000, 1000, 1000]
    np.testing.assert_array_equal(shorter.scores, fresh.scores)


@pytest.mark.slow
def test_the_policy_of_a_longer_run_is_not_passed_off_as_that_of_the_shorter(
    tmp_path: Path,
) -> None:
    learn(tmp_path, seeds=1, steps=2000)
    shorter = learn(tmp_path, seeds=1, steps=1000)
    with pytest.warns(RlkitWarning, match="only its policy at 2,000"):
        shorter.evaluate(10)


def stopped_run(out: Path) -> rlkit.Run:
    """A run that was stopped before its end."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 300

    with pytest.raises(Interrupted):
        learn(out, seeds=2, steps=1000, compiled=False, reports=Reports(stop=stop))
    (folder,) = out.iterdir()
    return rlkit.load(folder)


def test_an_unfinished_run_is_not_compared_and_evaluated_with_a_word(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "stopped")
    done = rlkit.train(
        "random", "FrozenLake-v1", seeds=2, steps=1000, evaluate_every=500, out=tmp_path / "done"
    )
    with pytest.raises(UsageError, match=r"is not finished \(seed 0: \d+"):
        rlkit.compare([run, done], out=tmp_path / "compared")
    with pytest.warns(RlkitWarning, match="was not trained to its 1,000"):
        run.evaluate(5)


def test_drawing_an_unfinished_run_runs_no_code_that_its_folder_names(tmp_path: Path) -> None:
    run = stopped_run(tmp_path)
    file = tmp_path / "evil.py"
    file.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    record = json.loads((run.folder / "run.json").read_text())
    record["environment"] = f"{file}:Env"
    write_record(run.folder, record)
    loaded = rlkit.load(run.folder)
    loaded.plot(tmp_path / "curve.png")
    assert loaded.optimum is None
    assert not (tmp_path / "executed").exists()


def test_a_threshold_that_is_no_finite_number_is_no_line(tmp_path: Path) -> None:
    gym.register(
        "Endless-v0", "gymnasium.envs.classic_control:CartPoleEnv", reward_threshold=float("inf")
    )
    try:
        run = rlkit.train("random", "Endless-v0", seeds=1, steps=20, out=tmp_path)
        assert rlkit.load(run.folder).references == []
    finally:
        del gym.registry["Endless-v0"]
