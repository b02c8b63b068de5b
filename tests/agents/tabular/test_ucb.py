"""UCB1 against a loop written from the paper, and the compiled loop against the ordinary one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rlkit.agent import Task
from rlkit.agents.compiled import compiled_loop
from rlkit.agents.tabular.ucb import UCB, UCBConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.training.tracker import Tracker
from tests.agents.tabular.bandit_parts import bandit_mdp, bandit_task, pulls


def best_arms(rewards: list[list[float]], c: float) -> set[int]:
    """The arms that UCB1 may pull next, given all rewards of each arm."""
    untried = {k for k, own in enumerate(rewards) if not own}
    if untried:
        return untried
    t = sum(map(len, rewards))
    bounds = [sum(own) / len(own) + math.sqrt(c * math.log(t) / len(own)) for own in rewards]
    return {k for k, bound in enumerate(bounds) if bound >= max(bounds) - 1e-12}


@pytest.mark.parametrize("c", [0.0, 0.5, 2.0])
def test_the_arms_are_those_of_the_papers_rule(c: float) -> None:
    rng = np.random.default_rng(0)
    learner = UCB(bandit_task(num_seeds=3, num_envs=2, arms=3), UCBConfig(exploration=c))
    seen: Any = [[[[] for _ in range(3)] for _ in range(2)] for _ in range(3)]
    for _ in range(150):
        arms = learner.act(np.zeros((3, 2), dtype=np.int64))
        rewards = rng.random((3, 2))
        ends = rng.random((3, 2)) < 0.02
        learner.learn(pulls(arms, rewards, ends))
        for s, n in np.ndindex(3, 2):
            assert arms[s, n] in best_arms(seen[s][n], c)
            seen[s][n][arms[s, n]].append(rewards[s, n])
            if ends[s, n]:
                seen[s][n] = [[] for _ in range(3)]


def test_ties_are_broken_at_random() -> None:
    learner = UCB(bandit_task(num_seeds=1, num_envs=3000, arms=3), UCBConfig())
    arms = learner.act(np.zeros((1, 3000), dtype=np.int64))
    np.testing.assert_allclose(np.bincount(arms[0]) / 3000, 1 / 3, atol=0.035)


def test_without_resets_all_environments_of_a_seed_share_their_pulls() -> None:
    config = UCBConfig(bandits="same")
    learner = UCB(bandit_task(num_seeds=1, num_envs=3), config)
    metrics = learner.learn(pulls([[0, 0, 1]], [[1.0, 0.5, 0.25]], ends=True))
    state = learner.state_dict()
    assert state["pulls"].tolist() == [[[2, 1]]]
    assert state["sums"].tolist() == [[[1.5, 0.25]]]
    # The bonuses after 1, 2 and 3 pulls.
    bonuses = [0.0, math.sqrt(2 * math.log(2) / 2), math.sqrt(2 * math.log(3))]
    np.testing.assert_allclose(metrics["bonus"], sum(bonuses) / 3, rtol=1e-12)


def test_the_greedy_policy_is_the_largest_mean_and_the_exploring_one_the_largest_bound() -> None:
    learner = UCB(bandit_task(num_seeds=1), UCBConfig())
    for arm, reward in ((0, 1), (1, 1), (0, 1), (0, 0), (0, 1), (1, 0)):
        learner.learn(pulls([[arm]], [[reward]]))
    obs = np.zeros((1, 4), dtype=np.int64)
    assert (learner.actor().act(obs) == 0).all()  # 3/4 against 1/2
    # 0.75 + sqrt(2 ln 6 / 4) = 1.70 against 0.5 + sqrt(2 ln 6 / 2) = 1.84
    assert (learner.actor(greedy=False).act(obs) == 1).all()


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("pieces", [[1000], [255, 1, 256, 1, 487]])
def test_the_compiled_loop_ends_in_the_state_of_the_ordinary_one(
    num_envs: int, reset: bool, pieces: list[int]
) -> None:
    model = bandit_mdp([0.2, 0.5, 0.45])
    streams = tuple(SeedStreams(3, s) for s in range(2))

    def made() -> tuple[UCB, TabularBatchEnv, Tracker]:
        env = TabularBatchEnv(model, streams, num_envs)
        env.reset()
        task = Task(env.observation_space, env.action_space, streams, num_envs, 5000, model)
        agent = UCB(task, UCBConfig(bandits="new" if reset else "same"))
        return agent, env, Tracker(2, num_envs, UCB.metrics)

    def states(*parts: Any) -> list[Any]:
        return [np.asarray(v).tolist() for part in parts for v in part.state_dict().values()]

    agent, env, tracker = made()
    loop = compiled_loop(agent, env, tracker.totals, tracker.count)
    assert loop is not None
    for number in pieces:
        loop.run(number)
    slow, slow_env, slow_tracker = made()
    for transition, metrics in interact(slow, slow_env, 1000, obs=slow_env.obs):
        slow_tracker.observe(transition, metrics)
    assert states(agent, env, tracker) == states(slow, slow_env, slow_tracker)


def test_a_negative_bonus_is_rejected() -> None:
    with pytest.raises(UsageError, match="exploration"):
        UCBConfig(exploration=-1.0)
