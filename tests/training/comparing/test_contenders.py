"""Contenders are read from words, mappings, classes, configs and runs, each with its own name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.errors import UsageError
from rlkit.training.comparing.contenders import Contender, read_contenders
from rlkit.training.run import Run
from tests import steady_agent

FILE = steady_agent.__file__


def read(*given: Any) -> Contender:
    (contender,) = read_contenders(list(given))
    return contender


@pytest.mark.parametrize(
    ("word", "name", "agent", "options", "arguments"),
    [
        ("q-learning", "q-learning", "q-learning", {}, {}),
        ("a=q-learning", "a", "q-learning", {}, {}),
        ("my q=q-learning --discount 0.9", "my q", "q-learning", {"discount": 0.9}, {}),
        ("q-learning --discount=1", "q-learning --discount=1", "q-learning", {"discount": 1}, {}),
        ("a=q-learning --step_size 1e-1", "a", "q-learning", {"step_size": 0.1}, {}),
        ("a=q-learning --initial-value -3", "a", "q-learning", {"initial_value": -3}, {}),
        ("a=q-learning --envs 2 --bins 4", "a", "q-learning", {}, {"envs": 2, "bins": (4,)}),
        ("a=q-learning --bin-low -1 -2.5", "a", "q-learning", {}, {"bin_low": (-1, -2.5)}),
        ("a=q-learning --action-masks", "a", "q-learning", {}, {"action_masks": True}),
        ("a=q-learning --no-action-masks", "a", "q-learning", {}, {"action_masks": False}),
        ("a=q-learning --exploration 'boltzmann'", "a", "q-learning",
         {"exploration": "boltzmann"}, {}),
        ("p=ppo --hidden-sizes 8 8 --discount .5", "p", "ppo",
         {"hidden_sizes": (8, 8), "discount": 0.5}, {}),
        ("p=ppo --hidden-sizes", "p", "ppo", {"hidden_sizes": ()}, {}),
        ("p=ppo --target-kl None", "p", "ppo", {"target_kl": None}, {}),
    ],
)  # fmt: skip
def test_a_word_is_a_name_an_agent_and_its_options(
    word: str, name: str, agent: str, options: dict[str, Any], arguments: dict[str, Any]
) -> None:
    one = read(word)
    assert (one.name, one.agent) == (name, agent)
    assert (one.options, one.arguments) == (options, arguments)


def test_agents_of_ones_own_are_named_by_file_and_module() -> None:
    one = read(f"{FILE}:Steady")
    assert (one.name, getattr(one.agent, "__name__", "")) == (f"{FILE}:Steady", "Steady")
    two = read("mine=tests.steady_agent:Steady --first 3")
    assert (two.name, two.agent, two.options) == ("mine", steady_agent.Steady, {"first": 3})


def test_python_has_the_same_as_mappings_classes_and_configs() -> None:
    config = QLearningConfig(discount=0.5)
    contenders = read_contenders(
        {
            "word": "q-learning --discount 0.5",
            "class": QLearning,
            "config": config,
            "mapping": {"agent": "q-learning", "discount": 0.5, "envs": 2},
            "own": steady_agent.SteadyConfig(first=1),
            "both": {"agent": steady_agent.Steady, "config": steady_agent.SteadyConfig(first=2)},
        }
    )
    by_name = {one.name: one for one in contenders}
    assert list(by_name) == ["word", "class", "config", "mapping", "own", "both"]
    assert by_name["word"].options == by_name["mapping"].options == {"discount": 0.5}
    assert by_name["mapping"].arguments == {"envs": 2}
    assert (by_name["config"].agent, by_name["config"].config) == ("q-learning", config)
    assert by_name["class"].agent is QLearning
    assert by_name["own"].agent is by_name["both"].agent is steady_agent.Steady
    assert by_name["both"].config.first == 2
    named = {"agent": "q-learning", "name": "slow", "step_size": 0.1}
    assert read(named).name == "slow"


def test_a_run_has_the_name_of_its_word_or_of_its_agent(
    small: Callable[..., Run], tmp_path: Path
) -> None:
    folder = small("random").folder
    copied = Path(shutil.copytree(folder, tmp_path / "a=b"))
    contenders = read_contenders([str(folder), f"old={folder}", str(copied), folder, Run(copied)])
    assert [one.name for one in contenders] == [
        *(str(folder), "old", str(copied), "random", "random (2)"),
    ]
    assert [run.folder for run in contenders[2].runs] == [copied]
    with pytest.raises(UsageError, match="is a run, which is compared as it is: omit --discount"):
        read(f"{folder} --discount 1")
    with pytest.raises(UsageError, match=r"is a run, .*omit discount"):
        read({"agent": folder, "discount": 1})


def test_names_that_nobody_gave_are_told_apart_and_others_are_taken_first() -> None:
    class Mine(QLearning): ...

    def make() -> Any:
        return type("Mine", (QLearning,), {})

    Mine.__name__ = "q-learning"
    assert [one.name for one in read_contenders([Mine, make(), make(), "q-learning"])] == [
        *("q-learning (2)", "Mine", "Mine (2)", "q-learning"),
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["random", "random"], "two contenders are called 'random': .*\"another=random\""),
        (["a=random", "a=q-learning"], "two contenders are called 'a'"),
        (["a=random", {"agent": "ppo", "name": "a"}], "two contenders are called 'a'"),
        (["=random"], r"'=random' cannot be read. A contender is one word, \[NAME=\]AGENT"),
        (["a="], "cannot be read. A contender is"),
        (["a=--discount 3"], "names no agent. A contender is"),
        (["a=q-learning discount 3"], "expected an option such as --discount 0.9, got 'discount'"),
        (["q-learning --discount"], "the option --discount has no value. A contender is"),
        (["q-learning --discount '0.9"], "No closing quotation. A contender is"),
        (["q-learnin"], "unknown agent 'q-learnin'.*Did you mean 'q-learning'.* A contender is"),
        ([f"{FILE}:Steadi"], "does not define 'Steadi'. Did you mean 'Steady'.* A contender is"),
        (["ppo --no-compiled"], "compiled is the same for all contenders; give .*--compiled"),
        (["ppo --keep-best"], "keep_best is the same for all contenders"),
        (["ppo --reward"], "the option --reward has no value"),
        (["ppo --no-reward"], "the option --no-reward has no value"),
        (["q-learning --steps 3"], "steps is the same for all contenders; give .*--steps"),
        ([{"agent": "ppo", "seeds": 3}], "seeds is the same for all contenders"),
        ([{"name": "ppo"}], "expected the key 'agent'"),
        ([{"agent": "ppo", "name": 3}], "expected 'name' to be text"),
        ([3], "expected an agent's name or a class"),
        ("random", "expected a list of agents"),
        ([], "expected a list of agents"),
        ({}, "expected a list of agents"),
    ],
)
def test_what_cannot_be_read_is_rejected(given: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read_contenders(given)


def test_a_config_of_several_agents_needs_the_agent() -> None:
    from rlkit.agents.tabular.sarsa import Sarsa

    with pytest.raises(UsageError, match=r"sarsa, expected-sarsa; give {'agent'"):
        read(Sarsa.Config())


@pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")
def test_configurations_own_agents_and_runs_are_compared_by_their_names(tmp_path: Path) -> None:
    common: dict[str, Any] = {"seeds": 2, "steps": 60, "evaluate_every": 30}
    run = rlkit.train("random", "FrozenLake-v1", out=tmp_path, **common)
    words = ["q-learning", "slow=q-learning --step-size 0.01", f"{FILE}:Steady", str(run.folder)]
    compared = rlkit.compare(words, "FrozenLake-v1", out=tmp_path, **common)
    assert list(compared.summary()["agents"]) == ["q-learning", "slow", f"{FILE}:Steady", words[3]]
    assert compared.runs["slow"].record["config"]["step_size"] == 0.01
    assert compared.runs["q-learning"].record["config"]["step_size"] != 0.01
    before = sorted(tmp_path.iterdir())
    for word, text in (
        (
            "bad=q-learning --dicsount 1",
            "contender 'bad' on FrozenLake-v1: agent q-learning has no option",
        ),
        (
            "bad=q-learning --discount 3",
            "contender 'bad' on FrozenLake-v1: option discount .*got 3",
        ),
    ):
        with pytest.raises(UsageError, match=text):
            rlkit.compare(["random", word], "FrozenLake-v1", out=tmp_path, steps=10)
    with pytest.raises(UsageError, match=r"contender 'bad' on MountainCar-v0: .*Box"):
        rlkit.compare(["random", "bad=value-iteration"], "MountainCar-v0", out=tmp_path, steps=10)
    assert sorted(tmp_path.iterdir()) == before
