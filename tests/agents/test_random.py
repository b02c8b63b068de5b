"""The agent that acts at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from scipy import stats

from rlkit.agent import Task
from rlkit.agents.random import Random, RandomChoice, RandomConfig
from rlkit.seeding import SeedStreams

STREAMS = tuple(SeedStreams(0, index) for index in range(3))


def actions(space: spaces.Space[Any], num_steps: int = 1000, num_envs: int = 2) -> Any:
    task = Task(spaces.Discrete(2), space, STREAMS, num_envs, 10**6)
    agent = Random(task, RandomConfig())
    obs = np.zeros((3, num_envs), dtype=int)
    return np.stack([agent.act(obs) for _ in range(num_steps)])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_discrete_actions_are_uniform_from_0(n: int) -> None:
    counts = np.bincount(actions(spaces.Discrete(n, start=-1)).ravel(), minlength=n)
    assert counts.size == n
    assert n == 1 or stats.chisquare(counts).pvalue > 1e-3  # fixed seeds


def test_actions_in_a_bounded_box_are_uniform_in_each_entry() -> None:
    low, high = np.array([-2.0, 3.0], np.float32), np.array([-1.0, 7.0], np.float32)
    drawn = actions(spaces.Box(low, high, dtype=np.float32)).reshape(-1, 2)
    for entry in range(2):
        uniform = stats.uniform(low[entry], high[entry] - low[entry])
        assert stats.kstest(drawn[:, entry], uniform.cdf).pvalue > 1e-3  # fixed seeds
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5 / np.sqrt(len(drawn))


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.int8, -128, 127),
        (np.int32, -(2**31), 2**31 - 1),
        (np.float32, -np.finfo(np.float32).max, np.finfo(np.float32).max),
    ],
)
def test_a_range_that_the_type_of_a_box_cannot_hold_is_covered_evenly(
    dtype: Any, low: Any, high: Any
) -> None:
    choose = RandomChoice(spaces.Box(low, high, (1,), dtype))
    noise = np.array([0.0, 0.25, 0.5, 0.75])
    expected = float(low) * (1 - noise) + float(high) * noise
    drawn = choose(noise[:, None, None], None).ravel()
    assert np.allclose(drawn, expected, rtol=1e-6, atol=1e-6 * float(high))


def test_actions_in_an_unbounded_box_are_normal() -> None:
    drawn = actions(spaces.Box(-np.inf, np.inf, (2, 1), np.float32))
    assert drawn.shape == (1000, 3, 2, 2, 1)
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3  # fixed seeds


@pytest.mark.trap("T21")
def test_seeds_and_environments_act_differently() -> None:
    drawn = actions(spaces.Box(0.0, 1.0, (), np.float32), 10).reshape(10, 6)
    assert len({drawn[:, k].tobytes() for k in range(6)}) == 6


def test_learning_does_nothing_and_the_greedy_actor_is_random_too() -> None:
    task = Task(spaces.Discrete(2), spaces.Discrete(3), STREAMS, 2, 10**6)
    agent = Random(task, RandomConfig())
    assert agent.learn(None) == {}  # type: ignore[arg-type]
    probabilities = agent.actor(greedy=True).probabilities(np.zeros((3, 5), dtype=int))
    assert (probabilities == 1 / 3).all()
    assert probabilities.shape == (3, 5, 3)
