"""A short training says whether there is something to learn."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.diagnosis import learnability
from rlkit.diagnosis.advice import Plan
from rlkit.diagnosis.learnability import SEEDS, Learnability, _is_better, try_learning
from rlkit.environments.resolve import locate


class Corridor(gym.Env[Any, Any]):
    """Five places; action 1 leads to the end, which pays.

    Or chance pays, or nothing, and no action helps, or it raises in training.
    """

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def __init__(self, pays: str = "end") -> None:
        self.pays = pays

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = self.t = 0
        self.in_training = (seed or 0) > 1_000_000  # seeds of the doctor are small
        return 0, {}

    def step(self, action: Any) -> Any:
        self.at, self.t = max(0, self.at + 2 * int(action) - 1), self.t + 1
        if self.pays == "raise" and self.in_training:
            raise ValueError("out of the corridor")
        at_end = self.at == 4
        over = at_end if self.pays == "end" else self.t == 8
        reward = float(at_end) if self.pays == "end" else 0.0
        if self.pays == "noise":
            reward = float(self.np_random.normal())
        return min(self.at, 4), reward, over, self.t >= 12, {}


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnability, "_MOST_EPISODES", 100)


def train(pays: str, seconds: float = 30.0) -> Learnability:
    environment = locate(Corridor, {"pays": pays})
    plan = Plan("q-learning", {"steps": 2000})  # so that the time does not matter
    return try_learning(environment, plan, {}, seconds=seconds, timeout=5)


def test_what_can_be_learned_is_learned_without_a_file(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = train("end")
    assert result.learned is True
    assert len(result.returns) == SEEDS
    assert result.random_return is not None
    assert min(result.returns) == 1.0 > result.random_return  # the greedy policy reaches the end
    assert "It learns" in result.summary
    assert os.listdir(tmp_path) == []


def test_rewards_that_nothing_changes_are_not_learned() -> None:
    result = train("noise")
    assert result.learned is False
    assert "Not better by more than noise" in result.summary


def test_a_fault_in_training_is_reported() -> None:
    result = train("raise")
    assert result.learned is None
    assert "out of the corridor" in result.problem


def test_a_difference_counts_from_three_or_four_standard_errors() -> None:
    rng = np.random.default_rng(0)
    floor, noise = rng.normal(size=(3, 400)), rng.normal(size=(3, 400))
    error = 1 / 20  # of a mean of 400 episodes
    assert not _is_better(noise, floor)
    assert not _is_better(noise + error, floor)
    assert _is_better(noise + 5 * error, floor)
    exact = np.array([[0.5], [0.5], [0.7]])
    assert _is_better(exact, np.full((3, 1), 0.4))
    assert not _is_better(exact, np.full((3, 1), 0.5))  # one seed of three
    assert not _is_better(exact - 0.3, np.full((3, 1), 0.5))


def test_random_actions_are_hardly_ever_better_than_random_actions() -> None:
    rng = np.random.default_rng(1)
    draws = rng.exponential(size=(2000, 2, 3, 60))
    assert sum(_is_better(*pair) for pair in draws) <= 10


def test_too_short_a_time_is_said_at_once() -> None:
    facts = {"episode_length": 100.0, "step_seconds": 0.05}
    result = try_learning(locate(Corridor), Plan("ppo"), facts, seconds=20.0, timeout=5)
    assert (result.learned, result.steps) == (None, 0)
    assert "--seconds 200 are needed" in result.summary


def test_an_agent_that_made_no_update_has_not_learned() -> None:
    plan = Plan("reinforce", {"steps": 50}, {"episodes_per_update": 64})
    result = try_learning(locate(Corridor), plan, {}, seconds=30.0, timeout=5)
    assert result.learned is None
    assert "no update in 50 steps" in result.summary


def test_equal_returns_are_not_compared() -> None:
    result = train("nothing")
    assert result.learned is None
    assert "the same return" in result.summary
