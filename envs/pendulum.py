"""Pendulum-v1 over a `[S, N]` grid.

A pendulum of mass 1 kg and length 1 m, theta = 0 upright, is driven by a torque u in [-2, 2] N m:

    reward    = -(normalised(theta)^2 + 0.1 theta_dot^2 + 0.001 u^2)
    theta_dot <- clip(theta_dot + (3/2 g sin(theta) + 3 u) 0.05, -8, 8)
    theta     <- theta + 0.05 theta_dot

The observation is (cos(theta), sin(theta), theta_dot); an episode ends only at its time limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .batched import BatchedEnv, EpisodeSeed, Flags, Floats, Observations

MAX_SPEED = 8.0  # rad/s
MAX_TORQUE = 2.0  # N m
TIME_STEP = 0.05  # s
_HIGH = np.array([1.0, 1.0, MAX_SPEED], dtype=np.float32)


class BatchedPendulum(BatchedEnv):
    """S x N Pendulums; the state is (theta, theta_dot), the angle not normalised.

    Equal to the original stepped with actions of its action space's dtype, float32: the torque's
    share of the reward and of the acceleration is computed in single precision.

    Args:
        g: the acceleration of gravity in m/s^2.

    The other arguments are those of `BatchedEnv`.
    """

    env_id = "Pendulum-v1"
    original = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
    observation_space = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space = spaces.Box(-MAX_TORQUE, MAX_TORQUE, shape=(1,), dtype=np.float32)
    _state_size = 2

    def __init__(
        self,
        episode_seed: EpisodeSeed,
        num_seeds: int,
        num_envs: int,
        *,
        autoreset: bool = True,
        max_episode_steps: int | None = 200,
        g: float = 10.0,
    ) -> None:
        super().__init__(episode_seed, num_seeds, num_envs, autoreset, max_episode_steps)
        self._gravity = float(g)

    def _first(self, rng: np.random.Generator) -> tuple[Floats, Observations]:
        high = np.array([np.pi, 1.0])
        state = rng.uniform(low=-high, high=high)
        return state, self._observe(state)

    def _advance(self, state: Floats, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags]:
        theta, theta_dot = state
        torque: NDArray[np.float32] = actions[..., 0]
        # One NumPy scalar at a time: the C library's power function squares float32 too, and no
        # array operation rounds as it does.
        torque_squared = np.array([u**2 for u in torque.ravel()]).reshape(torque.shape)
        angle = ((theta + np.pi) % (2 * np.pi)) - np.pi
        cost = (
            np.float_power(angle, 2.0)
            + 0.1 * np.float_power(theta_dot, 2.0)
            + 0.001 * torque_squared
        )
        acceleration = 3 * self._gravity / 2 * np.sin(theta) + 3.0 * torque
        next_state = np.empty_like(state)
        next_state[1] = np.clip(theta_dot + acceleration * TIME_STEP, -MAX_SPEED, MAX_SPEED)
        next_state[0] = theta + next_state[1] * TIME_STEP
        return next_state, -cost, np.zeros(cost.shape, dtype=np.bool_)

    def _observe(self, state: Floats) -> Observations:
        theta, theta_dot = state
        obs = np.empty((*theta.shape, 3), dtype=np.float32)
        obs[..., 0] = np.cos(theta)
        obs[..., 1] = np.sin(theta)
        obs[..., 2] = theta_dot
        return obs
