"""How fast is Q-learning on a table?

    loop      updates per second of the compiled loop on one processor
    command   `rlkit train q-learning FrozenLake-v1` with ten seeds, from its start to its end with
              evaluations, csv, checkpoints and figure, against a plain Python loop over Gymnasium's
              environment that makes as many updates
    taxi      `rlkit train q-learning Taxi-v4` with 30 seeds, and how far the worst greedy policy is
              from the optimum

What is compared alternates within one run. Compiling is not counted. The compiled loops are
measured in seconds of their processor, all else in seconds of the clock, which other programs
prolong.

    python -m experiments.benchmarks.tabular_learning
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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

LAKE = ("q-learning", "FrozenLake-v1", "--seeds", "10")
TAXI = ("q-learning", "Taxi-v4", "--seeds", "30")
PLAIN_STEPS = 300_000
# row: (what, unit, what it must reach, what would be more)
ROWS = {
    "lake": ("loop, FrozenLake-v1", "million updates/s", ">= 20", "40"),
    "taxi_loop": ("loop, Taxi-v4", "million updates/s", ">= 20", "40"),
    "plain": ("plain Python loop, FrozenLake-v1", "million updates/s", "", ""),
    "command": ("command, 10 seeds of FrozenLake-v1", "s", "", ""),
    "ratio": ("the same against the plain loop", "times", ">= 60", "150"),
    "taxi": ("command, 30 seeds of Taxi-v4", "s", "<= 5", ""),
    "gap": ("worst of its greedy policies, from the optimum", "return", "<= 0.5", ""),
}


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
    began = time.thread_time()
    for _ in range(num_steps // 100_000):
        loop.run(100_000)
    return num_steps / (time.thread_time() - began)


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


def measure(lake_steps: int, taxi_steps: int, loop_steps: int) -> dict[str, float]:
    """Measure every row once."""
    lake = updates_per_second("FrozenLake-v1", loop_steps)
    taxi_loop = updates_per_second("Taxi-v4", loop_steps)
    plain = plain_loop("FrozenLake-v1", PLAIN_STEPS)
    seconds, _ = command(*LAKE, "--steps", str(lake_steps))
    taxi_seconds, folder = command(*TAXI, "--steps", str(taxi_steps))
    run = rlkit.load(folder)
    assert run.optimum is not None
    return {
        "lake": lake / 1e6,
        "taxi_loop": taxi_loop / 1e6,
        "plain": plain / 1e6,
        "command": seconds,
        "ratio": 10 * lake_steps / seconds / plain,
        "taxi": taxi_seconds,
        "gap": run.optimum - float(run.scores.min()),
    }


def table(repetitions: list[dict[str, float]], note: str) -> str:
    """Return the medians as a table in Markdown, with the least and the most."""
    lines = [
        f"| what | {note} | least to most | must | beyond |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row, (what, unit, must, beyond) in ROWS.items():
        values = [one[row] for one in repetitions]
        median = f"{statistics.median(values):.3g} {unit}"
        span = f"{min(values):.3g} to {max(values):.3g}"
        lines.append(f"| {what} | {median} | {span} | {must} | {beyond} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each seed of FrozenLake")
    parser.add_argument("--taxi-steps", type=int, default=2_000_000, help="of each seed of Taxi")
    parser.add_argument("--loop-steps", type=int, default=5_000_000, help="of one seed in the loop")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/tabular_learning"))
    args = parser.parse_args()
    for words in (LAKE, TAXI):
        command(*words, "--steps", "1000")  # compiles
    load = os.getloadavg()[0]
    repetitions = [
        measure(args.steps, args.taxi_steps, args.loop_steps) for _ in range(args.repetitions)
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "times.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["repetition", *ROWS], lineterminator="\n")
        writer.writeheader()
        for number, one in enumerate(repetitions):
            rounded = {row: f"{value:.6g}" for row, value in one.items()}
            writer.writerow({"repetition": number, **rounded})
    processors = len(os.sched_getaffinity(0))
    text = table(repetitions, f"median of {args.repetitions}")
    text += f"\n{processors} processors, load {load:.1f} before the start.\n"
    (args.out / "table.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
