"""PSRL: one model per episode, its plan, and what it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.agent import Task, Transition
from rlkit.agents.tabular import psrl
from rlkit.agents.tabular.psrl import PSRL, PSRLConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.evaluation import exact_returns
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.returns import best_return_under_limit

STREAMS = tuple(SeedStreams(0, index) for index in range(3))


def river(length: int = 6) -> TabularMDP:
    """RiverSwim (Strehl and Littman 2008): a small reward downstream, a large one far upstream."""
    rows: Any = []
    for s in range(length):
        left = [(1.0, max(s - 1, 0), 0.005 if s == 0 else 0.0, False)]
        last = s == length - 1
        right = [
            (0.35 if not last else 0.6, min(s + 1, length - 1), float(last), False),
            (0.6 if not last else 0.4, s, 0.0, False) if not last else (0.4, s - 1, 0.0, False),
        ]
        right += [] if last else [(0.05, max(s - 1, 0), 0.0, False)]
        rows.append([left, right])
    start = np.eye(length)[0]
    return TabularMDP.from_successors(rows, initial_distribution=start, time_limit=20)


def made(mdp: TabularMDP, num_envs: int = 1, **options: Any) -> tuple[PSRL, TabularBatchEnv]:
    env = TabularBatchEnv(mdp, STREAMS, num_envs)
    task = Task(env.observation_space, env.action_space, STREAMS, num_envs, 5000)
    return PSRL(task, PSRLConfig(**options)), env


def test_the_model_is_kept_during_an_episode_and_drawn_anew_where_one_ends() -> None:
    agent, env = made(river(), num_envs=2)
    before = agent.state_dict()["q"]
    for t, (transition, metrics) in enumerate(interact(agent, env, 45), start=1):
        after = agent.state_dict()["q"]
        ended = transition.terminated | transition.truncated
        assert ended.any() == (t % 20 == 0)
        for s, n in np.ndindex(ended.shape):
            assert (after[s, n] == before[s, n]).all() != ended[s, n]
        assert bool(metrics) == ended.any()
        before = after
    assert not (after[0, 0] == after[0, 1]).all()  # each environment has a draw of its own
    assert not (after[0, 0] == after[1, 0]).all()


def test_a_model_is_replaced_within_a_long_episode() -> None:
    agent, env = made(river(), model_steps=7)
    before, changes = agent.state_dict()["q"], []
    for _ in interact(agent, env, 45):
        after = agent.state_dict()["q"]
        changes.append(bool((after != before).any()))
        before = after
    # At the ends of episodes, after 20 and 40 steps, the seven steps begin anew.
    assert [t for t, changed in enumerate(changes, start=1) if changed] == [7, 14, 20, 27, 34, 40]


def test_it_follows_the_optimal_policy_of_the_model_that_it_drew() -> None:
    agent, env = made(river())
    obs = env.reset()
    q = agent.state_dict()["q"]
    assert agent.act(obs).tolist() == q[np.arange(3), 0, obs[:, 0]].argmax(-1)[:, None].tolist()
    # The draw repeated: the stream of actions, and a plan by value iteration.
    belief = agent.posterior(1)
    transition, reward = belief.sample(STREAMS[1].generator("action"))
    values = np.zeros(6)
    for _ in range(4000):
        values = (reward + 0.99 * transition[..., :6] @ values).max(axis=-1)
    np.testing.assert_allclose(q[1, 0].max(axis=-1), values, atol=1e-9)


def step(obs: int, action: int, reward: float, next_obs: int, **flags: bool) -> Transition:
    def array(x: Any) -> Any:
        return np.full((3, 1), x)

    ends = [array(flags.get(name, False)) for name in ("terminated", "truncated")]
    return Transition(
        array(obs), array(action), array(reward), *ends, array(next_obs), array(next_obs)
    )


def test_a_termination_is_an_outcome_and_a_truncation_is_none() -> None:
    agent, _ = made(river())
    agent.learn(step(2, 1, 0.5, 3, terminated=True))
    agent.learn(step(2, 1, 0.25, 3, truncated=True))
    agent.learn(step(2, 1, 0.0, 3))
    counts = agent.state_dict()["counts"]
    assert (counts[:, 2, 1] == [0, 0, 0, 2, 0, 0, 1]).all()
    assert counts.sum() == 9
    np.testing.assert_array_equal(
        agent.state_dict()["reward_sums"][:, :, 2, 1], [[0.75, 0.3125]] * 3
    )


def test_the_evaluated_policy_is_optimal_in_the_mean_of_the_posterior() -> None:
    agent, env = made(river())
    for _ in interact(agent, env, 200):
        pass
    state = agent.state_dict()
    actor = agent.actor()
    for s in range(3):
        weights = state["counts"][s] + 1 / 7
        probability = weights / weights.sum(axis=-1, keepdims=True)
        reward = state["reward_sums"][s, 0] / (1 + state["counts"][s].sum(axis=-1))
        values = np.zeros(6)
        for _ in range(4000):
            values = (reward + 0.99 * probability[..., :6] @ values).max(axis=-1)
        own = actor.value(np.tile(np.arange(6), (3, 1)))[s]
        np.testing.assert_allclose(own, values, atol=1e-9)


def test_it_swims_upstream_where_greed_stays() -> None:
    mdp = river()
    agent, env = made(mdp)
    for _ in interact(agent, env, 3000):
        pass
    exact = exact_returns(agent.actor(), mdp, 3)
    assert exact is not None
    best = best_return_under_limit(mdp)
    assert (exact.returns >= 0.95 * best).all()
    # The small reward, every step.
    assert best > 5 * 20 * 0.005


def test_discounts_of_1_and_priors_without_weight_are_rejected() -> None:
    for options in ({"discount": 1.0}, {"prior_count": 0.0}, {"reward_scale": 0.0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            PSRLConfig(**options)


def test_counts_that_do_not_fit_into_memory_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(spaces.Discrete(6), spaces.Discrete(2), STREAMS, 1, 100)
    PSRL(task, PSRLConfig())
    monkeypatch.setattr(psrl, "available_bytes", lambda: 10**9)
    huge = replace(task, observation_space=spaces.Discrete(10_000))
    with pytest.raises(UsageError, match=r"10,000 states and 2 actions need about 8 GB .* 1 GB"):
        PSRL(huge, PSRLConfig())


@pytest.mark.long
def test_it_learns_frozen_lake_within_a_few_thousand_steps(tmp_path: Any) -> None:
    run = rlkit.train("psrl", "FrozenLake-v1", seeds=4, steps=20_000, out=tmp_path)
    assert run.optimum is not None
    assert (run.scores >= 0.99 * run.optimum).all()
