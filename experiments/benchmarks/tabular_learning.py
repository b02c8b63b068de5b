"""How fast is Q-learning on a table?

    updates   the compiled loop on one processor, in FrozenLake-v1 and Taxi-v4
    command   `rlkit train q-learning FrozenLake-v1`, from its start to its end with evaluations,
              csv and checkpoints, against a plain Python loop over Gymnasium's environment
    taxi      `rlkit train q-learning Taxi-v4` with 30 seeds, and the worst greedy policy of them

What is compared alternates within one run, and each number is given with all its repetitions.
Compiling is not counted.

    python -m experiments.benchmarks.tabular_learning
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import rlkit
from rlkit.agent import Task
from rlkit.agents import compiled
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.seeding import SeedStreams
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.training.tracker import Tracker

COMMAND = ("q-learning", "FrozenLake-v1", "--seeds", "10")
TAXI = ("q-learning", "Taxi-v4", "--seeds", "30", "--steps", "2000000")


def updates_per_second(name: str, num_steps: int) -> float:
    """Train one seed in the compiled loop."""
    mdp = mdp_from_env(lambda: gym.make(name))
    streams = (SeedStreams(0, 0),)
    env = TabularBatchEnv(mdp, streams, 1)
    env.reset()
    task = Task(env.observation_space, env.action_space, streams, 1, num_steps, mdp)
    agent = QLearning(task, QLearningConfig())
    tracker = Tracker(1, 1, agent.metrics)
    loop = compiled.compiled_loop(agent, env, tracker.totals, tracker.count)
    assert loop is not None
    loop.run(1000)  # compiles
    began = time.perf_counter()
    for _ in range(num_steps // 100_000):
        loop.run(100_000)
    return num_steps / (time.perf_counter() - began)


def plain_loop(name: str, num_steps: int) -> float:
    """Return the updates per second of Q-learning as it is written in a lesson."""
    env = gym.make(name)
    rng = np.random.default_rng(0)
    q = [[0.0] * int(env.action_space.n) for _ in range(int(env.observation_space.n))]  # type: ignore[attr-defined]
    discount, alpha, num_actions = 0.99, 0.1, len(q[0])
    state, _ = env.reset(seed=0)
    began = time.perf_counter()
    for t in range(num_steps):
        epsilon = max(0.05, 1 - t / num_steps)
        row = q[state]
        action = int(rng.integers(num_actions)) if rng.random() < epsilon else row.index(max(row))
        following, reward, terminated, truncated, _ = env.step(action)
        future = 0.0 if terminated else discount * max(q[following])
        row[action] += alpha * (float(reward) + future - row[action])
        state = following
        if terminated or truncated:
            state, _ = env.reset()
    return num_steps / (time.perf_counter() - began)


def command(*words: str) -> tuple[float, Path]:
    """Run `rlkit train`; return its seconds and the folder of its run."""
    out = Path(tempfile.mkdtemp(prefix="tabular-learning-"))
    began = time.perf_counter()
    full = [sys.executable, "-m", "rlkit", "train", *words, "--out", str(out), "--json"]
    subprocess.run(full, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return seconds, folder


def measure(num_steps: int, repetitions: int) -> dict[str, Any]:
    command(*COMMAND, "--steps", "1000")  # compiles
    found: dict[str, list[float]] = {
        name: [] for name in ("FrozenLake-v1", "Taxi-v4", "plain", "command", "taxi", "worst")
    }
    for _ in range(repetitions):
        for name in ("FrozenLake-v1", "Taxi-v4"):
            found[name].append(updates_per_second(name, 5_000_000))
        found["plain"].append(plain_loop("FrozenLake-v1", 300_000))
        found["command"].append(command(*COMMAND, "--steps", str(num_steps))[0])
        seconds, folder = command(*TAXI)
        found["taxi"].append(seconds)
        run = rlkit.load(folder)
        optimum = run.optimum
        assert optimum is not None
        found["worst"].append(float(optimum - run.curve[:, -1].min()))
    plain = statistics.median(found["plain"])
    return {
        "repetitions": found,
        "command_updates_per_second": 10 * num_steps / statistics.median(found["command"]),
        "command_ratio": 10 * num_steps / statistics.median(found["command"]) / plain,
        "loop_ratio": statistics.median(found["FrozenLake-v1"]) / plain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each of the ten seeds")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/tabular_learning"))
    args = parser.parse_args()
    summary = measure(args.steps, args.repetitions)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
