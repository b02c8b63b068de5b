"""What a run is made of decides its folder: nothing else, and nothing less."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.agents.ppo import PPOConfig
from rlkit.errors import UsageError
from rlkit.runs.run import Run
from rlkit.runs.specification import RunSpec, make_spec, versions


def name_of(spec: RunSpec) -> str:
    return spec.folder_name(spec.resolve())


def make(**changes: Any) -> RunSpec:
    options = changes.pop("options", {"learning_rate_schedule": "constant"})
    settings = {"agent": "reinforce", "environment": "CartPole-v1", "steps": 100} | changes
    return make_spec(**settings, options=options)


BASE = make()
DIFFERENT = {
    "agent": {"agent": "ppo"},
    "environment": {"environment": "Acrobot-v1"},
    "seed": {"seed": 1},
    "envs": {"envs": 2},
    "evaluate_every": {"evaluate_every": 7},
    "evaluation_episodes": {"evaluation_episodes": 7},
    "native": {"native": False},
    "env_args": {"env_args": {"max_episode_steps": 10}},
    "option": {"options": {"discount": 0.5}},
    "close option": {"options": {"discount": 0.99 + 1e-15}},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_changes_the_results_changes_the_folder(what: str) -> None:
    assert name_of(make(**DIFFERENT[what])) != name_of(BASE)


def test_no_two_differences_share_a_folder() -> None:
    names = [name_of(make(**changes)) for changes in DIFFERENT.values()]
    assert len(set(names)) == len(names)


def test_the_number_of_steps_is_part_of_the_name_only_under_a_schedule() -> None:
    assert name_of(make(steps=200)) == name_of(BASE)
    linear = {"learning_rate_schedule": "linear"}
    assert name_of(make(options=linear)) != name_of(make(options=linear, steps=200))


def test_the_order_and_the_way_of_giving_options_do_not_matter() -> None:
    options = {"discount": 0.5, "hidden_sizes": (4,)}
    names = {
        name_of(make_spec("ppo", "CartPole-v1", options=options)),
        name_of(make_spec("ppo", "CartPole-v1", options=dict(reversed(options.items())))),
    }
    preset = make_spec("ppo", "CartPole-v1").config
    whole = dataclasses.replace(preset, **options)
    names.add(name_of(make_spec("ppo", "CartPole-v1", config=whole)))
    assert len(names) == 1
    arguments = {"map_name": "8x8", "is_slippery": False}
    lakes = {
        name_of(make_spec("random", "FrozenLake-v1", env_args=dict(items)))
        for items in itertools.permutations(arguments.items())
    }
    assert len(lakes) == 1


def test_the_folder_is_the_same_in_another_process() -> None:
    script = (
        "from rlkit.runs.specification import make_spec\n"
        "spec = make_spec('reinforce', 'CartPole-v1', steps=100,"
        " options={'learning_rate_schedule': 'constant'})\n"
        "print(spec.folder_name(spec.resolve()))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, text=True).strip() == name_of(BASE)


ODD = [
    *("../x", "/etc/x", "a/b", "..", "x" * 300, "nul\0", "new\nline", "CON"),
    *("\N{GRINNING FACE}", "\N{RIGHT-TO-LEFT OVERRIDE}gpj", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_an_odd_name_stays_inside_of_the_folder_of_runs(
    name: str, small: Callable[..., Run], out: Path
) -> None:
    def lake() -> Any:
        return gym.make("FrozenLake-v1")

    lake.__qualname__ = name
    before = set(out.parent.iterdir())
    run = small("random", environment=lake, seeds=1, steps=100)
    assert set(out.parent.iterdir()) - before == {out}
    assert [path.name for path in out.iterdir()] == [run.folder.name]
    assert len(run.folder.name) < 100
    assert run.folder.name.isascii()
    assert run.folder.name.isprintable()
    assert small("random", environment=lake, seeds=1, steps=100).folder == run.folder


def test_an_agent_class_with_an_odd_name_stays_inside_too(
    small: Callable[..., Run], out: Path
) -> None:
    from rlkit.agents.random import Random

    class Mine(Random):
        pass

    Mine.__name__ = "../../" + "y" * 300
    run = small("random", agent=Mine, seeds=1, steps=100)
    assert run.folder.parent == out
    assert run.status == "finished"


def test_two_agent_classes_of_one_name_have_two_folders() -> None:
    def first() -> Any:
        class Mine:
            """One."""

        return Mine

    def second() -> Any:
        class Mine:
            """Another."""

        return Mine

    names = {name_of(make_spec(agent(), "CartPole-v1")) for agent in (first, second)}
    assert len(names) == 2


def test_a_changed_environment_of_ones_own_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "lake.py"
    names = set()
    for limit in (10, 20):
        path.write_text(
            "import gymnasium as gym\n"
            f"def make(): return gym.make('FrozenLake-v1', max_episode_steps={limit})\n"
        )
        names.add(name_of(make_spec("random", f"{path}:make")))
    assert len(names) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": "pp0"}, "unknown agent 'pp0'.*Did you mean 'ppo'"),
        ({"options": {"gama": 0.9}}, "no option 'gama'"),
        ({"options": {"learning_rat": 0.9}}, "Did you mean 'learning_rate'"),
        ({"options": {"discount": 1.0001}}, "discount"),
        ({"steps": 0}, "option steps .*>= 1, got 0"),
        ({"steps": 1e5}, "option steps .*got 100000.0"),
        ({"steps": True}, "option steps"),
        ({"steps": 2**63}, "option steps"),
        ({"envs": 0}, "option envs"),
        ({"seed": -1}, "option seed .*>= 0, got -1"),
        ({"evaluate_every": 0}, "--evaluate-every"),
        ({"evaluation_episodes": -1}, "option evaluation_episodes"),
        ({"env_args": {"map": np.zeros(2)}}, "env_args .*plain numbers, strings and lists"),
        ({"env_args": {"x": float("nan")}}, "env_args"),
        ({"config": PPOConfig(), "options": {"discount": 1.0}}, "either a config or single"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_with_its_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(**changes)


@pytest.mark.parametrize("option", ["seeds", "workers"])
def test_no_seeds_and_no_workers_are_refused(option: str, small: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match=f"option {option} "):
        small("random", **{option: 0})


def test_the_record_says_what_the_run_is_and_with_what_it_was_made(
    small: Callable[..., Run],
) -> None:
    run = small("q-learning", seeds=2, seed=3)
    record = json.loads((run.folder / "run.json").read_text(), parse_constant=pytest.fail)
    assert record["agent"] == "q-learning"
    assert record["environment"] == "FrozenLake-v1"
    assert record["stepped_as"] == "tabular"
    assert record["config"]["epsilon_steps"] == 500
    assert (record["num_seeds"], record["num_env_steps"], record["num_envs"]) == (2, 600, 2)
    assert record["experiment_seed"] == 3
    assert record["versions"] == versions()
    assert (record["status"], record["reproducible"], record["failures"]) == ("finished", True, {})
    assert str(run.folder.parent) not in (run.folder / "run.json").read_text()
