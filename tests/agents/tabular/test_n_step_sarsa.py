"""Tabular n-step Sarsa."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.loop import interact
from tests.agents.tabular import textbook
from tests.agents.tabular.worlds import (
    chain,
    errors_on_the_way,
    largest_difference,
    make,
    policy_q,
    random_mdp,
    tables_after,
    transition,
)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("return_steps", [1, 2, 4, 30])
@pytest.mark.parametrize(
    "options",
    [
        {"epsilon_steps": 200, "initial_value": 2.0},
        {"step_size": 0.3, "discount": 0.9},
        {"exploration": "boltzmann", "temperature_end": 0.1, "temperature_steps": 300},
    ],
    ids=str,
)
def test_the_table_is_that_of_the_textbook_at_every_step(
    options: dict[str, Any], return_steps: int, num_envs: int
) -> None:
    options = {**options, "return_steps": return_steps}
    difference = largest_difference(
        "n-step-sarsa", textbook.NStepSarsa, random_mdp(), 300, num_envs, **options
    )
    assert difference < 1e-11  # sums of some hundred terms in another order


def test_with_one_step_it_is_sarsa() -> None:
    one, other = tables_after(500, ("sarsa", {}), ("n-step-sarsa", {"return_steps": 1}))
    assert one == other


def test_an_update_waits_for_n_rewards_and_the_next_action() -> None:
    agent, _ = make("n-step-sarsa", random_mdp(), return_steps=2, step_size=0.5, discount=0.9)
    state = agent.state_dict()
    state["q"][:, 4] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    for step in (transition(0, 2, 1.0, 3), transition(3, 1, 10.0, 4)):
        assert np.isnan(agent.learn(step)["td_error"]).all()
    metrics = agent.learn(transition(4, 1, 0.0, 0))
    # 0 + 0.5 (1 + 0.9 * 10 + 0.81 * 5) = 7.025
    np.testing.assert_allclose(agent.state_dict()["q"][:, 0, 2], 7.025, rtol=1e-14)
    np.testing.assert_allclose(metrics["td_error"], 14.05, rtol=1e-14)
    assert (agent.state_dict()["q"][:, 3] == 0.0).all()
    agent.learn(transition(0, 0, 2.0, 1, terminated=True))
    # Without a bootstrap: 5 + 0.5 (0 + 0.9 * 2 - 5) and 0.5 * 2, after 0.5 (10 + 0.81 * 0).
    after = agent.state_dict()["q"]
    np.testing.assert_allclose(after[:, 4, 1], 3.4, rtol=1e-14)
    np.testing.assert_allclose(after[:, 0, 0], 1.0, rtol=1e-14)
    np.testing.assert_allclose(after[:, 3, 1], 5.0, rtol=1e-14)


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (True, True), (False, True)])
def test_a_truncation_bootstraps_all_waiting_steps_and_a_termination_none(
    terminated: bool, truncated: bool
) -> None:
    agent, _ = make(
        "n-step-sarsa",
        random_mdp(),
        return_steps=5,
        step_size=1.0,
        discount=0.5,
        epsilon_start=0.3,
        epsilon_end=0.3,
    )
    state = agent.state_dict()
    state["q"][:, 4] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    agent.learn(transition(0, 0, 1.0, 1))
    agent.learn(transition(1, 1, 1.0, 2))
    agent.learn(transition(2, 2, 1.0, 4, terminated, truncated))
    after = 0.0 if terminated else 0.7 * 7.0 + 0.3 * 5.0
    q = agent.state_dict()["q"]
    np.testing.assert_allclose(q[:, 2, 2], 1.0 + 0.5 * after, rtol=1e-14)
    np.testing.assert_allclose(q[:, 1, 1], 1.5 + 0.25 * after, rtol=1e-14)
    np.testing.assert_allclose(q[:, 0, 0], 1.75 + 0.125 * after, rtol=1e-14)
    assert (agent.state_dict()["num_waiting"] == 0).all()


@pytest.mark.parametrize("return_steps", [1, 3, 100])
def test_an_episode_moves_the_last_n_steps_of_a_chain(return_steps: int) -> None:
    agent, env = make(
        "n-step-sarsa", chain(6), return_steps=return_steps, step_size=0.5, discount=0.9
    )
    for _ in interact(agent, env, 6, obs=env.obs):
        pass
    expected = np.where(np.arange(6) >= 6 - return_steps, 0.5 * 0.9 ** np.arange(5, -1, -1), 0.0)
    np.testing.assert_allclose(agent.state_dict()["q"][0, :, 0], expected, rtol=1e-14)


@pytest.mark.long
@pytest.mark.parametrize("return_steps", [3, 8])
def test_the_table_of_a_random_policy_converges_to_its_exact_values(return_steps: int) -> None:
    mdp = random_mdp(time_limit=50)
    agent, env = make(
        "n-step-sarsa",
        mdp,
        num_seeds=10,
        num_envs=4,
        discount=0.8,
        step_size_power=0.8,
        epsilon_end=1.0,
        return_steps=return_steps,
    )
    exact = policy_q(mdp, np.full((5, 3), 1 / 3), 0.8)
    errors = errors_on_the_way(agent, env, exact)
    # As for Sarsa, whose test has the arithmetic, with up to 1 / sqrt(1 - 0.64) of its noise.
    assert errors[2] < 0.3
    assert errors[0] / errors[1] > 1.5
    assert errors[1] / errors[2] > 1.5
