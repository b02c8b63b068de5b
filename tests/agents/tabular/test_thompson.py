"""Thompson sampling against closed forms of the Beta distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from rlkit.agents.tabular.thompson import Thompson, ThompsonConfig
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.errors import EnvironmentFault, UsageError
from rlkit.loop import interact
from rlkit_envs.bandit import BernoulliBandit
from tests.agents.tabular.bandit_parts import bandit_mdp, bandit_task, pulls


def agent(num_seeds: int = 2, num_envs: int = 1, arms: int = 2, **options: Any) -> Thompson:
    return Thompson(bandit_task(num_seeds, num_envs, arms), ThompsonConfig(**options))


@pytest.mark.long
@pytest.mark.parametrize(
    ("counts", "chance"),
    [
        ([[0, 0], [0, 0]], 1 / 2),
        ([[1, 0], [0, 0]], 2 / 3),  # P(X > U) = E X for X of Beta(2, 1)
        ([[0, 2], [0, 0]], 1 / 4),  # E X for X of Beta(1, 3)
        ([[1, 0], [1, 0]], 1 / 2),
        ([[2, 0], [1, 0]], 3 / 5),  # P(X > Y) = a / (a + b) for Beta(a, 1) and Beta(b, 1)
    ],
)
def test_an_arm_is_pulled_with_the_probability_that_it_is_the_best(
    counts: Any, chance: float
) -> None:
    learner = agent(num_envs=20_000)
    state = learner.state_dict()
    state["counts"][...] = counts
    learner.load_state_dict(state)
    first = (learner.act(np.zeros((2, 20_000), dtype=np.int64)) == 0).mean(axis=1)
    # Four standard deviations of a mean of 20,000.
    np.testing.assert_allclose(first, chance, atol=4 * 0.5 / np.sqrt(20_000))


def test_the_posterior_counts_each_reward_for_the_arm_that_gave_it() -> None:
    learner = agent(prior_alpha=2.0, prior_beta=3.0)
    for arm, reward in ((0, 1), (0, 1), (1, 0), (0, 0)):
        metrics = learner.learn(pulls([[arm]] * 2, [[reward]] * 2))
    assert learner.state_dict()["counts"][:, 0].tolist() == [[[2, 1], [0, 1]]] * 2
    # Beta(4, 4) has the variance 16 / (64 * 9).
    np.testing.assert_allclose(metrics["posterior_std"], 1 / 6, rtol=1e-12)
    # Means 4/8 and 2/6.
    np.testing.assert_allclose(
        learner.actor().action_values(np.zeros((2, 1), dtype=int)), [[[1 / 2, 1 / 3]]] * 2
    )


def test_the_return_of_two_pulls_is_the_expected_one() -> None:
    """The first pays 1/2. After a success the arm is best with probability 2/3, else with 1/3:

    1/2 + 1/2 (2/3 2/3 + 1/3 1/2) + 1/2 (1/3 1/3 + 2/3 1/2) = 37/36, below the optimum of 13/12.
    """
    learner = agent(num_seeds=1, num_envs=1000)
    task = learner._task
    env = GymBatchEnv(lambda: TimeLimit(BernoulliBandit(), 2), task.streams, 1000)
    total = sum(float(t.reward.sum()) for t, _ in interact(learner, env, 24))
    # 12,000 episodes; the standard deviation of a return is below 0.82.
    assert total / 12_000 == pytest.approx(37 / 36, abs=4 * 0.82 / np.sqrt(12_000))


def test_the_end_of_an_episode_resets_its_own_environment_only() -> None:
    learner = agent(num_seeds=1, num_envs=3)
    learner.learn(pulls([[0, 1, 0]], [[1, 1, 0]]))
    learner.learn(pulls([[0, 1, 0]], [[1, 0, 0]], ends=[[False, True, False]]))
    counts = learner.state_dict()["counts"][0]
    assert counts[:, :, 0].tolist() == [[2, 0], [0, 0], [0, 0]]
    assert counts[:, :, 1].tolist() == [[0, 0], [0, 0], [2, 0]]


def test_without_resets_all_environments_of_a_seed_share_one_belief() -> None:
    learner = agent(num_seeds=1, num_envs=3, bandits="same")
    learner.learn(pulls([[0, 0, 1]], [[1, 1, 0]], ends=True))
    assert learner.state_dict()["counts"][0].tolist() == [[[2, 0], [0, 1]]]


@pytest.mark.parametrize("reward", [0.5, 2.0, -1.0])
def test_a_reward_other_than_0_and_1_ends_the_seed_that_got_it(reward: float) -> None:
    with pytest.raises(
        EnvironmentFault, match=r"environment 1 gave the reward .*Use ucb"
    ) as caught:
        agent(num_seeds=3, num_envs=2).learn(pulls([[0, 0]] * 3, [[1, 0], [0, 1], [0, reward]]))
    assert caught.value.seed == 2


def test_a_model_with_other_rewards_is_rejected_at_once() -> None:
    Thompson(bandit_task(mdp=bandit_mdp([0.5, 0.2])), ThompsonConfig())
    with pytest.raises(UsageError, match=r"rewards of this environment are \[-1.0, 1.0\]"):
        Thompson(bandit_task(mdp=bandit_mdp([0.5, 0.2], (1.0, -1.0))), ThompsonConfig())


def test_a_remark_states_what_evaluation_measures_where_bandits_are_drawn() -> None:
    drawn, given = bandit_task(), bandit_task(mdp=bandit_mdp([0.5, 0.2]))
    assert "evaluation_episodes=0" in Thompson.remarks(drawn, ThompsonConfig())[0]
    assert Thompson.remarks(given, ThompsonConfig()) == []


@pytest.mark.parametrize("options", [{"prior_alpha": 0}, {"prior_beta": -1}, {"bandits": "old"}])
def test_options_out_of_range_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        ThompsonConfig(**options)
