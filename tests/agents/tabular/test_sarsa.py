"""Tabular Sarsa and expected Sarsa, with and without traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.loop import interact
from rlkit.tabular.returns import policy_value
from tests.agents.tabular import textbook
from tests.agents.tabular.worlds import (
    chain,
    errors_on_the_way,
    largest_difference,
    make,
    policy_q,
    random_mdp,
    soft_optimal_q,
    tables_after,
    transition,
)

VARIANTS: list[dict[str, Any]] = [
    {"epsilon_steps": 200, "initial_value": 2.0},
    {"step_size": 0.3, "discount": 0.9, "trace_decay": 0.8},
    {"trace_decay": 1.0, "step_size": 0.1, "traces": "accumulating"},
    {"exploration": "boltzmann", "temperature_end": 0.1, "temperature_steps": 300},
    {"step_size": 0.5, "step_size_end": 0.1, "step_size_steps": 300, "trace_decay": 0.5},
]


BOTH = {"sarsa": textbook.Sarsa, "expected-sarsa": textbook.ExpectedSarsa}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_table_is_that_of_the_textbook_at_every_step(
    name: str, options: dict[str, Any], num_envs: int
) -> None:
    difference = largest_difference(name, BOTH[name], random_mdp(), 400, num_envs, **options)
    assert difference < 1e-11  # sums of some hundred terms in another order


def test_an_update_waits_for_the_next_action() -> None:
    agent, _ = make("sarsa", random_mdp(), step_size=0.5, discount=0.9)
    state = agent.state_dict()
    state["q"][:, 1] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    metrics = agent.learn(transition(0, 2, 1.0, 1))
    assert np.isnan(metrics["td_error"]).all()
    assert (agent.state_dict()["q"][:, 0] == 0.0).all()
    metrics = agent.learn(transition(1, 1, 0.0, 0))
    # 0 + 0.5 (1 + 0.9 * 5 - 0) = 2.75
    assert (agent.state_dict()["q"][:, 0] == [0.0, 0.0, 2.75]).all()
    assert (metrics["td_error"] == 5.5).all()


@pytest.mark.parametrize(
    ("terminated", "truncated", "target"),
    # After a truncation 1 + 0.9 (0.7 max + 0.3 mean) of 3, 5, 7.
    [(True, False, 1.0), (True, True, 1.0), (False, True, 1.0 + 0.9 * (0.7 * 7.0 + 0.3 * 5.0))],
)
def test_the_last_step_of_an_episode_does_not_wait(
    terminated: bool, truncated: bool, target: float
) -> None:
    agent, _ = make("sarsa", random_mdp(), step_size=1.0, discount=0.9, epsilon_start=0.3)
    state = agent.state_dict()
    state["q"][:, 1] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    agent.learn(transition(0, 2, 1.0, 1, terminated, truncated))
    np.testing.assert_allclose(agent.state_dict()["q"][:, 0, 2], target, rtol=1e-14)
    before = agent.state_dict()["q"]
    agent.learn(transition(1, 1, 9.0, 0))  # of the next episode: nothing waited for it
    assert (agent.state_dict()["q"] == before).all()


def test_a_nan_in_the_value_of_a_terminal_state_does_not_spread() -> None:
    agent, _ = make("sarsa", random_mdp(), step_size=1.0)
    state = agent.state_dict()
    state["q"][:, 1] = np.nan
    agent.load_state_dict(state)
    agent.learn(transition(0, 2, 1.0, 1, terminated=True))
    assert (agent.state_dict()["q"][:, 0, 2] == 1.0).all()


def test_with_lambda_1_the_first_episode_gives_every_step_its_return() -> None:
    agent, env = make("sarsa", chain(6), trace_decay=1.0, step_size=0.5, discount=0.9)
    for _ in interact(agent, env, 6, obs=env.obs):
        pass
    expected = 0.5 * 0.9 ** np.arange(5, -1, -1)
    np.testing.assert_allclose(agent.state_dict()["q"][0, :, 0], expected, rtol=1e-14)


def test_the_first_episode_moves_every_step_towards_its_lambda_return() -> None:
    """Where no state comes twice, the forward view is exact (Sutton and Barto 2018, 12.1)."""
    decay, gamma, alpha, initial = 0.7, 0.9, 0.4, 2.0
    agent, env = make(
        "sarsa", chain(6), trace_decay=decay, step_size=alpha, discount=gamma, initial_value=initial
    )
    for _ in interact(agent, env, 6, obs=env.obs):
        pass
    rewards = [0.0] * 5 + [1.0]

    def n_step_return(t: int, n: int) -> float:
        end = min(t + n, 6)
        total = sum(gamma ** (k - t) * rewards[k] for k in range(t, end))
        return total + (gamma**n * initial if t + n < 6 else 0.0)

    for t in range(6):
        left = 6 - t
        weights = [(1 - decay) * decay ** (n - 1) for n in range(1, left)] + [decay ** (left - 1)]
        lambda_return = sum(w * n_step_return(t, n) for n, w in enumerate(weights, start=1))
        moved = initial + alpha * (lambda_return - initial)
        np.testing.assert_allclose(agent.state_dict()["q"][:, t, 0], moved, rtol=1e-13)


@pytest.mark.long
@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_the_table_converges_to_the_values_of_the_exploring_policy(trace_decay: float) -> None:
    mdp = random_mdp(time_limit=50)
    options = {"discount": 0.8, "epsilon_start": 0.4, "epsilon_end": 0.4}
    agent, env = make(
        "sarsa",
        mdp,
        num_seeds=10,
        num_envs=4,
        step_size_power=0.8,
        trace_decay=trace_decay,
        **options,
    )
    exact = soft_optimal_q(mdp, 0.8, 0.4)
    errors = errors_on_the_way(agent, env, exact)
    # alpha = n^-0.8 leaves noise of sqrt(alpha / 2) standard deviations of a target, about 1.2:
    # 0.05 after the 1500 visits of the rarest pair, and twice that for the largest of 15.
    assert errors[2] < 0.2
    assert errors[0] / errors[1] > 1.5
    assert errors[1] / errors[2] > 1.5


# --- expected Sarsa ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminated", "truncated", "target"),
    # 1 + 0.9 (0.7 max + 0.3 mean) of 3, 5, 7.
    [(False, False, 6.76), (False, True, 6.76), (True, False, 1.0), (True, True, 1.0)],
)
def test_the_target_is_the_mean_over_the_next_action_unless_the_episode_terminated(
    terminated: bool, truncated: bool, target: float
) -> None:
    agent, _ = make("expected-sarsa", random_mdp(), step_size=1.0, discount=0.9, epsilon_start=0.3)
    state = agent.state_dict()
    state["q"][:, 1] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    agent.learn(transition(0, 2, 1.0, 1, terminated, truncated))
    np.testing.assert_allclose(agent.state_dict()["q"][:, 0, 2], target, rtol=1e-14)


def test_boltzmann_exploration_weighs_the_next_actions_by_their_exponentials() -> None:
    agent, _ = make(
        "expected-sarsa",
        random_mdp(),
        step_size=1.0,
        discount=1.0,
        exploration="boltzmann",
        temperature_start=2.0,
    )
    state = agent.state_dict()
    state["q"][:, 1] = np.log([1.0, 4.0, 9.0])  # weights 1, 2, 3 at tau = 2
    agent.load_state_dict(state)
    agent.learn(transition(0, 2, 0.0, 1))
    expected = (2 * np.log(4.0) + 3 * np.log(9.0)) / 6
    np.testing.assert_allclose(agent.state_dict()["q"][:, 0, 2], expected, rtol=1e-14)


def test_without_exploration_it_is_q_learning() -> None:
    options = {"epsilon_start": 0.0, "epsilon_end": 0.0, "initial_value": 3.0}
    one, other = tables_after(500, ("expected-sarsa", options), ("q-learning", options))
    assert one == other


@pytest.mark.long
@pytest.mark.parametrize("trace_decay", [0.0, pytest.param(0.7, marks=pytest.mark.torture)])
def test_the_table_of_a_random_policy_converges_to_its_exact_values(trace_decay: float) -> None:
    mdp = random_mdp(time_limit=50)
    agent, env = make(
        "expected-sarsa",
        mdp,
        num_seeds=10,
        num_envs=4,
        discount=0.8,
        step_size_power=0.8,
        epsilon_end=1.0,
        trace_decay=trace_decay,
    )
    exact = policy_q(mdp, np.full((5, 3), 1 / 3), 0.8)
    values = policy_value(mdp, np.full((5, 3), 1 / 3), discount=0.8)
    np.testing.assert_allclose(exact.mean(axis=1), values, atol=1e-9)
    errors = errors_on_the_way(agent, env, exact)
    # As for Sarsa above.
    assert errors[2] < 0.2
    assert errors[0] / errors[1] > 1.5
    assert errors[1] / errors[2] > 1.5
