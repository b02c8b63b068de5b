"""Scales put random play at 0 and the best that is known at 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rlkit.environments.resolve import find_environment
from rlkit.training.comparing.metrics import FINAL, Metric
from rlkit.training.comparing.scales import Scale, scale_of
from tests.probe_envs import Probe

NAN = float("nan")


@dataclass
class Result:
    """What a scale reads of a run."""

    scores: Any
    references: Any = ()
    agent: str = "ppo"
    num_env_steps: int = 1000
    environment: Any = None
    record: Any = field(init=False)

    def __post_init__(self) -> None:
        self.record = {"agent": self.agent}
        self.scores = np.array(self.scores, dtype=float)


def scale(*runs: Any, metric: Metric = FINAL) -> Scale:
    return scale_of({str(k): run for k, run in enumerate(runs)}, metric)


LINES = [("optimum", 10.0), ("random", 2.0), ("solved", 9.0)]


@pytest.mark.parametrize(
    ("lines", "scores", "expected"),
    [
        (LINES, [3, 12], (2, 10, "optimum")),
        (LINES[1:], [3, 4], (2, 9, "solved")),
        (LINES[1:], [3, 11, NAN], (2, 11, "best seed")),
        (LINES[1:2], [3, 4], (2, 4, "best seed")),
        (LINES[1:2], [1, 2], (2, 4, "random play")),
        (LINES[1:2], [NAN], (2, 4, "random play")),
        ([("optimum", 2.0), ("random", 2.0)], [2, 2], (2, 4, "random play")),
    ],
)
def test_the_best_is_the_optimum_or_what_is_known(
    lines: Any, scores: Any, expected: tuple[float, float, str]
) -> None:
    assert scale(Result(scores, lines)) == Scale(*expected)
    assert scale(Result(scores, lines), Result([NAN])) == Scale(*expected)


def test_scores_are_normalised_on_it() -> None:
    normal = Scale(2.0, 10.0, "optimum").normalise(np.array([2.0, 6.0, 10.0, 12.0, NAN]))
    np.testing.assert_array_equal(normal, [0, 0.5, 1, 1.25, NAN])


def test_steps_are_put_between_the_budget_and_none() -> None:
    steps = scale(Result([3], LINES), metric=Metric("steps-to", 5.0))
    assert steps.normalise(np.array([0.0, 250.0, 1000.0])).tolist() == [1.0, 0.75, 0.0]


def test_random_play_is_that_of_a_contender_or_of_some_episodes() -> None:
    environment = find_environment(Probe)
    runs = Result([5, 7], environment=environment), Result([1, 3], agent="random")
    assert scale(*runs) == Scale(2.0, 7.0, "best seed")
    played = scale(runs[0])
    assert np.isfinite(played.random)
    assert played == scale(runs[0])
