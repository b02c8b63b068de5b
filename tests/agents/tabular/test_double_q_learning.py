"""Tabular double Q-learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.agent import Transition
from rlkit.loop import interact
from rlkit.tabular.mdp import TabularMDP
from tests.agents.tabular import textbook
from tests.agents.tabular.worlds import (
    errors_on_the_way,
    largest_difference,
    make,
    optimal_q,
    random_mdp,
    transition,
)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"epsilon_steps": 200, "initial_value": 2.0},
        {"step_size": 0.3, "discount": 0.9},
        {"exploration": "boltzmann", "temperature_end": 0.1, "temperature_steps": 300},
        {"step_size": 0.5, "step_size_end": 0.1, "step_size_steps": 300},
    ],
    ids=str,
)
def test_the_mean_of_the_tables_is_that_of_the_textbook_at_every_step(
    options: dict[str, Any], num_envs: int
) -> None:
    difference = largest_difference(
        "double-q-learning", textbook.DoubleQLearning, random_mdp(), 400, num_envs, **options
    )
    assert difference < 1e-11  # sums of some hundred terms in another order


@pytest.mark.parametrize("chosen", [0, 1])
@pytest.mark.parametrize(
    ("terminated", "truncated", "targets"),
    # One table's best action is 1 or 0, and the other gives it 7 or 4: 1 + 0.9 times that.
    [(False, False, (7.3, 4.6)), (False, True, (7.3, 4.6)), (True, False, (1.0, 1.0))],
)
def test_one_table_chooses_the_action_and_the_other_its_value(
    chosen: int, terminated: bool, truncated: bool, targets: tuple[float, float]
) -> None:
    agent, _ = make("double-q-learning", random_mdp(), step_size=1.0, discount=0.9)
    state = agent.state_dict()
    state["q"][:, 0, 1], state["q"][:, 1, 1] = [4.0, 5.0, 3.0], [9.0, 7.0, 2.0]
    agent.load_state_dict(state)
    agent._entries["_coins"][...] = 0.5 * chosen + 0.25
    agent.learn(transition(0, 2, 1.0, 1, terminated, truncated))
    after = agent.state_dict()
    np.testing.assert_allclose(after["q"][:, chosen, 0, 2], targets[chosen], rtol=1e-14)
    assert (after["q"][:, 1 - chosen, 0] == 0.0).all()
    assert (after["visits"][:, :, 0, 2] == np.eye(2)[chosen]).all()
    table = agent.actor().action_values(np.zeros((2, 1), dtype=int))
    np.testing.assert_allclose(table[:, 0, 2], targets[chosen] / 2, rtol=1e-14)


def test_both_tables_are_updated_equally_often() -> None:
    agent, env = make("double-q-learning", random_mdp(), num_envs=4)
    for _ in interact(agent, env, 2500, obs=env.obs):
        pass
    first, second = agent.state_dict()["visits"].sum(axis=(2, 3)).T
    assert (first + second == 10_000).all()
    assert (np.abs(first - second) < 500).all()  # 5 standard deviations


def test_the_mean_of_the_tables_is_made_anew_after_a_load() -> None:
    agent, env = make("double-q-learning", random_mdp())
    for _ in interact(agent, env, 100, obs=env.obs):
        pass
    other, _ = make("double-q-learning", random_mdp(), initial_value=9.0)
    other.load_state_dict(agent.state_dict())
    obs = np.tile(np.arange(5), (2, 1))
    assert (other.actor().action_values(obs) == agent.actor().action_values(obs)).all()


def biased() -> TabularMDP:
    """Example 6.7: right ends with 0; left leads to ten arms of mean -0.1 and deviation 1."""
    stay = [(1.0, 0, 0.0, True)]
    left = [(1.0, 1, 0.0, False)]
    arm = [(0.5, 0, 0.9, True), (0.5, 0, -1.1, True)]
    table = [[stay, left, *[stay] * 8], [arm] * 10]
    return TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0], time_limit=None)


def share_of_left(name: str) -> Any:
    """Return how often the first 300 choices between the two went left, of 200 seeds."""
    agent, env = make(
        name,
        biased(),
        num_seeds=200,
        discount=1.0,
        step_size=0.1,
        epsilon_start=0.1,
        epsilon_end=0.1,
    )
    lefts, choices = np.zeros(200), np.zeros(200)
    for step, _ in interact(agent, env, 400, obs=env.obs):
        assert isinstance(step, Transition)
        choosing = (step.obs[:, 0] == 0) & (choices < 200)
        choices += choosing
        lefts += choosing & (step.action[:, 0] == 1)
    return lefts / choices


@pytest.mark.torture
def test_q_learning_is_drawn_to_noise_that_double_q_learning_is_not_mistaken_about() -> None:
    ordinary, double = share_of_left("q-learning"), share_of_left("double-q-learning")
    # At its optimum an agent goes left in 1 of 10 of the exploring choices, 0.01. The figure of the
    # book has both fall from above; Q-learning stays far longer at arms that were lucky.
    difference = ordinary - double
    error = difference.std() / np.sqrt(200)
    assert difference.mean() > 5 * error
    assert ordinary.mean() > 2 * double.mean()


@pytest.mark.long
def test_both_tables_converge_to_the_optimal_values() -> None:
    mdp = random_mdp(time_limit=50)
    agent, env = make(
        "double-q-learning",
        mdp,
        num_seeds=10,
        num_envs=4,
        discount=0.8,
        step_size_power=0.8,
        epsilon_end=1.0,
    )
    means = errors_on_the_way(agent, env, optimal_q(mdp, 0.8), at=(200, 2000, 20_000))
    # As for Sarsa, of 30 values, with 5000 visits of each pair in all.
    assert means[2] < 0.25
    assert means[0] / means[1] > 1.5
    assert means[1] / means[2] > 1.5
