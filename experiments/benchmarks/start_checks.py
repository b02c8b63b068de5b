"""What do the checks at the start of a run cost, and how often do they raise a false alarm?

Every environment of Gymnasium's classic control and toy text, alone and under wrappers that people
use, is determined by its seeds and actions: a note about state outside its episodes would be false.
The transition tables that they publish are true, too; how often a true table is refused is measured
by `experiments.benchmarks.table_fit`.

    python -m experiments.benchmarks.start_checks --seeds 20
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces, wrappers

from rlkit.environments.repeatability import check_repeatability
from rlkit.environments.resolve import find_environment
from rlkit.environments.spaces import observation_advice

Env = gym.Env[Any, Any]
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {},
    "Acrobot-v1": {},
    "MountainCar-v0": {},
    "MountainCarContinuous-v0": {},
    "Pendulum-v1": {},
    "FrozenLake-v1": {},
    "FrozenLake8x8-v1": {},
    "CliffWalking-v1": {},
    "CliffWalkingSlippery-v1": {},
    "Taxi-v4": {},
    "Blackjack-v1": {},
}
WRAPPERS: dict[str, Callable[[Env], Env]] = {
    "none": lambda env: env,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 30),
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda r: 0.1 * float(r)),
    "ClipReward": lambda env: wrappers.ClipReward(env, -1.0, 1.0),
    "FlattenObservation": wrappers.FlattenObservation,
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 50)),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.25),
    "RescaleAction": lambda env: wrappers.RescaleAction(env, -1.0, 1.0),
}


def maker(name: str, wrapper: str) -> Callable[[], Env] | None:
    """Return a function that makes the pair; None where the two do not go together."""

    def make() -> Env:
        env: Env = gym.make(name, disable_env_checker=True, **ENVIRONMENTS[name])
        if name == "Blackjack-v1" and wrapper != "FlattenObservation":
            assert "704" in observation_advice(env.observation_space)
            env = wrappers.TransformObservation(
                env, lambda o: int(np.ravel_multi_index(o, (32, 11, 2))), spaces.Discrete(704)
            )
        return WRAPPERS[wrapper](env)

    try:
        observation_space, action_space = make().observation_space, make().action_space
    except (AssertionError, AttributeError, TypeError, ValueError):
        return None
    fits = isinstance(observation_space, (spaces.Box, spaces.Discrete))
    return make if fits and isinstance(action_space, (spaces.Box, spaces.Discrete)) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="seeds of the check for each pair")
    args = parser.parse_args()

    print("| environment | found, s | table, s | repeatability, s | together, s |")
    print("| --- | --- | --- | --- | --- |")
    find_environment("CartPole-v1").repeatability  # noqa: B018  imports are not what is measured
    for name in ENVIRONMENTS:
        make = maker(name, "none")
        assert make is not None
        marks = [time.perf_counter()]
        environment = find_environment(make if name == "Blackjack-v1" else name)
        for attribute in ("probe", "model", "repeatability"):
            getattr(environment, attribute)
            marks.append(time.perf_counter())
        parts = [f"{after - before:.3f}" for before, after in itertools.pairwise(marks)]
        print(f"| {name} | {' | '.join(parts)} | {marks[-1] - marks[0]:.3f} |")

    checks, alarms = 0, []
    for name in ENVIRONMENTS:
        for wrapper in WRAPPERS:
            make = maker(name, wrapper)
            if make is None:
                continue
            for seed in range(args.seeds):
                checks += 1
                problem = check_repeatability(make, f"{name} under {wrapper}", seed=seed).problem
                if problem is not None:
                    alarms.append(problem)
    print(f"\nstate outside an episode: {len(alarms)} false alarms in {checks:,} checks")
    for alarm in dict.fromkeys(alarms):
        print(f"  {alarm}")


if __name__ == "__main__":
    main()
