"""LSTD-Q: its equations, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.linear.features import make_features
from rlkit.agents.linear.lstdq import LSTDQ

BOX = spaces.Box(-1.0, 1.0, (2,), np.float64)


def samples(num: int, num_actions: int, seed: int = 0) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(-1, 1, (num, 2)), rng.integers(num_actions, size=num),
        rng.normal(size=num), rng.random(num) < 0.2, rng.uniform(-1, 1, (num, 2)),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fourier", "polynomial"])
def test_the_equations_are_those_of_the_paper_sample_by_sample(kind: Any) -> None:
    features = make_features(BOX, kind, 2)
    data = samples(60, 3)
    obs, action, reward, terminated, next_obs = data
    chosen = np.random.default_rng(1).integers(3, size=60)
    size = features.size
    matrix, constant = 0.5 * np.eye(3 * size), np.zeros(3 * size)

    def pair(o: Any, a: int) -> np.ndarray:
        vector = np.zeros(3 * size)
        vector[a * size : (a + 1) * size] = features.matrix(o[None])[0]
        return vector

    for i in range(60):
        now = pair(obs[i], action[i])
        following = np.zeros(3 * size) if terminated[i] else pair(next_obs[i], chosen[i])
        matrix += np.outer(now, now - 0.9 * following)
        constant += now * reward[i]
    expected = np.linalg.solve(matrix, constant).reshape(3, size).T
    np.testing.assert_allclose(
        LSTDQ(features, data, 3, discount=0.9, ridge=0.5).solve(chosen),
        expected,
        rtol=1e-8,
        atol=1e-10,
    )


def test_the_bellman_error_is_that_of_the_samples() -> None:
    features = make_features(BOX, "polynomial", 1)
    data = samples(20, 2)
    weights = np.random.default_rng(2).normal(size=(features.size, 2))
    system = LSTDQ(features, data, 2, discount=0.5, ridge=1.0)
    q: Any = features.matrix(data[0]) @ weights
    future: Any = (features.matrix(data[4]) @ weights).max(axis=1)
    errors = [
        abs(data[2][i] + 0.5 * (0 if data[3][i] else future[i]) - q[i, data[1][i]])
        for i in range(20)
    ]
    assert system.error(weights, system.greedy(weights)) == pytest.approx(np.mean(errors))
