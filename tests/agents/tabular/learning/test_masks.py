"""Learners of tables where an environment allows only some actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from scipy import stats

from rlkit.agent import ActionMasks, Task, Transition
from rlkit.agents import find_agent
from rlkit.agents.tabular.learning.masks import masked
from rlkit.agents.tabular.q_learning import QLearning
from rlkit.agents.tabular.ucb import UCB
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams

VALUES = np.array([[1.0, 5.0, 2.0], [3.0, 9.0, 4.0]])  # of two states; action 1 is masked in both
ALLOWED = np.array([True, False, True])
LEARNERS = {
    # name -> the target of (0, 2) with reward 1 and discount 0.5, when the episode is truncated
    "q-learning": 1.0 + 0.5 * 4.0,
    "double-q-learning": 1.0 + 0.5 * 4.0,
    # with epsilon = 0.4: 0.6 of the best and 0.4 of the mean of both
    "sarsa": 1.0 + 0.5 * (0.6 * 4.0 + 0.4 * 3.5),
    "expected-sarsa": 1.0 + 0.5 * (0.6 * 4.0 + 0.4 * 3.5),
    "n-step-sarsa": 1.0 + 0.5 * (0.6 * 4.0 + 0.4 * 3.5),
    "monte-carlo": 1.0 + 0.5 * (0.6 * 4.0 + 0.4 * 3.5),
}


def masked_learner(name: str, **options: Any) -> Any:
    kind = find_agent(name)
    config = kind.Config(discount=0.5, step_size=1.0, epsilon_start=0.4, epsilon_end=0.4, **options)
    streams = (SeedStreams(0, 0),)
    task = Task(spaces.Discrete(2), spaces.Discrete(3), streams, 1, 100, action_masks=True)
    agent = kind(task, config)
    state = agent.state_dict()
    state["q"] = np.broadcast_to(VALUES, state["q"].shape).copy()
    agent.load_state_dict(state)
    return agent


@pytest.mark.parametrize("name", LEARNERS)
def test_the_target_ignores_the_values_of_masked_actions(name: str) -> None:
    agent, masks = masked_learner(name), np.array([[ALLOWED]])
    agent.act(np.zeros((1, 1), int), masks)

    def row(x: Any) -> Any:
        return np.array([[x]])

    step = Transition(row(0), row(2), row(1.0), row(False), row(True), row(1), row(0))
    agent.learn(step, ActionMasks(masks, masks))
    after = agent.state_dict()["q"]
    expected = np.broadcast_to(VALUES, after.shape).copy()
    expected[..., 0, 2] = LEARNERS[name]
    changed = after if name != "double-q-learning" else np.where(after == VALUES, expected, after)
    np.testing.assert_allclose(changed, expected, rtol=1e-14)
    # Without the masks the same step has another target: 9 is the largest value.
    unmasked = ActionMasks(masks, np.ones_like(masks))
    agent.load_state_dict(masked_learner(name).state_dict())
    agent.learn(step, unmasked)
    assert (agent.state_dict()["q"] != after).any()


@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann"])
def test_allowed_actions_are_chosen_with_the_probabilities_that_the_actor_states(
    exploration: str,
) -> None:
    options = {"exploration": exploration, "temperature_start": 2.0, "temperature_end": 2.0}
    agent = masked_learner("q-learning", **options)
    obs, masks = np.zeros((1, 1), int), np.array([[ALLOWED]])
    actor = agent.actor(greedy=False)
    p = actor.probabilities(obs, masks)[0, 0]
    share = 0.2 if exploration == "epsilon-greedy" else 1 / (1 + np.exp(0.5))
    np.testing.assert_allclose(p, [share, 0.0, 1 - share])
    for policy in (agent, actor):
        counts = np.bincount([policy.act(obs, masks).item() for _ in range(4000)], minlength=3)
        assert counts[1] == 0
        assert stats.chisquare(counts[[0, 2]], 4000 * p[[0, 2]]).pvalue > 1e-3  # fixed seeds
    greedy = agent.actor()
    assert greedy.act(obs, masks).item() == 2
    assert greedy.act(obs).item() == 1
    assert greedy.probabilities(obs, masks)[0, 0].tolist() == [0, 0, 1]


def test_dyna_q_takes_no_masks_because_its_model_keeps_none() -> None:
    with pytest.raises(UsageError, match="dyna-q takes no action masks"):
        masked_learner("dyna-q")


def test_kernels_that_choose_nothing_among_actions_are_left_as_they_are() -> None:
    assert masked(UCB.kernels).act is UCB.kernels.act
    assert masked(QLearning.kernels).act is not QLearning.kernels.act
