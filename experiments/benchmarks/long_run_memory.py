"""Does the memory of a long run grow?

Q-learning and the random agent take 10^7 steps in a user's environment without a table, in the
ordinary loop, with evaluations, csv and checkpoints. The memory of the process (its resident set)
is read at every row. After the first fifth of the run it may grow by at most 20 MB. Step sizes that
fall with the visits of a pair are kept in a table of 8 bytes for each visit of the pair that is
visited most, up to 16 MiB.

    python -m experiments.benchmarks.long_run_memory
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces

import rlkit
from rlkit.runs.reports import Reports

RESULTS = Path("results/long_run_memory")
WARM_UP = 0.2  # of the steps
MOST_GROWTH = 20.0  # MB
# what: (agent, options)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "q-learning, constant step size": ("q-learning", {"step_size": 0.1}),
    "q-learning, step sizes by visits": ("q-learning", {}),
    "random": ("random", {}),
}
ROWS = 100


class Ring(gym.Env[Any, Any]):
    """Twenty places in a ring; a step goes to a neighbour, with noise; place 0 has the reward."""

    observation_space = spaces.Discrete(20)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.elapsed = int(self.np_random.integers(20)), 0
        return self.place, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.elapsed += 1
        goes_back = (action == 0) != (self.np_random.random() < 0.1)
        self.place = (self.place + (-1 if goes_back else 1)) % 20
        return self.place, float(self.place == 0), False, self.elapsed >= 25, {}


def resident() -> float:
    """Return the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(what: str, num_steps: int) -> list[tuple[int, float]]:
    """Train one seed; return the steps and the memory in MB at each row."""
    (agent, options), samples = CASES[what], list[tuple[int, float]]()

    def sample(seeds: Sequence[int], steps: int) -> None:
        if steps % (num_steps // ROWS) == 0 and (not samples or samples[-1][0] != steps):
            samples.append((steps, resident()))

    with tempfile.TemporaryDirectory() as out:
        run = rlkit.train(
            *(agent, Ring),
            **options,
            **{"seeds": 1, "envs": 8, "steps": num_steps, "evaluate_every": num_steps // ROWS},
            evaluation_episodes=4,
            out=out,
            reports=Reports(progress=sample),
        )
        assert run.record["stepped_as"] == "gymnasium"
    return samples


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """Return by how many MB the memory grew after the first fifth, at most."""
    num_steps = samples[-1][0]
    later = [memory for steps, memory in samples if steps >= WARM_UP * num_steps]
    return max(later) - later[0]


def measure_apart(what: str, num_steps: int) -> list[tuple[int, float]]:
    """Return what `measure` does in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, what, num_steps).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = ["| what | steps | after a fifth, MB | growth, MB | must |", "|" + " --- |" * 5]
    with (args.out / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "num_env_steps", "resident_mb"])
        for what in CASES:
            samples = measure_apart(what, args.steps)
            writer.writerows([what, steps, f"{memory:.2f}"] for steps, memory in samples)
            start = next(m for steps, m in samples if steps >= WARM_UP * args.steps)
            measured = f"{args.steps:,} | {start:.1f} | {growth(samples):.1f}"
            lines.append(f"| {what} | {measured} | <= {MOST_GROWTH:.0f} |")
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
