"""Acrobot-v1 over a `[S, N]` grid.

Two links hang from a pivot and a torque a in {-1, 0, 1} N m acts on the joint between them. With
theta1 the first link's angle from hanging down, theta2 the second's relative to the first, links of
mass 1 kg, length 1 m, centre of mass c = 0.5 m and moment of inertia I = 1 kg m^2:

    d1       = c^2 + (1 + c^2 + 2 c cos(theta2)) + I + I
    d2       = c^2 + c cos(theta2) + I
    phi2     = c g cos(theta1 + theta2 - pi/2)
    phi1     = -c theta2'^2 sin(theta2) - 2 c theta2' theta1' sin(theta2)
               + (c + 1) g cos(theta1 - pi/2) + phi2
    theta2'' = (a + d2/d1 phi1 - c theta1'^2 sin(theta2) - phi2) / (c^2 + I - d2^2/d1)
    theta1'' = -(d2 theta2'' + phi1) / d1

Each step integrates them by one fourth-order Runge-Kutta step of 0.2 s, wraps the angles to
[-pi, pi] and clips the velocities. The episode terminates when the tip is one link above the pivot:
-cos(theta1) - cos(theta1 + theta2) > 1; each step before that has reward -1.

Sutton and Barto (2018), Reinforcement Learning, 2nd edition; Sutton (1996), Generalization in
reinforcement learning: successful examples using sparse coarse coding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy import cos, pi, sin
from numpy.typing import NDArray

from .batched import BatchedEnv, EpisodeSeed, Flags, Floats, Observations

CENTRE = 0.5  # m, of mass, along each link
INERTIA = 1.0  # kg m^2, of each link
GRAVITY = 9.8  # m/s^2
TIME_STEP = 0.2  # s
MAX_SPEED_1 = 4 * pi  # rad/s
MAX_SPEED_2 = 9 * pi  # rad/s
_HIGH = np.array([1.0, 1.0, 1.0, 1.0, MAX_SPEED_1, MAX_SPEED_2], dtype=np.float32)


class BatchedAcrobot(BatchedEnv):
    """S x N Acrobots; the state is (theta1, theta2, theta1_dot, theta2_dot).

    The observation holds the cosine and the sine of each angle, then the velocities. The arguments
    are those of `BatchedEnv`.
    """

    env_id = "Acrobot-v1"
    original = "gymnasium.envs.classic_control.acrobot:AcrobotEnv"
    observation_space = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space = spaces.Discrete(3)
    _state_size = 4

    def __init__(
        self,
        episode_seed: EpisodeSeed,
        num_seeds: int,
        num_envs: int,
        *,
        autoreset: bool = True,
        max_episode_steps: int | None = 500,
    ) -> None:
        super().__init__(episode_seed, num_seeds, num_envs, autoreset, max_episode_steps)

    def _first(self, rng: np.random.Generator) -> tuple[Floats, Observations]:
        # The original starts in single precision and observes that with single-precision functions.
        state = rng.uniform(low=-0.1, high=0.1, size=(4,)).astype(np.float32)
        return state.astype(np.float64), self._observe(state)

    def _advance(self, state: Floats, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags]:
        torque = actions - 1.0
        next_state = _runge_kutta_step(state, torque)
        _wrap(next_state[0])
        _wrap(next_state[1])
        np.clip(next_state[2], -MAX_SPEED_1, MAX_SPEED_1, out=next_state[2])
        np.clip(next_state[3], -MAX_SPEED_2, MAX_SPEED_2, out=next_state[3])

        theta1, theta2 = next_state[:2]
        terminated = -cos(theta1) - cos(theta2 + theta1) > 1.0
        return next_state, np.where(terminated, 0.0, -1.0), terminated

    def _observe(self, state: NDArray[np.floating[Any]]) -> Observations:
        theta1, theta2, theta1_dot, theta2_dot = state
        obs = np.empty((*theta1.shape, 6), dtype=np.float32)
        obs[..., 0] = cos(theta1)
        obs[..., 1] = sin(theta1)
        obs[..., 2] = cos(theta2)
        obs[..., 3] = sin(theta2)
        obs[..., 4] = theta1_dot
        obs[..., 5] = theta2_dot
        return obs


def _derivative(state: Floats, torque: Floats) -> Floats:
    """Return the time derivative of the states `[4, ...]`; factors of 1 are omitted."""
    theta1, theta2, theta1_dot, theta2_dot = state
    cos2 = cos(theta2)
    sin2 = sin(theta2)
    d1 = CENTRE**2 + (1.0 + CENTRE**2 + 2 * CENTRE * cos2) + INERTIA + INERTIA
    d2 = (CENTRE**2 + CENTRE * cos2) + INERTIA
    d2_over_d1 = d2 / d1
    phi2 = CENTRE * GRAVITY * cos(theta1 + theta2 - pi / 2)
    phi1 = (
        -CENTRE * np.float_power(theta2_dot, 2.0) * sin2
        - 2 * CENTRE * theta2_dot * theta1_dot * sin2
        + (CENTRE + 1.0) * GRAVITY * cos(theta1 - pi / 2)
        + phi2
    )
    theta2_acceleration = (
        torque + d2_over_d1 * phi1 - CENTRE * np.float_power(theta1_dot, 2.0) * sin2 - phi2
    ) / (CENTRE**2 + INERTIA - np.float_power(d2, 2.0) / d1)
    derivative = np.empty_like(state)
    derivative[0] = theta1_dot
    derivative[1] = theta2_dot
    derivative[2] = -(d2 * theta2_acceleration + phi1) / d1
    derivative[3] = theta2_acceleration
    return derivative


def _runge_kutta_step(state: Floats, torque: Floats) -> Floats:
    """Return the states `TIME_STEP` later, by the classical fourth-order Runge-Kutta method."""
    half = TIME_STEP / 2.0
    k1 = _derivative(state, torque)
    k2 = _derivative(state + half * k1, torque)
    k3 = _derivative(state + half * k2, torque)
    k4 = _derivative(state + TIME_STEP * k3, torque)
    return state + TIME_STEP / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)


def _wrap(angle: Floats) -> None:
    """Wrap angles into [-pi, pi] in place, one turn at a time as the original does."""
    while (over := angle > pi).any():
        angle[over] -= 2 * pi
    while (under := angle < -pi).any():
        angle[under] += 2 * pi
