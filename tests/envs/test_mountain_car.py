"""Steps of the batched MountainCar by hand."""

import numpy as np
import pytest

from rlkit_envs.mountain_car import BatchedMountainCar


def after_one_step(
    position: float, velocity: float, action: int, **options: float
) -> tuple[np.ndarray, float, bool]:
    env = BatchedMountainCar(lambda *place: 0, 1, 1, autoreset=False, **options)
    env.reset()
    env.load_state_dict(env.state_dict() | {"state": np.array([[[position, velocity]]])})
    reward, terminated, *_ = env.step(np.array([[action]]))
    return env.state_dict()["state"][0, 0], float(reward[0, 0]), bool(terminated[0, 0])


@pytest.mark.parametrize(
    ("position", "velocity", "action", "expected"),
    [
        # At -pi/6 the valley is flat; the slope is steepest, 0.0025, at 0 and at -pi/3.
        (-np.pi / 6, 0.0, 2, (-np.pi / 6 + 0.001, 0.001)),
        (-np.pi / 6, 0.01, 0, (-np.pi / 6 + 0.009, 0.009)),
        (0.0, 0.0, 2, (-0.0015, -0.0015)),
        (-np.pi / 3, 0.0, 1, (-np.pi / 3 + 0.0025, 0.0025)),
        (-np.pi / 6, 0.07, 2, (-np.pi / 6 + 0.07, 0.07)),  # the limit of the speed
        (-1.19, -0.05, 0, (-1.2, 0.0)),  # the wall
    ],
)
def test_steps_by_hand(
    position: float, velocity: float, action: int, expected: tuple[float, float]
) -> None:
    state, reward, terminated = after_one_step(position, velocity, action)
    np.testing.assert_allclose(state, expected, rtol=0, atol=1e-15)
    assert (reward, terminated) == (-1.0, False)


@pytest.mark.parametrize(("goal_velocity", "expected"), [(0.0, True), (0.03, True), (0.05, False)])
def test_the_goal_counts_from_its_velocity_on(goal_velocity: float, expected: bool) -> None:
    state, _, terminated = after_one_step(0.48, 0.04, 2, goal_velocity=goal_velocity)
    assert state[0] > 0.5
    assert 0.03 < state[1] < 0.05
    assert terminated is expected


def test_the_goal_is_not_reached_just_before_it() -> None:
    state, _, terminated = after_one_step(0.44, 0.04, 2)
    assert 0.47 < state[0] < 0.5
    assert not terminated
