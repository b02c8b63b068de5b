"""The latest transitions."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from rlkit.agent import Transition
from rlkit.agents.linear.samples import Samples

BOX = spaces.Box(-1.0, 1.0, (2,), np.float64)


def step(t: int, num_envs: int = 2) -> Transition:
    values = np.array([[10.0 * t + n for n in range(num_envs)]])
    obs = np.stack([values, -values], axis=-1)
    flags = np.zeros_like(values, dtype=bool)
    return Transition(obs, values.astype(int), values, flags, flags, obs + 1, obs + 1)


def test_the_latest_samples_are_kept_in_the_order_of_play() -> None:
    kept = Samples(1, 7, BOX)
    for t in range(1000):
        kept.add(step(t))
        rewards = kept.of(0)[2]
        expected = [10.0 * i + n for i in range(t + 1) for n in range(2)][-7:]
        assert rewards.tolist() == expected
    assert kept._columns["obs"].shape[1] <= 256  # and no more memory than that


def test_samples_continue_from_their_state() -> None:
    kept, other = Samples(1, 7, BOX), Samples(1, 7, BOX)
    for t in range(300):
        kept.add(step(t))
        if t == 150:
            other.load_state_dict(kept.state_dict())
        if t > 150:
            other.add(step(t))
    for a, b in zip(kept.of(0), other.of(0), strict=True):
        np.testing.assert_array_equal(a, b)
