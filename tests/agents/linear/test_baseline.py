"""The baseline that is fitted by least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit.agents.linear.baseline import RIDGE, LinearBaseline
from rlkit.errors import UsageError

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def batch(num: int, seed: int = 0) -> tuple[Any, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(num, 2)).astype(np.float32)
    return obs, torch.arange(num) % 17, torch.from_numpy(rng.normal(size=num).astype(np.float32))


def features(obs: Any, times: torch.Tensor) -> np.ndarray:
    """Duan et al.'s, written out."""
    x, t = np.clip(obs.astype(np.float64), -10, 10), times.numpy()[:, None] / 100.0
    return np.hstack([x, x**2, t, t**2, t**3, np.ones_like(t)])


def test_the_weights_are_those_of_ridge_regression() -> None:
    obs, times, returns = batch(80)
    baseline = LinearBaseline(BOX, 2)
    first = baseline.fit(1, obs, times, returns)
    assert first == pytest.approx(0.5 * float((returns**2).mean()), rel=1e-6)  # b = 0 at first
    matrix = features(obs, times)
    # Ridge regression is least squares with one more row for each weight.
    stacked = np.vstack([matrix, np.sqrt(RIDGE) * np.eye(8)])
    target = np.append(returns.numpy().astype(np.float64), np.zeros(8))
    expected, *_ = np.linalg.lstsq(stacked, target, rcond=None)
    np.testing.assert_allclose(baseline.weights[1].numpy(), expected, rtol=1e-6)
    assert not baseline.weights[0].any()
    later, at = batch(5, seed=1)[:2]
    np.testing.assert_allclose(
        baseline.values(1, later, at + 3).numpy(), features(later, at + 3) @ expected, rtol=1e-5
    )


def test_far_observations_are_clipped() -> None:
    baseline = LinearBaseline(BOX, 1)
    baseline.weights[0] = 1.0
    far, near = np.full((1, 2), 1e6, np.float32), np.full((1, 2), 10.0, np.float32)
    time = torch.zeros(1, dtype=torch.int64)
    assert baseline.values(0, far, time) == baseline.values(0, near, time) == 221.0


def test_a_discrete_observation_has_a_value_of_its_own() -> None:
    states, times = np.array([0, 0, 2, 2]), torch.tensor([0, 0, 0, 0])
    baseline = LinearBaseline(spaces.Discrete(3), 1)
    baseline.fit(0, states, times, torch.tensor([1.0, 3.0, 5.0, 5.0]))
    fitted = baseline.values(0, np.array([0, 2]), torch.tensor([0, 0]))
    np.testing.assert_allclose(fitted, [2.0, 5.0], atol=1e-4)  # the ridge pulls a little


def test_too_many_features_are_rejected() -> None:
    with pytest.raises(UsageError, match="linear would have 6,004 features"):
        LinearBaseline(spaces.Box(0, 1, (3000,)), 1)
