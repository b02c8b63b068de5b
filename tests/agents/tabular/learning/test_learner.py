"""The class around the kernels of a learner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from scipy import stats

from rlkit.agent import ActionMasks, Task, Transition
from rlkit.agents import find_agent
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from tests.agents.tabular.worlds import chain, make, random_mdp, transition


def test_actions_are_drawn_with_the_probabilities_that_the_exploring_actor_states() -> None:
    for options in (
        {"epsilon_start": 0.4, "epsilon_end": 0.4},
        {"exploration": "boltzmann", "temperature_start": 0.5, "temperature_end": 0.5},
    ):
        agent, _ = make("sarsa", random_mdp(), num_envs=7, **options)
        state = agent.state_dict()
        state["q"][:, 1] = [0.3, 1.0, 0.0]
        agent.load_state_dict(state)
        obs = np.ones((2, 7), dtype=np.int64)
        counts = np.bincount(np.concatenate([agent.act(obs).ravel() for _ in range(2000)]))
        expected = 28_000 * agent.actor(greedy=False).probabilities(obs)[0, 0]
        # A standard deviation is at most sqrt(28000 / 4) = 84; 5 of them.
        assert (np.abs(counts - expected) < 420).all()


def test_the_temperature_falls_linearly_with_the_environment_steps() -> None:
    options: dict[str, Any] = {"temperature_start": 4.0, "temperature_end": 1.0}
    agent, _ = make(
        "q-learning", random_mdp(), exploration="boltzmann", temperature_steps=4, **options
    )
    state = agent.state_dict()
    state["q"][:, 0] = [0.0, 0.0, np.log(2.0)]
    agent.load_state_dict(state)
    for k in range(6):
        tau = max(4.0 - 0.75 * k, 1.0)
        probabilities = agent.actor(greedy=False).probabilities(np.zeros((2, 1), dtype=int))[0, 0]
        assert probabilities[2] / probabilities[0] == pytest.approx(2.0 ** (1 / tau), rel=1e-12)
        metrics = agent.learn(transition(3, 0, 0.0, 4, terminated=True))
        assert np.isnan(metrics["epsilon"]).all()


def test_the_greedy_actor_does_not_explore() -> None:
    agent, _ = make("sarsa", random_mdp(), exploration="boltzmann")
    state = agent.state_dict()
    state["q"][:, 0] = [0.0, 1e-9, 0.0]
    agent.load_state_dict(state)
    assert (agent.actor().act(np.zeros((2, 50), dtype=int)) == 1).all()


def test_huge_values_have_probabilities_too() -> None:
    agent, env = make(
        "expected-sarsa",
        random_mdp(),
        exploration="boltzmann",
        temperature_start=1e-300,
        initial_value=1e300,
        step_size=0.1,
    )
    for _ in interact(agent, env, 50, obs=env.obs):
        pass
    assert np.isfinite(agent.state_dict()["q"]).all()


def test_more_steps_than_a_table_of_step_sizes_was_made_for_are_taken() -> None:
    """The ordinary loop makes its states for some steps ahead and then anew."""
    agent, env = make("q-learning", random_mdp(), step_size_power=1.0, num_envs=3)
    for _ in interact(agent, env, 2000, obs=env.obs):
        pass
    assert agent.state_dict()["visits"][0].sum() == 6000
    assert np.isfinite(agent.state_dict()["q"]).all()


@pytest.mark.parametrize(
    ("name", "options", "waiting"),
    [
        ("q-learning", {}, 0),
        ("sarsa", {}, 2),
        ("n-step-sarsa", {"return_steps": 40}, 80),
        ("monte-carlo", {}, 2 * 50),
    ],
)
def test_steps_that_wait_have_step_sizes_too(
    name: str, options: dict[str, Any], waiting: int
) -> None:
    """The visits of steps that wait are counted later, and must be in the table by then."""
    agent, env = make(name, chain(1000), num_envs=2, **options)
    for _ in interact(agent, env, 50, obs=env.obs):
        pass
    most = int(agent.state_dict()["visits"][0].max()) + waiting + 2 * 7
    assert agent._most_visits(0, 7) == most
    assert len(agent.kernel_state(0, 7).table.step_sizes.table) > most


# --- action masks ---------------------------------------------------------------------------------

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
