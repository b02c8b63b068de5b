"""What do callbacks, stopping rules, TensorBoard and best policies cost?

Ten seeds are trained with all of these at once, and without. Both alternate within one run of this
script, in seconds of the clock from the first to the last row. The throughput of the first must be
at least 95 % of the second's. The cost is one of rows, not of steps, so that it is also given in
milliseconds per row: rows that are closer together cost more of the time between them. Those of PPO
are as far apart as in its preset. Those of Q-learning are further apart: its preset trains ten
seeds in a third of a second, in which no row is cheap.

    python -m experiments.benchmarks.watching
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.safety_cost import measured, write_table
from rlkit.runs.reports import Reports
from rlkit.training.specification import make_spec
from rlkit.training.train import train_spec
from rlkit.training.watching.progress import Progress
from rlkit.training.watching.rules import make_rules
from rlkit.training.watching.watch import Watching

RESULTS = Path("results/watching")
SEEDS = 10
MUST = 95.0  # percent
# what: (agent, environment, options, steps of each seed that take some seconds, rows, workers)
CASES: dict[str, tuple[str, str, dict[str, Any], int, int, int]] = {
    "q-learning, compiled loop": ("q-learning", "FrozenLake-v1", {}, 24_000_000, 20, 1),
    "ppo, batched twin": ("ppo", "CartPole-v1", {}, 15_000, 3, 1),
    "ppo, Gymnasium's environment": ("ppo", "CartPole-v1", {"native": False}, 10_000, 2, 1),
    "ppo, two workers that wait for each other": ("ppo", "CartPole-v1", {}, 30_000, 6, 2),
}


def looks(progress: Progress) -> None:
    """Look at what a callback is for."""
    assert progress.interval().high >= progress.returns.min()
    assert progress.rows[progress.measured].shape[0] == SEEDS


def seconds(what: str, scale: float, *, watched: bool) -> float:
    """Train the seeds of a case; return the seconds from the first row to the last."""
    agent, environment, options, steps, rows, workers = CASES[what]
    steps = max(rows, int(steps * scale))
    every = max(1, steps // rows)
    spec = make_spec(agent, environment, steps=steps, evaluate_every=every, **options)
    marks: list[float] = []

    def progress(seeds: Sequence[int], steps: int) -> None:
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        watching = Watching()
        if watched:
            rules = make_rules(SEEDS, until_return=1e9, patience=10**6)  # decided, and never met
            spec = dataclasses.replace(spec, stop=rules, keep_best=True)
            watching = Watching(callbacks=[looks], tensorboard=Path(folder, "events"))
        run = train_spec(
            *(spec, SEEDS, Path(folder)),
            workers=workers,
            watching=watching,
            reports=Reports(progress=progress),
        )
        assert run.status == "finished"
    return marks[-1] - marks[SEEDS]  # the first are of where the seeds start


def measure(what: str, scale: float) -> tuple[float, float]:
    """Return the seconds with and without, in turns that cancel a drift of the machine."""
    first = seconds(what, scale, watched=True)
    second = seconds(what, scale, watched=False) + seconds(what, scale, watched=False)
    return (first + seconds(what, scale, watched=True)) / 2, second / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    columns = ("what", "steps", "with, s", "without, s", "ms per row", "throughput")
    lines = [f"| {' | '.join((*columns, 'least to most', 'must'))} |", "|" + " --- |" * 8]
    for what, (watched, without), share, span in measured(measure, CASES, args):
        *_, steps, rows, _ = CASES[what]
        per_row = 1000 * (watched - without) / rows
        lines.append(
            f"| {what} | {steps * args.scale:,.0f} | {watched:.3g} | {without:.3g} "
            f"| {per_row:.2g} | {share} | {span} | >= {MUST:.0f} % |"
        )
    write_table(lines, load, args.out)


if __name__ == "__main__":
    main()
