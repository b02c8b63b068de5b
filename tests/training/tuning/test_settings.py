"""A search starts at the preset, at the defaults, or where the user says."""

from __future__ import annotations

from typing import Any

import pytest

from rlkit.agents.ppo import PPOConfig
from rlkit.errors import UsageError
from rlkit.training.specification import RunSpec, make_spec
from rlkit.training.tuning.settings import Settings, apply, start_of, value_of
from tests.steady_agent import Steady


def start(agent: Any = "ppo", **changes: Any) -> RunSpec:
    given: dict[str, Any] = {"arguments": {"envs": None}, "fixed": {}, "config": None}
    given |= {"agent": agent, "environment": "CartPole-v1", "preset": True, **changes}
    return start_of(Settings(**given))


def test_by_default_it_is_what_train_would_train() -> None:
    assert start() == make_spec("ppo", "CartPole-v1")
    fixed = {"learning_rate": 0.5}
    assert start(fixed=fixed) == make_spec("ppo", "CartPole-v1", options=fixed)


def test_without_the_preset_options_and_environments_are_the_defaults() -> None:
    spec = start(preset=False, fixed={"learning_rate": 0.5})
    assert spec.config == PPOConfig(learning_rate=0.5)
    known = make_spec("ppo", "CartPole-v1")
    assert spec.num_env_steps == known.num_env_steps
    assert spec.evaluate_every == known.evaluate_every
    assert start(preset=False, arguments={"envs": 3}).num_envs == 3
    assert (
        start("q-learning", preset=False).binning == make_spec("q-learning", "CartPole-v1").binning
    )


def test_fewer_steps_than_the_preset_have_as_many_rows() -> None:
    assert start(arguments={"envs": None, "steps": 2000}).evaluate_every == 100
    assert start(arguments={"envs": None, "steps": 7}).evaluate_every == 1
    assert start(arguments={"envs": None, "steps": 10**6}).evaluate_every == 5000
    given = {"envs": None, "steps": 2000, "evaluate_every": 1500}
    assert start(arguments=given).evaluate_every == 1500


def test_a_configuration_may_be_given_and_options_over_it() -> None:
    spec = start(config=PPOConfig(learning_rate=0.5, num_epochs=7), fixed={"num_epochs": 3})
    assert spec.config == PPOConfig(learning_rate=0.5, num_epochs=3)


def test_another_setting_changes_options_and_environments_alone() -> None:
    spec = start()
    other = apply(spec, {"learning_rate": 0.25, "envs": 5})
    assert [value_of(other, name) for name in ("learning_rate", "envs")] == [0.25, 5]
    assert apply(other, {name: value_of(spec, name) for name in ("learning_rate", "envs")}) == spec
    with pytest.raises(UsageError, match="learning_rate"):
        apply(spec, {"learning_rate": -1.0})


def test_an_agent_without_options_has_nothing_to_tune() -> None:
    class Bare(Steady):
        Config = None  # type: ignore[assignment]

    for agent in ("random", Bare):
        with pytest.raises(UsageError, match="has no options, so there is nothing to tune"):
            start(agent)
