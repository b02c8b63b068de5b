"""The known name that was probably meant."""

from __future__ import annotations

import dataclasses

import pytest

from rlkit.agents import AGENTS, find_agent
from rlkit.errors import UsageError
from rlkit.spelling import closest
from rlkit.training.specification import ARGUMENTS


def test_an_unknown_agent_is_rejected_with_the_closest_and_the_list() -> None:
    with pytest.raises(UsageError, match="Did you mean 'reinforce'") as caught:
        find_agent("reinforced")
    for name in AGENTS:
        assert name in str(caught.value)


def test_the_closest_name_is_the_nearest_or_nothing() -> None:
    assert closest("gama", ["gamma", "lambda", "epsilon"]) == " Did you mean 'gamma'?"
    assert closest("n_epochs", ["workers", "envs"]) == ""  # theirs, but of nothing that is here
    assert closest("xyz", ["gamma", "lambda"]) == ""


OPTIONS = {
    agent: [field.name for field in dataclasses.fields(find_agent(agent).Config)]
    for agent in AGENTS
}


@pytest.mark.parametrize(
    ("agent", "name", "ours"),
    [
        ("sarsa", "lambda", "trace_decay"),
        ("q-learning", "tau", "temperature_start"),
        ("n-step-sarsa", "n_steps", "return_steps"),
    ],
)
def test_an_agents_own_options_are_found_by_the_names_of_the_book(
    agent: str, name: str, ours: str
) -> None:
    assert closest(name, OPTIONS[agent]) == f" Did you mean {ours!r}?"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *((name, "envs") for name in ("n_envs", "num_envs", "n_env", "N-Envs")),
        *((name, "steps") for name in ("total_timesteps", "num_env_steps", "timesteps")),
        ("n_seeds", "seeds"),
        ("n_jobs", "workers"),
        ("env_kwargs", "env_args"),
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("n_epochs", "num_epochs"),
        ("update_epochs", "num_epochs"),
        ("clip_range", "clip_epsilon"),
        ("ent_coef", "entropy_coef"),
        ("vf_coef", "value_coef"),
        ("gamma", "discount"),
        ("n_steps", "rollout_length"),
        ("batch_size", "minibatch_size"),
        ("max_grad_norm", "max_gradient_norm"),
        ("net_arch", "hidden_sizes"),
        ("normalize_advantage", "standardise_advantages"),
        ("normalize_observations", "normalise_observations"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(name: str, ours: str) -> None:
    assert closest(name, [*OPTIONS["ppo"], *ARGUMENTS]) == f" Did you mean {ours!r}?"
    flags = [f"--{known.replace('_', '-')}" for known in (*OPTIONS["ppo"], *ARGUMENTS)]
    typed = f"--{name.replace('_', '-')}"
    assert closest(typed, flags) == f" Did you mean {'--' + ours.replace('_', '-')!r}?"


def test_a_name_with_several_meanings_leads_to_the_one_that_the_agent_has() -> None:
    assert "'step_size'" in closest("lr", [*OPTIONS["q-learning"], *ARGUMENTS])
    assert "'steps'" in closest("n_steps", [*OPTIONS["q-learning"], *ARGUMENTS])
    assert "'epsilon_start'" in closest("epsilon", OPTIONS["q-learning"])
    assert "'clip_epsilon'" in closest("epsilon", OPTIONS["ppo"])


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("PPO", "ppo"),
        ("ppo2", "ppo"),
        ("q_learning", "q-learning"),
        ("Qlearning", "q-learning"),
        ("Q Learning", "q-learning"),
        ("VI", "value-iteration"),
        ("Value_Iteration", "value-iteration"),
        ("policy-gradient", "reinforce"),
        ("VPG", "reinforce"),
    ],
)
def test_agents_are_recognised_however_they_are_spelled(name: str, ours: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{ours}'"):
        find_agent(name)


@pytest.mark.parametrize("name", ["DQN", "sac", "td3", "a2c"])
def test_no_agent_is_suggested_in_place_of_an_algorithm_that_is_not_here(name: str) -> None:
    assert closest(name, AGENTS) == ""


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cartpole-v1", "CartPole-v1"),
        ("FrozenLake", "FrozenLake-v1"),
        ("frozen_lake", "FrozenLake-v1"),
        ("CartPole-v0", "CartPole-v1"),
        ("FrozenLake8x8-v7", "FrozenLake8x8-v1"),
        ("CartPol-v1", "CartPole-v1"),
    ],
)
def test_environments_are_recognised_in_any_case_and_version(name: str, ours: str) -> None:
    known = ["CartPole-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "Humanoid-v4", "Humanoid-v5"]
    assert closest(name, known) == f" Did you mean {ours!r}?"
    assert closest("humanoid", known) == " Did you mean 'Humanoid-v5'?"
