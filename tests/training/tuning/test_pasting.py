"""The text to paste trains what was tuned."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from typing import Any

import pytest

from rlkit.training import presets
from rlkit.training.specification import RunSpec, make_spec
from rlkit.training.tuning.pasting import command_text, preset_text
from rlkit.training.tuning.settings import Settings, apply, start_of

CASES: dict[str, dict[str, Any]] = {
    "as the preset": {"agent": "ppo", "environment": "CartPole-v1"},
    "options": {
        **{"agent": "ppo", "environment": "CartPole-v1", "steps": 5000, "evaluate_every": 500},
        "options": {"learning_rate": 1.2e-5, "gae_lambda": 1.0, "target_kl": 0.01, "envs": 2},
    },
    "no preset": {
        **{"agent": "ppo", "environment": "CartPole-v1"},
        "config": {"hidden_sizes": (), "scale_rewards": True, "standardise_advantages": False},
    },
    "None and words": {
        **{"agent": "q-learning", "environment": "CliffWalking-v1"},
        "options": {"step_size": None, "exploration": "boltzmann", "epsilon_steps": 12_345},
    },
    "bins of the preset": {"agent": "q-learning", "environment": "CartPole-v1"},
    "other bins": {
        **{"agent": "q-learning", "environment": "CartPole-v1"},
        **{"bins": (4, 3, 8, 8), "bin_low": (-2.4, -2.0, -0.2, -2.0)},
        "bin_high": (2.4, 2.0, 0.2, 2.0),
    },
    "a switch that is a word": {
        **{"agent": "reinforce", "environment": "CartPole-v1", "action_masks": True},
        "options": {"baseline": "linear", "hidden_sizes": (32, 16)},
    },
    "a switch that is off": {
        **{"agent": "reinforce", "environment": "FrozenLake-v1", "native": False},
        **{"options": {"baseline": False}, "env_args": {"is_slippery": False, "map_name": "4x4"}},
    },
}


def spec_of(case: dict[str, Any]) -> RunSpec:
    arguments = dict(case)
    options = dict(arguments.pop("options", {}))
    return make_spec(
        *(arguments.pop("agent"), arguments.pop("environment")),
        **({"envs": options.pop("envs")} if "envs" in options else {}),
        **arguments,
        options=options,
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_command_trains_the_same(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from rlkit.cli import main

    spec, known = spec_of(case), []

    def train(agent: Any, environment: Any, **arguments: Any) -> Any:
        of_spec = inspect.signature(make_spec).parameters
        given = {name: value for name, value in arguments.items() if name in of_spec}
        known.append(make_spec(agent, environment, **given))
        raise KeyboardInterrupt

    monkeypatch.setattr("rlkit.training.train.train", train)
    assert main(shlex.split(command_text(spec))[1:]) == 130
    assert known == [spec]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not {"action_masks", "native", "env_args"} & set(case)],
    ids=str,
)
def test_the_preset_trains_the_same(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(case)
    table = eval(f"{{{preset_text(spec)}}}")
    monkeypatch.setattr(presets, "PRESETS", table)
    assert make_spec(case["agent"], case["environment"]) == spec


def test_what_is_usual_is_not_in_the_command() -> None:
    spec = spec_of(CASES["as the preset"])
    assert command_text(spec) == "rlkit train ppo CartPole-v1"
    spec = apply(spec, {"learning_rate": 0.002, "envs": 4})
    assert command_text(spec) == "rlkit train ppo CartPole-v1 --envs 4 --learning-rate 0.002"


def test_the_preset_is_formatted_as_the_table_is() -> None:
    settings = Settings(
        **{"agent": "q-learning", "environment": "FrozenLake-v1", "arguments": {"envs": None}},
        **{"fixed": {"epsilon_steps": 20_000}, "config": None, "preset": False},
    )
    spec = dataclasses.replace(start_of(settings), num_env_steps=1_000_000)
    assert preset_text(spec) == (
        '("q-learning", "FrozenLake-v1"): {\n'
        '    "steps": 1_000_000,\n    "evaluate_every": 20_000,\n    "epsilon_steps": 20_000,\n},'
    )
