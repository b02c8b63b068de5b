"""CartPole-v1 over a `[S, N]` grid.

A cart of mass M carries a pole of mass m and half length l; a force F = +-10 N pushes the cart.
With x its position and theta the pole's angle from upright (total = M + m):

    temp    = (F + m l theta_dot^2 sin(theta)) / total
    theta'' = (g sin(theta) - cos(theta) temp) / (l (4/3 - m cos^2(theta) / total))
    x''     = temp - m l theta'' cos(theta) / total

Each step advances position and velocity by explicit Euler over 0.02 s. The episode terminates
beyond |x| = 2.4 or |theta| = 12 degrees.

Barto, Sutton and Anderson (1983), Neuronlike adaptive elements that can solve difficult learning
control problems.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .batched import BatchedEnv, EpisodeSeed, Flags, Floats, Observations

GRAVITY = 9.8  # m/s^2
POLE_MASS = 0.1  # kg
TOTAL_MASS = POLE_MASS + 1.0  # kg
HALF_LENGTH = 0.5  # m, of the pole
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
FORCE = 10.0  # N
TIME_STEP = 0.02  # s
MAX_POSITION = 2.4  # m
MAX_ANGLE = 12 * 2 * math.pi / 360  # rad
_HIGH = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf], dtype=np.float32)


class BatchedCartPole(BatchedEnv):
    """S x N CartPoles; state and observation are (x, x_dot, theta, theta_dot).

    Args:
        sutton_barto_reward: reward 0 for each step and -1 for the one that terminates, instead of
            1 for every step.

    The other arguments are those of `BatchedEnv`.
    """

    env_id = "CartPole-v1"
    original = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
    observation_space = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space = spaces.Discrete(2)
    _state_size = 4

    def __init__(
        self,
        episode_seed: EpisodeSeed,
        num_seeds: int,
        num_envs: int,
        *,
        autoreset: bool = True,
        max_episode_steps: int | None = 500,
        sutton_barto_reward: bool = False,
    ) -> None:
        super().__init__(episode_seed, num_seeds, num_envs, autoreset, max_episode_steps)
        self._sutton_barto_reward = bool(sutton_barto_reward)

    def _first(self, rng: np.random.Generator) -> tuple[Floats, Observations]:
        state = rng.uniform(low=-0.05, high=0.05, size=(4,))
        return state, state.astype(np.float32)

    def _advance(self, state: Floats, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags]:
        _, x_dot, theta, theta_dot = state
        force = np.where(actions == 1, FORCE, -FORCE)
        cos = np.cos(theta)
        sin = np.sin(theta)
        temp = (force + POLE_MASS_LENGTH * np.square(theta_dot) * sin) / TOTAL_MASS
        theta_acceleration = (GRAVITY * sin - cos * temp) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / TOTAL_MASS)
        )
        derivative = np.empty_like(state)
        derivative[0] = x_dot
        derivative[1] = temp - POLE_MASS_LENGTH * theta_acceleration * cos / TOTAL_MASS
        derivative[2] = theta_dot
        derivative[3] = theta_acceleration
        next_state = state + TIME_STEP * derivative

        terminated = (np.abs(next_state[0]) > MAX_POSITION) | (np.abs(next_state[2]) > MAX_ANGLE)
        if self._sutton_barto_reward:
            reward = np.where(terminated, -1.0, 0.0)
        else:
            reward = np.ones(terminated.shape)
        return next_state, reward, terminated
