"""Which ranges of actions a Gaussian policy can explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction

import rlkit
from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.agents.action_ranges import action_range_remarks
from rlkit.seeding import SeedStreams
from tests.agents.far_actions import Target, rescaled

STREAMS = (SeedStreams(0, 0),)
LEARNERS = ("ppo", "reinforce")


def box(low: Any, high: Any, dtype: Any = np.float32) -> spaces.Box:
    low, high = np.broadcast_arrays(np.asarray(low, dtype), np.asarray(high, dtype))
    return spaces.Box(np.atleast_1d(low), np.atleast_1d(high), dtype=dtype)


@pytest.mark.parametrize(
    "space",
    [
        box(-2, 2),  # Pendulum
        box(-1, 1),
        box([-1.0] * 4, 1),  # BipedalWalker
        box([-1, 0, 0], 1),  # CarRacing
        box([-0.4] * 17, 0.4),  # Humanoid
        box(-3, 3),  # InvertedPendulum
        box(7, 7),  # nothing to choose
        spaces.Discrete(1000),
        spaces.Tuple((box(-1, 1), spaces.Discrete(2))),
    ],
    ids=str,
)
def test_ranges_that_a_unit_gaussian_explores_are_not_remarked_on(space: Any) -> None:
    assert action_range_remarks("ppo", space) == []


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        (box(0, 100), ["Box(0.0, 100.0", "2 % of [0, 100]", "--rescale-actions"]),
        (box(-1000, 1000), ["0.2 % of [-1000, 1000]", "--rescale-actions"]),
        (
            box(-5e-4, 5e-4),
            ["100 % of them are clipped to [-0.0005, 0.0005]", "rescale_actions=True"],
        ),
        (box(3, 4), ["0 % of [3, 4]"]),
        (box(-9, -3), ["0 % of [-9, -3]"]),
        (box([-1, 0, -50], [1, 1, 50]), ["[-50, 50]", "1 of 3 dimensions"]),
        (box(0, 255, np.uint8), ["[0, 255]", "--rescale-actions"]),
        (spaces.Tuple((spaces.Discrete(2), box(0, 100))), ["Tuple(Discrete(2)", "[0, 100]"]),
        (box([-50.0] * 40 + [0.0] * 40, 50.0), ["a Box of shape (80,)", "80 of 80 dimensions"]),
    ],
    ids=str,
)
def test_other_ranges_are_named_with_what_to_do(space: Any, parts: list[str]) -> None:
    (remark,) = action_range_remarks("ppo", space)
    assert remark.startswith("ppo starts with actions of mean 0 and standard deviation 1")
    for part in parts:
        assert part in remark
    assert len(remark) < 400
    assert "\n" not in remark


@pytest.mark.parametrize(
    ("space", "part"),
    [
        (box(-np.inf, np.inf), "lacks a bound in its dimension"),
        (box(0, np.inf), "lacks a bound in its dimension"),
        (box(-3.4e38, 3.4e38), "lacks a bound"),  # said with the largest number
        (box(-1.7e308, 1.7e308, np.float64), "lacks a bound"),
        (box([-np.inf, -1, 0], [np.inf, 1, np.inf]), "lacks a bound in 2 of 3 dimensions"),
    ],
    ids=str,
)
def test_numbers_without_bounds_are_named(space: Any, part: str) -> None:
    (remark,) = action_range_remarks("ppo", space, 3.0)
    assert part in remark
    assert "ppo starts there with actions of mean 0 and standard deviation 3" in remark
    assert "--initial-std" in remark


def test_both_remarks_where_both_apply() -> None:
    far, unbounded = action_range_remarks("ppo", box([-np.inf, 0], [np.inf, 100]))
    assert "[0, 100]" in far
    assert "1 of 2 dimensions" in unbounded


def test_the_remark_depends_on_the_initial_standard_deviation() -> None:
    assert action_range_remarks("ppo", box(-100, 100), 50.0) == []
    (remark,) = action_range_remarks("ppo", box(-1, 1), 50.0)
    assert "standard deviation 50" in remark
    assert "are clipped to [-1, 1]" in remark


@pytest.mark.parametrize("name", LEARNERS)
def test_the_remark_goes_with_the_wrapper_that_it_names(name: str) -> None:
    kind = find_agent(name)

    def remarks(env: Any) -> list[str]:
        task = Task(env.observation_space, env.action_space, STREAMS[:1], 1, 100)
        listed: list[str] = kind.remarks(task, kind.Config())
        return listed

    for low, high in ((0, 100), (-1000, 1000), (-5e-4, 5e-4), (3, 4)):
        (remark,) = remarks(Target(low, high))
        assert name in remark
        assert remarks(RescaleAction(Target(low, high), np.float32(-1), np.float32(1))) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("low", "high"), [(-5e-4, 5e-4), pytest.param(-1000.0, 1000.0, marks=pytest.mark.slow)]
)
def test_ppo_learns_with_the_wrapper_what_it_does_not_without(
    low: float, high: float, tmp_path: Path
) -> None:
    options = {"rollout_length": 32, "learning_rate": 6e-3, "steps": 8192}
    options |= {"seeds": 1, "evaluate_every": 8192, "evaluation_episodes": 1, "out": tmp_path}
    env_args = {"low": low, "high": high, "target": 0.6}
    without = rlkit.train("ppo", Target, env_args=env_args, **options)
    wrapped = rlkit.train("ppo", rescaled, env_args=env_args, **options)
    # The middle of the range scores -0.04, its nearer end -0.64, the target 0.
    assert (without.scores < -0.015).all()
    assert (wrapped.scores > -0.004).all()
