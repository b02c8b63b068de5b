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
from rlkit.seeding import SeedStreams

VALUES = np.array([[1.0, 5.0, 2.0], [3.0, 9.0, 4.0]])  # of two states; action 1 is masked in both
ALLOWED = np.array([True, False, True])
LEARNERS = {
    # name -> the target of (0, 2) with reward 1 and discount 0.5, when the episode is truncated
    "q-learning": 1.0 + 0.5 * 4.0,
    "double-q-learning": 1.0 + 0.5 * 4.0,
    "dyna-q": 1.0 + 0.5 * 4.0,
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


# Each other choice once; compiling all of them takes half a minute.
QUICK = ("q-learning", "double-q-learning", "expected-sarsa")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.torture) for name in LEARNERS],
)
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


def test_dyna_q_plans_with_what_was_allowed_after_each_step_that_it_keeps() -> None:
    """Against a slow twin that keeps whole steps; masks differ between visits of a state."""
    options = {"planning_steps": 4, "model_memory": 3, "initial_value": 0.5}
    agent, rng = masked_learner("dyna-q", **options), np.random.default_rng(0)
    q, kept, order = VALUES.copy(), {}, []
    obs, mask = 0, ALLOWED
    for _ in range(150):
        action = agent.act(np.array([[obs]]), np.array([[mask]])).item()
        assert mask[action]
        draws = agent._entries["_draws"][0, :, 0].reshape(-1, 3)
        reward, after, ended = rng.normal(), int(rng.integers(2)), bool(rng.random() < 0.2)
        mask_after = np.array(rng.permutation([True, True, False]))
        step = Transition(*(np.array([[x]]) for x in (obs, action, reward, ended, False, after, 0)))
        agent.learn(step, ActionMasks(np.array([[mask]]), np.array([[mask_after]])))

        def target(reward: float, after: int, ended: bool, allowed: Any) -> float:
            return reward + (0.0 if ended else 0.5 * q[after][allowed].max())

        outcome = (reward, after, ended, mask_after)
        q[obs, action] = target(*outcome)  # the step size is 1
        if obs not in order:
            order.append(obs)
        kept.setdefault(obs, {}).setdefault(action, []).append(outcome)
        for u, v, w in draws:
            s = order[int(u * len(order))]
            a = list(kept[s])[int(v * len(kept[s]))]
            seen = kept[s][a]
            ring = sorted(range(max(0, len(seen) - 3), len(seen)), key=lambda i: i % 3)
            q[s, a] = target(*seen[ring[int(w * len(ring))]])
        np.testing.assert_allclose(agent.state_dict()["q"][0], q, rtol=1e-13)
        obs, mask = (0, ALLOWED) if ended else (after, mask_after)
    assert sum(len(seen) for by_action in kept.values() for seen in by_action.values()) == 150


def test_without_masks_dyna_q_stores_none() -> None:
    kind = find_agent("dyna-q")
    task = Task(spaces.Discrete(2), spaces.Discrete(3), (SeedStreams(0, 0),), 1, 100)
    assert "model_next_masks" not in kind(task, kind.Config()).state_dict()
    assert "model_next_masks" in masked_learner("dyna-q").state_dict()


def test_kernels_that_choose_nothing_among_actions_are_left_as_they_are() -> None:
    assert masked(UCB.kernels).act is UCB.kernels.act
    assert masked(QLearning.kernels).act is not QLearning.kernels.act
