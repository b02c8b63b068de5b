"""Least-squares policy iteration: what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.agent import Task
from rlkit.agents.linear.features import OneHot
from rlkit.agents.linear.lspi import LSPI, LSPIConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from tests.tabular.models import from_env, random_mdp

BOX = spaces.Box(-1.0, 1.0, (2,), np.float64)


def learner(mdp: Any, **options: Any) -> tuple[LSPI, TabularBatchEnv]:
    streams = (SeedStreams(0, 0),)
    env = TabularBatchEnv(mdp, streams, 1)
    task = Task(env.observation_space, env.action_space, streams, 1, 10_000)
    return LSPI(task, LSPIConfig(**options)), env


@pytest.mark.parametrize("seed", range(3))
def test_with_one_hot_features_it_finds_the_optimum_of_the_samples_model(seed: int) -> None:
    mdp = random_mdp(seed)
    agent, env = learner(
        mdp, ridge=1e-9, steps_per_update=2000, discount=0.9, epsilon_end=1.0, max_iterations=50
    )
    n, num_actions = mdp.num_states, mdp.num_actions
    count, gain = np.zeros((n, num_actions)), np.zeros((n, num_actions))
    going = np.zeros((n, num_actions, n))
    for transition, _ in interact(agent, env, 2000):
        s, a = int(transition.obs[0, 0]), int(transition.action[0, 0])
        count[s, a] += 1
        gain[s, a] += transition.reward[0, 0]
        going[s, a, transition.next_obs[0, 0]] += not transition.terminated[0, 0]
    q = np.zeros((n, num_actions))
    for _ in range(1000):
        q = (gain + 0.9 * going @ q.max(axis=1)) / count
    np.testing.assert_allclose(agent.actor().action_values(np.arange(n)[None])[0], q, rtol=1e-6)


def test_it_stops_when_the_policy_no_longer_changes() -> None:
    agent, env = learner(random_mdp(0), steps_per_update=500, max_iterations=30)
    metrics = [dict(m) for _, m in interact(agent, env, 500)]
    assert 1 < metrics[-1]["iterations"][0] < 10
    assert metrics[-1]["num_samples"][0] == 500
    assert all("iterations" not in m for m in metrics[:-1])


# --- what it learns -------------------------------------------------------------------------------


def test_real_actions_are_rejected() -> None:
    streams = (SeedStreams(0, 0),)
    with pytest.raises(UsageError, match="lspi chooses among discrete actions"):
        LSPI(Task(BOX, BOX, streams, 1, 10), LSPIConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 0.0}, "ridge"), ({"order": 0}, "order"), ({"features": "rbf"}, "features"),
        ({"capacity": 0}, "capacity"), ({"feature_low": "low"}, "feature_low"),
    ],
)  # fmt: skip
def test_unusable_options_are_rejected_by_name(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"option {message}"):
        LSPIConfig(**options)


@pytest.mark.long
def test_it_learns_the_lake(tmp_path: Any) -> None:
    run = rlkit.train(
        "lspi", "FrozenLake-v1", seeds=5, steps=20_000, evaluate_every=20_000, out=tmp_path
    )
    assert run.scores.mean() > 0.7  # the optimum is 0.744, random play 0.014


@pytest.mark.slow
def test_it_balances_the_pole_within_a_few_thousand_steps(tmp_path: Any) -> None:
    run = rlkit.train(
        "lspi", "CartPole-v1", seeds=5, steps=6_000, evaluate_every=6_000, out=tmp_path
    )
    assert run.scores.mean() > 250  # random play gets 22


def test_the_features_of_the_lake_are_its_states() -> None:
    agent, _ = learner(from_env("FrozenLake-v1"))
    assert isinstance(agent._features, OneHot)
    assert agent.state_dict()["weights"].shape == (1, 16, 4)  # type: ignore[union-attr]
