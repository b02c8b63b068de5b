"""How much faster are the batched twins than Gymnasium's environments in a loop?

Both step the same grid of S x N environments with the same random actions, resets included, and the
loop around Gymnasium's does nothing else. Times are the best of several rounds.

    python -m experiments.benchmarks.batched_envs --num-seeds 10 --num-envs 8
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit_envs.acrobot import BatchedAcrobot
from rlkit_envs.batched import BatchedEnv
from rlkit_envs.cartpole import BatchedCartPole
from rlkit_envs.mountain_car import BatchedMountainCar
from rlkit_envs.pendulum import BatchedPendulum

TWINS: dict[str, Callable[..., BatchedEnv]] = {
    "CartPole-v1": BatchedCartPole,
    "Acrobot-v1": BatchedAcrobot,
    "MountainCar-v0": BatchedMountainCar,
    "Pendulum-v1": BatchedPendulum,
}
Actions = NDArray[Any]


def episode_seed(seed_index: int, env_index: int, episode: int) -> int:
    return (seed_index * 1000 + env_index) * 100_000 + episode


def random_actions(env_id: str, shape: tuple[int, ...]) -> Actions:
    space = gym.make(env_id).action_space
    rng = np.random.default_rng(0)
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(0, space.n, shape)
    assert isinstance(space, gym.spaces.Box)
    return rng.uniform(space.low, space.high, shape + space.shape).astype(space.dtype)


def seconds_of_twin(env_id: str, actions: Actions) -> float:
    _, num_seeds, num_envs = actions.shape[:3]
    twin = TWINS[env_id](episode_seed, num_seeds, num_envs)
    twin.reset()
    start = time.perf_counter()
    for step_actions in actions:
        twin.step(step_actions)
    return time.perf_counter() - start


def seconds_of_loop(env_id: str, actions: Actions) -> float:
    _, num_seeds, num_envs = actions.shape[:3]
    places = list(np.ndindex(num_seeds, num_envs))
    envs = [gym.make(env_id, disable_env_checker=True) for _ in places]
    for env, (s, n) in zip(envs, places, strict=True):
        env.reset(seed=episode_seed(s, n, 0))
    episodes = [0] * len(envs)
    start = time.perf_counter()
    for step_actions in actions:
        for index, (env, (s, n)) in enumerate(zip(envs, places, strict=True)):
            _, _, terminated, truncated, _ = env.step(step_actions[s, n])
            if terminated or truncated:
                episodes[index] += 1
                env.reset(seed=episode_seed(s, n, episodes[index]))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-seeds", type=int, default=10, help="S (10)")
    parser.add_argument("--num-envs", type=int, default=8, help="N, environments per seed (8)")
    parser.add_argument("--num-steps", type=int, default=2000, help="batch steps per round (2000)")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts (3)")
    options = parser.parse_args()

    grid = (options.num_seeds, options.num_envs)
    size = options.num_seeds * options.num_envs
    # The loop is slow, and its time per step does not depend on their number.
    loop_steps = max(1, options.num_steps // 10)
    print(f"grid {grid}, random actions, resets included, best of {options.rounds}")
    columns = ("us per batch step", "env steps per s", "times faster")
    print(f"{'environment':<16}" + "".join(f"{column:>20}" for column in columns))
    for env_id in TWINS:
        actions = random_actions(env_id, (options.num_steps, *grid))
        twin, loop = [], []
        for _ in range(options.rounds):
            twin.append(seconds_of_twin(env_id, actions) / options.num_steps)
            loop.append(seconds_of_loop(env_id, actions[:loop_steps]) / loop_steps)
        best = min(twin)
        numbers = (f"{best * 1e6:.1f}", f"{size / best:,.0f}", f"{min(loop) / best:.1f}")
        print(f"{env_id:<16}" + "".join(f"{number:>20}" for number in numbers))


if __name__ == "__main__":
    main()
