"""MountainCar-v0 over a `[S, N]` grid.

A car in a valley, too weak to drive straight out, pushes left, not at all or right (a = 0, 1, 2):

    velocity <- clip(velocity + 0.001 (a - 1) - 0.0025 cos(3 position), -0.07, 0.07)
    position <- clip(position + velocity, -1.2, 0.6)

The left wall stops it. The episode terminates at position 0.5 or beyond with at least the goal
velocity; every step has reward -1.

Moore (1990), Efficient memory-based learning for robot control, PhD thesis, Cambridge.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .batched import BatchedEnv, EpisodeSeed, Flags, Floats, Observations

MIN_POSITION = -1.2
MAX_POSITION = 0.6
MAX_SPEED = 0.07
GOAL_POSITION = 0.5
FORCE = 0.001
GRAVITY = 0.0025


class BatchedMountainCar(BatchedEnv):
    """S x N MountainCars; state and observation are (position, velocity).

    Args:
        goal_velocity: the least velocity with which reaching the goal terminates the episode.

    The other arguments are those of `BatchedEnv`.
    """

    env_id = "MountainCar-v0"
    original = "gymnasium.envs.classic_control.mountain_car:MountainCarEnv"
    observation_space = spaces.Box(
        np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32),
        np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32),
    )
    action_space = spaces.Discrete(3)
    _state_size = 2

    def __init__(
        self,
        episode_seed: EpisodeSeed,
        num_seeds: int,
        num_envs: int,
        *,
        autoreset: bool = True,
        max_episode_steps: int | None = 200,
        goal_velocity: float = 0.0,
    ) -> None:
        super().__init__(episode_seed, num_seeds, num_envs, autoreset, max_episode_steps)
        self._goal_velocity = float(goal_velocity)

    def _first(self, rng: np.random.Generator) -> tuple[Floats, Observations]:
        state = np.array([rng.uniform(low=-0.6, high=-0.4), 0.0])
        return state, state.astype(np.float32)

    def _advance(self, state: Floats, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags]:
        position, velocity = state
        # The original uses the C library's cosine, not NumPy's.
        cos = np.fromiter(map(math.cos, (3 * position).ravel().tolist()), np.float64)
        push = (actions - 1) * FORCE + cos.reshape(position.shape) * -GRAVITY
        velocity = np.clip(velocity + push, -MAX_SPEED, MAX_SPEED)
        position = np.clip(position + velocity, MIN_POSITION, MAX_POSITION)
        velocity[(position == MIN_POSITION) & (velocity < 0)] = 0.0

        next_state = np.empty_like(state)
        next_state[0] = position
        next_state[1] = velocity
        terminated = (position >= GOAL_POSITION) & (velocity >= self._goal_velocity)
        return next_state, np.full(terminated.shape, -1.0), terminated
