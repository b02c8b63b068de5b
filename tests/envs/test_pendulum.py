"""Steps of the batched Pendulum by hand, and what becomes of its actions."""

import numpy as np
import pytest

from rlkit_envs.pendulum import BatchedPendulum
from tests.envs.test_batched import PENDULUM, assert_same_bits, episode_seed


def after_one_step(
    theta: float, theta_dot: float, torque: float, **options: float
) -> tuple[np.ndarray, float]:
    env = BatchedPendulum(episode_seed, 1, 1, **options)
    env.reset()
    env.load_state_dict(env.state_dict() | {"state": np.array([[[theta, theta_dot]]])})
    reward = env.step(np.array([[[torque]]], dtype=np.float32))[0]
    return env.state_dict()["state"][0, 0], float(reward[0, 0])


@pytest.mark.parametrize(
    ("state", "torque", "options", "expected", "reward"),
    [
        # Level: gravity accelerates by 3/2 g = 15, and the torque by 3 u.
        ((np.pi / 2, 0.0), 0.0, {}, (np.pi / 2 + 0.0375, 0.75), -(np.pi**2) / 4),
        ((np.pi / 2, 0.0), -2.0, {}, (np.pi / 2 + 0.0225, 0.45), -(np.pi**2) / 4 - 0.004),
        ((np.pi / 2, 0.0), 0.0, {"g": 2.0}, (np.pi / 2 + 0.0075, 0.15), -(np.pi**2) / 4),
        ((0.0, 1.0), 0.0, {}, (0.05, 1.0), -0.1),
        ((0.0, 7.9), 2.0, {}, (0.4, 8.0), -0.1 * 7.9**2 - 0.004),  # the limit of the speed
        ((2 * np.pi, 0.0), 0.0, {}, (2 * np.pi, 0.0), 0.0),  # a turn costs nothing
    ],
)
def test_steps_by_hand(
    state: tuple[float, float],
    torque: float,
    options: dict[str, float],
    expected: tuple[float, float],
    reward: float,
) -> None:
    new, actual = after_one_step(*state, torque, **options)
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-12)
    assert actual == pytest.approx(reward, abs=1e-9)  # the torque's share is in single precision


def test_pendulum_actions_are_clipped_and_cast_to_single_precision() -> None:
    given, clipped = (PENDULUM.twin(episode_seed, 2, 2) for _ in range(2))
    given.reset()
    clipped.reset()
    wide = np.array([[[-1e300], [3.0]], [[np.inf], [0.1]]])
    narrow = np.array([[[-2.0], [2.0]], [[2.0], [0.1]]], dtype=np.float32)
    for a, b in zip(given.step(wide), clipped.step(narrow), strict=True):
        assert_same_bits(a, b, "step")
