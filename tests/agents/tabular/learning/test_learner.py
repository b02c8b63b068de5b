"""The class around the kernels of a learner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.loop import interact
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


@pytest.mark.trap("T50")
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
