"""When a run is said to have learned nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlkit.diagnosis.unlearned import learned_nothing

FLAT = [[-200.0, -200.0, -200.0]] * 2


def run_of(curve: Any, std: float = 0.0, **changes: Any) -> Any:
    curve = np.array(curve)
    given = {
        "agent": "ppo",
        "status": "finished",
        "measured": "eval_return",
        "curve": curve,
        "steps": np.linspace(0, 20_000, curve.shape[1]),
        "columns": [{"eval_std": np.full(curve.shape[1], std)} for _ in curve],
        "scores": curve[:, -1],
        "optimum": None,
        "record": {"evaluation_episodes": 16, "environment": "Mine-v0"},
    }
    return SimpleNamespace(**{**given, **changes})


def test_a_run_that_stays_where_it_began_names_the_doctor() -> None:
    sentence = learned_nothing(run_of(FLAT))
    assert sentence is not None
    assert "(the returns are at -200)" in sentence
    assert "`rlkit doctor Mine-v0`" in sentence


@pytest.mark.parametrize(
    ("curve", "std", "nothing"),
    [
        ([[20.0, 21.0, 22.0]] * 3, 12.0, True),  # within two standard errors of the difference
        ([[20.0, 21.0, 40.0]] * 3, 12.0, False),
        ([[20.0, 21.0, 22.0], [20.0, 21.0, 60.0]], 12.0, False),  # one seed learned
        ([[20.0, 60.0, 20.0]] * 3, 12.0, False),  # it learned and forgot
        ([[20.0, 10.0, 5.0]] * 3, 12.0, True),  # it became worse
        ([[0.1, 0.1, 0.2]] * 3, float("nan"), False),  # exact returns have no noise
        ([[0.1, 0.1, 0.1]] * 3, float("nan"), True),
    ],
)
def test_only_a_rise_beyond_noise_counts(curve: Any, std: float, nothing: bool) -> None:
    assert (learned_nothing(run_of(curve, std)) is not None) is nothing


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "random"},
        {"agent": "value-iteration"},
        {"status": "stopped"},
        {"measured": "train_return"},
        {"optimum": -200.0},  # it was optimal from the start
        {"steps": np.array([0, 100, 200])},
        {"steps": np.array([100, 10_000, 20_000])},  # the first row is not before training
        {"record": {"evaluation_episodes": 16, "environment": "Acrobot-v1"}, "scores": np.zeros(2)},
    ],
)
def test_it_is_not_said_without_reason(changes: dict[str, Any]) -> None:
    assert learned_nothing(run_of(FLAT, **changes)) is None


def test_an_optimum_that_is_not_reached_does_not_excuse() -> None:
    assert learned_nothing(run_of(FLAT, optimum=-100.0)) is not None


def test_a_seed_that_failed_says_nothing() -> None:
    assert learned_nothing(run_of([[1.0, 1.0, 1.0], [1.0, np.nan, np.nan]])) is None
