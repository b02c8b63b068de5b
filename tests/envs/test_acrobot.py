"""The batched Acrobot: its energy changes by the work of the torque, and where episodes end."""

import numpy as np
import pytest

from rlkit_envs import acrobot
from rlkit_envs.acrobot import BatchedAcrobot


def after_one_step(states: np.ndarray, action: int) -> tuple[np.ndarray, ...]:
    env = BatchedAcrobot(lambda *place: 0, 1, len(states), autoreset=False)
    env.reset()
    env.load_state_dict(env.state_dict() | {"state": states[None]})
    reward, terminated, *_ = env.step(np.full((1, len(states)), action))
    return env.state_dict()["state"][0], reward[0], terminated[0]


def energy(states: np.ndarray) -> np.ndarray:
    """Of two links of 1 kg, 1 m, centre at 0.5 m and moment of inertia 1 kg m^2."""
    theta1, theta2, speed1, speed2 = states.T
    turn = speed1 + speed2
    centre2 = speed1**2 + 0.25 * turn**2 + speed1 * turn * np.cos(theta2)  # squared speed
    kinetic = 0.5 * (0.25 * speed1**2 + centre2 + speed1**2 + turn**2)
    return kinetic - 9.8 * (1.5 * np.cos(theta1) + 0.5 * np.cos(theta1 + theta2))


@pytest.mark.parametrize("action", [0, 1, 2])
def test_energy_changes_by_the_work_of_the_torque(
    action: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acrobot, "TIME_STEP", 1e-3)
    states = np.random.default_rng(0).uniform(-1, 1, (50, 4)) * [3.0, 3.0, 4.0, 4.0]
    new, _, _ = after_one_step(states, action)
    work = (action - 1) * (new[:, 1] - states[:, 1])
    assert np.abs(new[:, :2] - states[:, :2]).max() < 0.1  # no angle was wrapped
    # The error of one Runge-Kutta step is of the order of 1e-3 to the fifth power.
    np.testing.assert_allclose(energy(new) - energy(states), work, rtol=0, atol=1e-10)


def test_angles_are_wrapped_and_speeds_limited() -> None:
    states = np.array([[3.1, 0.0, 12.0, 0.0], [-3.1, 0.0, -12.0, 0.0], [0.0, 0.0, 0.0, 28.0]])
    new, _, _ = after_one_step(states, 1)
    assert (np.abs(new[:, :2]) <= np.pi).all()
    assert (np.abs(new[:, 2]) <= 4 * np.pi).all()
    assert (np.abs(new[:, 3]) <= 9 * np.pi).all()


def test_it_terminates_where_the_tip_is_one_link_above_the_pivot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acrobot, "TIME_STEP", 1e-9)
    # A first link at 120 degrees has its end 0.5 above the pivot; the second adds -cos of its own.
    states = np.array([[2 * np.pi / 3, turn, 0.0, 0.0] for turn in (-0.01, 0.01, np.pi / 3, np.pi)])
    height = [-np.cos(s[0]) - np.cos(s[0] + s[1]) for s in states]
    _, reward, terminated = after_one_step(states, 1)
    assert np.round(height, 2).tolist() == [0.99, 1.01, 1.5, 0.0]
    assert terminated.tolist() == [False, True, True, False]
    assert reward.tolist() == [-1.0, 0.0, 0.0, -1.0]
