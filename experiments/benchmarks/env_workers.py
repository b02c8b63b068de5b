"""What do --env-workers gain, and what does a step cost that crosses to another process?

Three measurements, written to results/env_workers/:

    throughput.csv    eight environments whose step computes for 5 ms, stepped here, in 1, 2 and 4
                      processes, and by Gymnasium's AsyncVectorEnv, which has one for each:
                      environment steps per second, and how many times those here. The last row
                      is what this machine can do: a process on each processor that only computes
    overhead.csv      eight environments whose step costs nothing, with observations of several
                      sizes: microseconds per environment step here and in one worker
    transfer.csv      an observation through a pipe, and through shared memory with a byte through a
                      pipe as the signal: microseconds; the workers of rlkit use pipes

Each number is the median of several rounds, in which all cases take turns.

    python -m experiments.benchmarks.env_workers
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv

from rlkit.environments.environment import Environment
from rlkit.environments.resolve import find_environment
from rlkit.environments.stepping.pool import Pool
from rlkit.maths.compiled import num_threads
from rlkit.seeding import SeedStreams

RESULTS = Path("results/env_workers")
NUM_ENVS = 8
MILLISECONDS = 5.0
WORKERS = (0, 1, 2, 4)
SIZES = {"4 numbers": (4,), "84 x 84 x 4": (84, 84, 4), "1 MiB": (1024, 1024)}


class Computes(gym.Env[Any, Any]):
    """A step does so many additions of Python; an observation has any shape."""

    action_space = spaces.Discrete(2)

    def __init__(self, additions: int = 0, shape: tuple[int, ...] = (4,)) -> None:
        self.observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)
        self.additions = additions
        self.obs = np.zeros(tuple(shape), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.obs, float(add(self.additions) > 0), False, False, {}


def add(times: int) -> int:
    """Compute, and do nothing else."""
    total = 0
    for i in range(times):
        total += i
    return total


def additions_of(milliseconds: float) -> int:
    """Return how many additions take so long on this processor when nobody disturbs it."""
    times = 20_000
    seconds = min(cpu_seconds(lambda: add(times)) for _ in range(50))
    return round(times * milliseconds / 1000 / seconds)


def cpu_seconds(call: Callable[[], Any]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def seconds_per_call(call: Callable[[], Any], times: int) -> float:
    """Return the seconds of the clock that a call takes, after one that does not count."""
    call()
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def seconds_per_step(environment: Environment, workers: int, num_steps: int) -> float:
    """Return the seconds of one step of all environments together."""
    pool = Pool(environment, workers, 60.0) if workers else None
    grid = environment.grid(
        (SeedStreams(0, 0),),
        NUM_ENVS,
        kind="gymnasium",
        make_copies=None if pool is None else pool.copies,
    )
    grid.reset()
    actions = np.zeros((1, NUM_ENVS), dtype=np.int64)
    seconds = seconds_per_call(lambda: grid.step(actions), num_steps)
    grid.close()
    if pool is not None:
        pool.close()
    return seconds


def medians(cases: dict[Any, Callable[[], float]], rounds: int) -> dict[Any, float]:
    """Return the median of each case over rounds in which they take turns."""
    measured: dict[Any, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            measured[name].append(case())
    return {name: statistics.median(values) for name, values in measured.items()}


def seconds_of_gymnasium(additions: int, num_steps: int) -> float:
    """Return the seconds of one step of all environments together in Gymnasium's processes."""
    envs = AsyncVectorEnv([functools.partial(Computes, additions)] * NUM_ENVS, context="spawn")
    envs.reset(seed=0)
    actions = np.zeros(NUM_ENVS, dtype=np.int64)
    seconds = seconds_per_call(lambda: envs.step(actions), num_steps)
    envs.close()
    return seconds


def seconds_of_computing(additions: int, num_steps: int) -> float:
    """Return the seconds of as many additions on all processors, without environments."""
    share = NUM_ENVS * num_steps // num_threads()
    with ProcessPoolExecutor(num_threads()) as pool:
        list(pool.map(add, [0] * num_threads()))  # starts the processes
        began = time.perf_counter()
        for job in [pool.submit(add_often, additions, share) for _ in range(num_threads())]:
            job.result()
        seconds = time.perf_counter() - began
    return seconds * NUM_ENVS / (share * num_threads())


def add_often(additions: int, number: int) -> None:
    """Compute what so many steps compute."""
    for _ in range(number):
        add(additions)


def throughput(rounds: int, num_steps: int) -> list[dict[str, Any]]:
    name = f"{__spec__.name if __spec__ else __name__}:Computes"
    additions = additions_of(MILLISECONDS)
    environment = find_environment(name, {"additions": additions})
    cases: dict[Any, Callable[[], float]] = {
        workers: functools.partial(seconds_per_step, environment, workers, num_steps)
        for workers in WORKERS
    }
    cases["AsyncVectorEnv"] = functools.partial(seconds_of_gymnasium, additions, num_steps)
    cases["only computing"] = functools.partial(seconds_of_computing, additions, num_steps)
    seconds = medians(cases, rounds)
    return [
        {
            "env_workers": case,
            "env_steps_per_second": round(NUM_ENVS / seconds[case], 1),
            "times_those_here": round(seconds[0] / seconds[case], 2),
        }
        for case in cases
    ]


def overhead(rounds: int, num_steps: int) -> list[dict[str, Any]]:
    rows = []
    name = f"{__spec__.name if __spec__ else __name__}:Computes"
    for label, shape in SIZES.items():
        environment = find_environment(name, {"shape": list(shape)})
        cases = {
            workers: lambda workers=workers, of=environment: seconds_per_step(
                of, workers, num_steps
            )
            for workers in (0, 1)
        }
        seconds = medians(cases, rounds)
        here, there = (round(1e6 * seconds[workers] / NUM_ENVS, 1) for workers in (0, 1))
        rows.append({"observation": label, "microseconds_here": here, "in_a_worker": there})
    return rows


def echo(connection: Connection, memory: Any, shape: tuple[int, ...]) -> None:
    """Answer requests: with an observation, or with a byte after writing it to shared memory."""
    obs = np.zeros(shape, np.uint8)
    shared = np.frombuffer(memory, np.uint8).reshape(shape)
    while True:
        what = connection.recv_bytes()
        if what == b"pipe":
            connection.send(obs)
        elif what == b"shared":
            shared[...] = obs
            connection.send_bytes(b".")
        else:
            return


def transfer(rounds: int, num_steps: int) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    rows = []
    for label, shape in SIZES.items():
        memory = RawArray("B", int(np.prod(shape)))
        ours, theirs = context.Pipe()
        process = context.Process(target=echo, args=(theirs, memory, shape))
        process.start()
        shared = np.frombuffer(memory, np.uint8).reshape(shape)

        def pipe(ours: Any = ours) -> Any:
            ours.send_bytes(b"pipe")
            return ours.recv()

        def memory_and_byte(ours: Any = ours, shared: Any = shared) -> Any:
            ours.send_bytes(b"shared")
            ours.recv_bytes()
            return shared.copy()

        cases = {
            "pipe": functools.partial(seconds_per_call, pipe, num_steps),
            "shared": functools.partial(seconds_per_call, memory_and_byte, num_steps),
        }
        seconds = medians(cases, rounds)
        ours.send_bytes(b"end")
        process.join()
        rows.append(
            {
                "observation": label,
                "microseconds_pipe": round(1e6 * seconds["pipe"], 1),
                "microseconds_shared_memory": round(1e6 * seconds["shared"], 1),
            }
        )
    return rows


def write(name: str, rows: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(name)
    for row in rows:
        print("  ", json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of all cases")
    parser.add_argument("--steps", type=int, default=50, help="of each environment in a round")
    args = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    write("throughput.csv", throughput(args.rounds, args.steps))
    write("overhead.csv", overhead(args.rounds, 4 * args.steps))
    write("transfer.csv", transfer(args.rounds, 4 * args.steps))


if __name__ == "__main__":
    main()
