"""Agents and runs are compared at equal budgets, and no comparison replaces another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")


def compare(agents: Any, out: Path, env: str = "FrozenLake-v1", **options: Any) -> Any:
    defaults = {"seeds": 2, "steps": 1000, "evaluate_every": 500}
    return rlkit.compare(agents, env, out=out, **(defaults | options))


@pytest.mark.slow
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
        compare(["random", "ppo", "q-learning"], tmp_path, env="MountainCar-v0")
    with pytest.raises(UsageError, match="unknown agent"):
        compare(["random", "qq"], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
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


def test_regret_is_drawn_on_request_where_the_optimum_is_known(
    figures: None, tmp_path: Path
) -> None:
    compare(["random"], tmp_path / "without", steps=100, evaluate_every=100)
    assert not (tmp_path / "without" / "regret.png").exists()
    comparison = compare(["random"], tmp_path / "with", steps=100, evaluate_every=100, regret=True)
    assert (comparison.folder / "regret.png").stat().st_size > 5000
    with pytest.raises(UsageError, match="the exact optimum of CartPole-v1 is not known"):
        compare(["random"], tmp_path / "none", env="CartPole-v1", steps=100, regret=True)
    assert not (tmp_path / "none").exists()
