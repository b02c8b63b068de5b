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
import rlkit.training.comparing.compare as comparing
from rlkit.errors import UsageError
from rlkit.training.specification import make_spec

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


class Corridor(gym.Env[Any, Any]):
    """Positions 0 to 1 in a Box; an action that is not allowed is an error."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.place = 0
        return self.seen()

    def seen(self) -> Any:
        info = {"action_mask": np.array([self.place > 0, False, True])}
        return np.array([self.place / 4], np.float32), info

    def step(self, action: Any) -> Any:
        self.place += int(action) - 1
        obs, info = self.seen()
        info["action_mask"][0] |= self.place == 4
        return obs, float(self.place == 4), self.place == 4, False, info


class Reach(gym.Env[Any, Any]):
    """One step; the action is between 0 and 10."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Box(0.0, 10.0, (1,), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), float(action[0]), True, False, {}


class Prepared(Exception):
    """What would be trained."""


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The specifications of what a comparison would train, by name."""

    def stop(contenders: Any, *_: Any, **__: Any) -> None:
        raise Prepared({name: one.spec for name, one in contenders[0].items()})

    def specs(*agents: str, env: Any, **options: Any) -> Any:
        with pytest.raises(Prepared) as caught:
            compare([*agents], tmp_path, env, **options)
        return caught.value.args[0]

    monkeypatch.setattr(comparing, "_finish", stop)
    return specs


def test_options_of_train_are_given_to_the_agents_that_take_them(specs: Any) -> None:
    options = {"bins": 5, "bin_high": [2.0], "action_masks": True}
    of = specs("q-learning", "random", "ppo", "lspi", env=Corridor, **options)
    assert [one.action_masks for one in of.values()] == [True, True, True, False]
    assert [one.binning is not None for one in of.values()] == [True, False, False, False]
    assert of["q-learning"] == make_spec(
        "q-learning", Corridor, steps=1000, evaluate_every=500, **options
    )
    of = specs("reinforce", "random", "ppo", env=Reach, initial_std=0.3, rescale_actions=True)
    assert [one.rescale_actions for one in of.values()] == [True] * 3
    assert [of[name].config.initial_std for name in ("reinforce", "ppo")] == [0.3, 0.3]


def test_agents_are_compared_within_the_masks(tmp_path: Path) -> None:
    options = {"action_masks": True, "evaluation_episodes": 1, "steps": 60, "evaluate_every": 30}
    compared = compare(["random"], tmp_path, Corridor, **options)
    assert compared.runs["random"].record["action_masks"] is True
    assert (compared.scores["random"] == 1.0).all()


@pytest.mark.parametrize(
    ("agents", "options", "text"),
    [
        (["value-iteration", "psrl"], {"action_masks": True}, r"none .*q-learning, .*ppo.* do$"),
        (["q-learning", "random"], {"initial_std": 1.0}, r"takes it \(q-learning, random\).*ppo"),
        (["ppo", "random"], {"bins": 3}, r"option bins \(--bins\) = 3: none .*q-learning"),
        (["ppo", "random"], {"bin_low": -1.0}, r"option bin_low \(--bin-low\)"),
        (["q-learning", "random"], {"action_masks": "yes"}, "action_masks"),
        (["random"], {"rescale_actions": True}, "without a number that has two bounds"),
    ],
)
def test_an_option_that_no_agent_takes_is_rejected(
    agents: list[str], options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=text):
        compare(agents, tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_summary_is_noticed_and_left_alone(tmp_path: Path) -> None:
    first = compare(["random"], tmp_path, steps=100, evaluate_every=50)
    assert first.folder == tmp_path
    path = tmp_path / "summary.json"
    path.write_bytes(path.read_bytes().replace(b'"mean": 0', b'"mean": 9', 1))
    before = path.read_bytes()
    with pytest.warns(rlkit.RlkitWarning, match=r"summary\.json is damaged: its sha256 is"):
        again = compare(["random"], tmp_path, steps=100, evaluate_every=50)
    assert again.folder.parent == tmp_path
    assert path.read_bytes() == before


# --- metrics, seeds until it is decided -----------------------------------------------------------


def test_curves_are_compared_on_one_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlkit.training.presets import PRESETS

    monkeypatch.setitem(PRESETS, ("q-learning", "FrozenLake-v1"), {"evaluate_every": 50})
    monkeypatch.setitem(PRESETS, ("random", "FrozenLake-v1"), {"evaluate_every": 100})
    common: dict[str, Any] = {"steps": 200, "evaluate_every": None}
    final = compare(["q-learning", "random"], tmp_path, **common)
    assert [run.record["evaluate_every"] for run in final.runs.values()] == [50, 100]
    area = compare(["q-learning", "random"], tmp_path, metric="area", **common)
    assert [run.record["evaluate_every"] for run in area.runs.values()] == [100, 100]
    assert area.runs["random"].folder == final.runs["random"].folder
    runs = list(final.runs.values())
    with pytest.raises(UsageError, match="equally often, and are not: q-learning every 50, random"):
        rlkit.compare(runs, metric="area", out=tmp_path)
    beside = rlkit.compare(
        [runs[1], "q-learning"], "FrozenLake-v1", metric="area", out=tmp_path, steps=200, seeds=2
    )
    assert beside.runs["q-learning"].folder == area.runs["q-learning"].folder


def test_the_summary_of_steps_to_a_return_shows_who_never_reached_it(tmp_path: Path) -> None:
    compared = compare(["random", "value-iteration"], tmp_path, metric=("steps-to", 0.7), seeds=3)
    summary = json.loads((tmp_path / "summary.json").read_text())
    random, planner = summary["agents"]["random"], summary["agents"]["value-iteration"]
    assert (random["reached"], random["median"], random["scores"]) == (0, None, [None] * 3)
    assert random["mean"] == 1000
    assert (planner["reached"], planner["median"]) == (3, 0)
    assert summary["metric"] == "steps-to 0.7"
    (pair,) = summary["pairs"]
    assert (pair["verdict"], pair["seeds_needed"]) == (
        "too few seeds",
        6,
    )  # Noether: 7.849 / (6 / 4)
    assert compared.pairs()[0].difference == 1000


def test_seeds_are_added_until_it_is_decided(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"seeds": 2, "until_decided": True, "max_seeds": 12, "steps": 50}
    decided = compare(["random", "value-iteration"], tmp_path, **arguments)
    looks = (2, 3, 5, 8, 12)
    assert decided.looks == looks
    # The scores of each are exact and all the same: 2 / C(2 n, n) is 1 / 10 for three seeds, more
    # than the look's share of .05, and .0079 for five, less than .05 * 3 / 15.
    assert decided.num_seeds == {"random": 5, "value-iteration": 5}
    (pair,) = decided.pairs()
    assert pair.verdict == "worse"
    assert pair.p_value == pytest.approx(2 / 252 / 0.2)
    assert decided.summary()["looks"] == list(looks)
    again = compare(["random", "value-iteration"], tmp_path, **arguments)
    assert again.folder == decided.folder
    assert again.pairs() == decided.pairs()
    once = compare(["random", "value-iteration"], tmp_path, seeds=5, steps=50)
    assert once.folder != decided.folder
    assert once.pairs()[0].p_value == pytest.approx(2 / 252)


def test_what_stays_undecided_ends_at_the_most_seeds(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"seeds": 2, "until_decided": True, "max_seeds": 3, "steps": 50}
    words = ["a=q-learning", "b=q-learning --discount 0.5", "c=random"]
    compared = compare(words, tmp_path, **arguments)
    assert set(compared.num_seeds.values()) == {3}
    with pytest.raises(UsageError, match="expected at least the 4 seeds"):
        compare(words, tmp_path, seeds=4, until_decided=True, max_seeds=3)


def test_a_run_that_is_compared_amid_its_schedule_is_said_to_be(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    options: dict[str, Any] = {"seeds": 2, "evaluate_every": 64, "out": tmp_path}
    small = {"rollout_length": 8, "hidden_sizes": (4,), "num_epochs": 1}

    def notes(schedule: str, steps: int) -> list[str]:
        config = {**small, "learning_rate_schedule": schedule}
        run = rlkit.train("ppo", "FrozenLake-v1", steps=128, config=config, **options)
        recwarn.clear()
        comparison = rlkit.compare([run, "random"], "FrozenLake-v1", steps=steps, **options)
        noted = [str(one.message) for one in recwarn if "amid" in str(one.message)]
        (written,) = [
            agent for name, agent in comparison.summary()["agents"].items() if name[0] == "p"
        ]
        assert noted == [text for text in written["notes"] if "amid" in text]
        return noted

    (text,) = notes("linear", 64)
    assert "is shown at 64 steps, amid a schedule that spans 128" in text
    assert notes("linear", 128) == []
    assert notes("constant", 64) == []


def test_a_comparison_at_more_steps_than_before_trains_on(tmp_path: Path) -> None:
    agents = ["q-learning", {"agent": "ppo", "rollout_length": 8, "hidden_sizes": (4,)}]
    options: dict[str, Any] = {"seeds": 2, "evaluate_every": 48}
    for steps in (50, 100, 150):  # no multiples of the eight environments of ppo, nor of 48
        grown = rlkit.compare(agents, "FrozenLake-v1", steps=steps, out=tmp_path / "a", **options)
    fresh = rlkit.compare(agents, "FrozenLake-v1", steps=150, out=tmp_path / "b", **options)
    assert grown.summary()["agents"] == fresh.summary()["agents"]
