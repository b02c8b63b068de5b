"""Monte-Carlo control on a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.agents.tabular.learning import learner
from rlkit.agents.tabular.monte_carlo import MonteCarlo, MonteCarloConfig
from rlkit.loop import interact
from tests.agents.tabular import textbook
from tests.agents.tabular.worlds import (
    chain,
    errors_on_the_way,
    largest_difference,
    make,
    policy_q,
    random_mdp,
    transition,
)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("visit", ["first", "every"])
@pytest.mark.parametrize(
    "options",
    [
        {"epsilon_steps": 200, "initial_value": 2.0, "step_size_power": 1.0},
        {"step_size": 0.3, "discount": 0.9},
        {"exploration": "boltzmann", "temperature_end": 0.1, "temperature_steps": 300},
    ],
    ids=str,
)
def test_the_table_is_that_of_the_textbook_at_every_step(
    options: dict[str, Any], visit: str, num_envs: int
) -> None:
    options = {**options, "visit": visit}
    difference = largest_difference(
        "monte-carlo", textbook.MonteCarlo, random_mdp(), 700, num_envs, **options
    )
    assert difference < 1e-11  # sums of some hundred terms in another order


@pytest.mark.parametrize(
    ("visit", "values"),
    # Returns of the pair: 1 + 0.5 * 2 + 0.25 * 4 = 3 and 4, learned backwards.
    [("first", [3.0, 4.0]), ("every", [3.5, 4.0])],
)
def test_the_first_or_every_visit_of_a_pair_counts(visit: str, values: list[float]) -> None:
    agent, _ = make("monte-carlo", random_mdp(), visit=visit, step_size_power=1.0, discount=0.5)
    for step in (transition(0, 1, 1.0, 1), transition(1, 2, 2.0, 0)):
        metrics = agent.learn(step)
        assert np.isnan([metrics["td_error"], metrics["epsilon"]]).all()
        assert not agent.state_dict()["q"].any()
    agent.learn(transition(0, 1, 4.0, 3, terminated=True))
    q = agent.state_dict()["q"]
    assert (q[:, 0, 1] == values[0]).all()
    assert (q[:, 1, 2] == values[1]).all()
    assert (agent.state_dict()["visits"][:, 0, 1] == (1 if visit == "first" else 2)).all()


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (True, True), (False, True)])
def test_a_truncated_episode_continues_with_the_values_of_the_policy(
    terminated: bool, truncated: bool
) -> None:
    agent, _ = make(
        "monte-carlo", random_mdp(), step_size=1.0, discount=0.5, epsilon_start=0.3, epsilon_end=0.3
    )
    state = agent.state_dict()
    state["q"][:, 4] = [3.0, 5.0, 7.0]
    agent.load_state_dict(state)
    agent.learn(transition(0, 0, 1.0, 1))
    agent.learn(transition(1, 1, 1.0, 4, terminated, truncated))
    after = 0.0 if terminated else 0.7 * 7.0 + 0.3 * 5.0
    q = agent.state_dict()["q"]
    np.testing.assert_allclose(q[:, 1, 1], 1.0 + 0.5 * after, rtol=1e-14)
    np.testing.assert_allclose(q[:, 0, 0], 1.5 + 0.25 * after, rtol=1e-14)


def test_an_episode_teaches_every_step_of_a_chain_its_return() -> None:
    agent, env = make("monte-carlo", chain(300), step_size=0.5, discount=0.99)
    for _ in interact(agent, env, 300, obs=env.obs):  # longer than the states are made for
        pass
    expected = 0.5 * 0.99 ** np.arange(299, -1, -1)
    np.testing.assert_allclose(agent.state_dict()["q"][0, :, 0], expected, rtol=1e-13)


def test_the_running_episode_is_stored_as_long_as_it_is() -> None:
    agent, env = make("monte-carlo", chain(50), num_envs=2)
    for _ in interact(agent, env, 70, obs=env.obs):
        pass
    state = agent.state_dict()
    assert [array.shape for array in state["history_pairs"]] == [(2, 20)] * 2
    assert state["history_pairs"][0][0].tolist() == list(range(20))
    assert (state["num_history"] == 20).all()


def test_a_history_that_memory_does_not_suffice_for_takes_the_ordinary_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, _ = make("monte-carlo", random_mdp())
    assert agent.kernel_state(0, 1000) is not None
    monkeypatch.setattr(learner, "MOST_BYTES", 16 * 2 * 999)
    assert agent.kernel_state(0, 1000) is None
    assert agent.kernel_state(0, 999) is not None


def test_the_note_on_a_seed_without_an_update_names_the_end_of_an_episode() -> None:
    agent, _ = make("monte-carlo", random_mdp())
    text = MonteCarlo.why_no_update(agent._task, MonteCarloConfig())
    assert "an episode that ends" in text


@pytest.mark.long
@pytest.mark.parametrize("visit", ["first", "every"])
def test_the_means_of_a_random_policys_returns_are_its_exact_values(visit: str) -> None:
    mdp = random_mdp(time_limit=10_000)
    agent, env = make(
        "monte-carlo",
        mdp,
        num_seeds=10,
        num_envs=4,
        discount=0.8,
        step_size_power=1.0,
        epsilon_end=1.0,
        visit=visit,
    )
    exact = policy_q(mdp, np.full((5, 3), 1 / 3), 0.8)
    errors = errors_on_the_way(agent, env, exact)
    # The mean of 1500 returns of standard deviation 1.5 is within 0.04 of its expectation; twice
    # that for the largest of 15.
    assert errors[2] < 0.2
    assert errors[0] / errors[1] > 1.5
    assert errors[1] / errors[2] > 1.5


def test_the_preset_of_the_cliff_learns_the_safe_path(tmp_path: Path) -> None:
    run = rlkit.train("monte-carlo", "CliffWalking-v1", seeds=3, seed=1, out=tmp_path)
    assert run.scores.tolist() == [-17.0, -17.0, -17.0]
