"""Requests and results agree: steps, seeds, comparisons and their places."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitWarning, UsageError
from rlkit.runs.execution import Interrupted
from rlkit.runs.reports import Reports

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")

LEARN: dict[str, Any] = {"evaluate_every": 500, "epsilon_steps": 1500}


def learn(out: Path, **options: Any) -> rlkit.Run:
    return rlkit.train("q-learning", "FrozenLake-v1", out=out, **(LEARN | options))


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


def test_a_seed_added_at_fewer_steps_has_its_score_there(tmp_path: Path) -> None:
    fresh = learn(tmp_path / "fresh", seeds=3, steps=1000)
    learn(tmp_path / "run", seeds=2, steps=2000)
    shorter = learn(tmp_path / "run", seeds=3, steps=1000)
    np.testing.assert_array_equal(shorter.scores, fresh.scores)
    whole = rlkit.load(shorter.folder)
    assert list(np.isfinite(whole.scores)) == [True, True, False]


def test_without_a_row_at_the_very_step_all_scores_are_of_the_row_before(tmp_path: Path) -> None:
    fresh = learn(tmp_path / "fresh", seeds=3, steps=1000)
    learn(tmp_path, seeds=2, steps=2000)
    with pytest.warns(RlkitWarning, match=r"no row is at 1,200 .* those at 1,000"):
        shorter = learn(tmp_path, seeds=3, steps=1200)
    assert list(shorter.score_steps) == [1000, 1000, 1000]
    np.testing.assert_array_equal(shorter.scores, fresh.scores)


def test_the_policy_of_a_longer_run_is_not_passed_off_as_that_of_the_shorter(
    tmp_path: Path,
) -> None:
    learn(tmp_path, seeds=1, steps=2000)
    shorter = learn(tmp_path, seeds=1, steps=1000)
    with pytest.warns(RlkitWarning, match="only its policy at 2,000"):
        shorter.evaluate(10)


def compare(agents: Any, out: Path, env: str = "FrozenLake-v1", **options: Any) -> Any:
    defaults = {"seeds": 2, "steps": 1000, "evaluate_every": 500}
    return rlkit.compare(agents, env, out=out, **(defaults | options))


def test_a_comparison_is_at_equal_budgets_whatever_was_trained_before(tmp_path: Path) -> None:
    rlkit.train(
        "q-learning", "FrozenLake-v1", seeds=2, steps=3000, evaluate_every=500, out=tmp_path
    )
    compared = compare(["q-learning", "random"], tmp_path)
    fresh = compare(["q-learning", "random"], tmp_path / "fresh")
    for name in ("q-learning", "random"):
        np.testing.assert_array_equal(compared.scores[name], fresh.scores[name])
        assert compared.summary()["agents"][name]["env_steps"] == 1000


def test_a_comparison_without_a_row_at_the_budget_is_rejected_first(tmp_path: Path) -> None:
    rlkit.train(
        "q-learning", "FrozenLake-v1", seeds=2, steps=3000, evaluate_every=500, out=tmp_path
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"at 1,000\. Compare at a multiple of 500"):
        compare(["random", "q-learning"], tmp_path, steps=1200)
    assert sorted(tmp_path.iterdir()) == before


def test_presets_of_different_lengths_are_brought_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.training.presets import PRESETS

    monkeypatch.setitem(PRESETS, ("q-learning", "FrozenLake-v1"), {"steps": 600})
    monkeypatch.setitem(PRESETS, ("random", "FrozenLake-v1"), {"steps": 200})
    compared = compare(["random", "q-learning"], tmp_path, steps=None)
    assert {run.num_env_steps for run in compared.runs.values()} == {600}


def test_bad_requests_are_rejected_before_anything_trains(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="q-learning"):
        compare(["random", "ppo", "q-learning"], tmp_path, env="CartPole-v1")
    with pytest.raises(UsageError, match="unknown agent"):
        compare(["random", "qq"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_comparison_never_overwrites_another(tmp_path: Path) -> None:
    lake = compare(["random"], tmp_path)
    cliff = compare(["random"], tmp_path, env="CliffWalking-v1", steps=500)
    shorter = compare(["random"], tmp_path, steps=500)
    both = compare(["random", "value-iteration"], tmp_path)
    folders = [one.folder for one in (lake, cliff, shorter, both)]
    assert folders[0] == tmp_path
    assert len(set(folders)) == 4
    for one in (lake, cliff, shorter, both):
        summary = json.loads((one.folder / "summary.json").read_text())
        assert summary["comparison"] == one.key
        assert list(summary["agents"]) == list(one.runs)
    again = compare(["random"], tmp_path, seeds=3)  # more seeds of the same comparison
    assert again.folder == tmp_path
    assert (
        len(json.loads((tmp_path / "summary.json").read_text())["agents"]["random"]["final"]) == 3
    )


def test_finished_runs_are_compared_without_training(tmp_path: Path) -> None:
    runs = [
        rlkit.train(name, "FrozenLake-v1", seeds=2, steps=1000, evaluate_every=500, out=tmp_path)
        for name in ("q-learning", "random")
    ]
    compared = rlkit.compare([runs[0], runs[1].folder], out=tmp_path / "compared")
    assert list(compared.runs) == ["q-learning", "random"]
    assert compared.optimum == pytest.approx(0.74419029, abs=1e-8)
    np.testing.assert_array_equal(compared.scores["random"], runs[1].scores)
    with pytest.raises(UsageError, match="name the environment"):
        rlkit.compare([runs[0], "random"], out=tmp_path)


def test_runs_that_cannot_be_compared_are_rejected(tmp_path: Path) -> None:
    runs = [
        rlkit.train("random", env, seeds=2, steps=steps, evaluate_every=500, out=tmp_path)
        for env, steps in (
            ("FrozenLake-v1", 500),
            ("CliffWalking-v1", 500),
        )
    ]
    longer = rlkit.train("q-learning", "FrozenLake-v1", seeds=2, steps=1000, out=tmp_path)
    with pytest.raises(UsageError, match="different environments"):
        rlkit.compare(runs, out=tmp_path)
    with pytest.raises(UsageError, match="different budgets"):
        rlkit.compare([runs[0], longer], out=tmp_path)
    with pytest.raises(UsageError, match="has only 500"):
        rlkit.compare([runs[0], longer], steps=1000, out=tmp_path)


def stopped_run(out: Path) -> rlkit.Run:
    """A run that was stopped before its end."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 300

    with pytest.raises(Interrupted):
        learn(out, seeds=2, steps=1000, reports=Reports(stop=stop))
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
    (run.folder / "run.json").write_text(json.dumps(record))
    loaded = rlkit.load(run.folder)
    loaded.plot(tmp_path / "curve.png")
    assert loaded.optimum is None
    assert not (tmp_path / "executed").exists()


def test_evaluated_policies_are_not_compared_with_returns_of_training(tmp_path: Path) -> None:
    runs = [
        rlkit.train(
            "random", "CartPole-v1", seeds=2, steps=200, evaluation_episodes=n, out=tmp_path
        )
        for n in (0, 2)
    ]
    with pytest.raises(UsageError, match="evaluation_episodes=0"):
        rlkit.compare(runs, out=tmp_path / "compared")


def test_fewer_seeds_do_not_overwrite_the_comparison_of_more(tmp_path: Path) -> None:
    more = compare(["random"], tmp_path, seeds=3)
    fewer = compare(["random"], tmp_path, seeds=2)
    assert more.folder == tmp_path != fewer.folder
    final = json.loads((tmp_path / "summary.json").read_text())["agents"]["random"]["final"]
    assert len(final) == 3


def test_a_comparison_stays_where_it_was_requested_when_an_environment_moves_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def make() -> Any:
        os.chdir(tmp_path / "elsewhere")
        return gym.make("CartPole-v1")

    compared = rlkit.compare(["random"], make, seeds=2, steps=20, evaluation_episodes=1, out="here")
    assert compared.folder == tmp_path / "here"
    assert (tmp_path / "here" / "summary.json").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_threshold_that_is_no_finite_number_is_no_line(tmp_path: Path) -> None:
    gym.register(
        "Endless-v0", "gymnasium.envs.classic_control:CartPoleEnv", reward_threshold=float("inf")
    )
    try:
        run = rlkit.train("random", "Endless-v0", seeds=1, steps=20, out=tmp_path)
        assert rlkit.load(run.folder).references == []
    finally:
        del gym.registry["Endless-v0"]
