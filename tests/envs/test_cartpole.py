"""The batched CartPole against Newton's equations in implicit form, and its endings."""

import numpy as np
import pytest

from rlkit_envs.cartpole import BatchedCartPole


def after_one_step(state: list[float], action: int, **options: bool) -> tuple[np.ndarray, ...]:
    """Return the next state in double precision, the reward and whether the episode terminated."""
    env = BatchedCartPole(lambda *place: 0, 1, 1, autoreset=False, **options)
    env.reset()
    env.load_state_dict(env.state_dict() | {"state": np.array([[state]])})
    reward, terminated, *_ = env.step(np.array([[action]]))
    return env.state_dict()["state"][0, 0], reward[0, 0], terminated[0, 0]


@pytest.mark.parametrize("action", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_forces_and_torques_balance(seed: int, action: int) -> None:
    """Newton's laws for the cart (1 kg) and for a pole of 0.1 kg and 1 m about its hinge."""
    state = np.random.default_rng(seed).uniform(-1, 1, 4) * [2.0, 3.0, 0.2, 3.0]
    x_dot, theta, theta_dot = state[1:]
    new, _, _ = after_one_step(state.tolist(), action)
    velocity, cart, spin, pole = (new - state) / 0.02
    assert velocity == pytest.approx(x_dot)
    assert spin == pytest.approx(theta_dot)
    force = 10.0 if action == 1 else -10.0
    swing = 0.1 * 0.5 * (pole * np.cos(theta) - theta_dot**2 * np.sin(theta))
    assert 1.1 * cart + swing == pytest.approx(force, abs=1e-9)
    assert 4 / 3 * 0.5 * pole + cart * np.cos(theta) == pytest.approx(9.8 * np.sin(theta), abs=1e-9)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ([2.39, 0.4, 0.0, 0.0], False),
        ([2.39, 0.6, 0.0, 0.0], True),
        ([-2.39, -0.6, 0.0, 0.0], True),
        ([0.0, 0.0, np.radians(11.9), np.radians(4.0)], False),
        ([0.0, 0.0, np.radians(11.9), np.radians(6.0)], True),
        ([0.0, 0.0, -np.radians(11.9), -np.radians(6.0)], True),
    ],
)
def test_it_terminates_beyond_two_point_four_metres_and_twelve_degrees(
    state: list[float], expected: bool
) -> None:
    _, reward, terminated = after_one_step(state, 0)
    assert (bool(terminated), reward) == (expected, 1.0)
    _, reward, _ = after_one_step(state, 0, sutton_barto_reward=True)
    assert reward == (-1.0 if expected else 0.0)
