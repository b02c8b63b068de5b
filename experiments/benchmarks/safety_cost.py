"""What do checks, checkpoints and csv cost?

Seeds are trained as in a run, and once more without: the checks of actions, of what environments
return and of infinite numbers, the watch over calls that hang, the settings that are set for agents
and environments, csv and checkpoints. Both alternate within one run of this script, in seconds of
the clock from the first to the last row, ten seeds at a time. The throughput of the first must be
at least 95 % of the second's. The first row and the last two are always saved, and others as often
as in any run, so each case trains for several of the pauses between saves.

    python -m experiments.benchmarks.safety_cost
    python -m experiments.benchmarks.safety_cost --only "ppo, batched twin" --out /tmp/twin
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from rlkit import loop
from rlkit.determinism import prepared_torch
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.stepping.checked import CheckedEnv, Outcome, Start
from rlkit.runs import store
from rlkit.runs.curves import CurveFile
from rlkit.runs.reports import Reports
from rlkit.training import seed_batch, seed_trainer
from rlkit.training.specification import make_spec

RESULTS = Path("results/safety_cost")
SEEDS = range(10)
ROWS = 20
MUST = 95.0  # percent
# what: (agent, environment, options, steps of each seed that take some seconds)
CASES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "q-learning, compiled loop": ("q-learning", "FrozenLake-v1", {}, 40_000_000),
    "q-learning, ordinary loop": ("q-learning", "FrozenLake-v1", {"native": False}, 48_000),
    "ppo, batched twin": ("ppo", "CartPole-v1", {}, 30_000),
    "ppo, Gymnasium's environment": ("ppo", "CartPole-v1", {"native": False}, 24_000),
}


def _unchecked_reset(env: CheckedEnv, seed: int) -> Start:
    obs, _ = env.env.reset(seed=seed)
    return Start(np.asarray(obs, dtype=env.observation_space.dtype))


def _unchecked_step(env: CheckedEnv, action: Any) -> Outcome:
    obs, *rest, _ = env.env.step(env._layout.to_env(action))
    return Outcome(np.asarray(obs, dtype=env.observation_space.dtype), *rest)


@contextlib.contextmanager
def without_safety() -> Iterator[None]:
    """Leave out checks, checkpoints and csv."""

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    with contextlib.ExitStack() as stack:
        for owner, name, instead in (
            (loop, "action_check", lambda *args: lambda action, idle, masks=None: action),
            (loop, "apart", call),
            (CheckedEnv, "reset", _unchecked_reset),
            (CheckedEnv, "step", _unchecked_step),
            (GymBatchEnv, "_require_finite", lambda *args: None),
            (seed_trainer, "watched", lambda *args: contextlib.nullcontext()),
            (seed_batch.SeedBatch, "save", lambda *args, **kwargs: None),
            (CurveFile, "append", lambda *args: None),
        ):
            stack.enter_context(mock.patch.object(owner, name, instead))
        yield


def seconds(what: str, scale: float) -> float:
    """Train the seeds of a case; return the seconds from the first row to the last."""
    agent, environment, options, steps = CASES[what]
    steps = max(ROWS, int(steps * scale))
    spec = make_spec(
        *(agent, environment),
        **{"steps": steps, "evaluate_every": max(1, steps // ROWS), "evaluation_episodes": 0},
        **options,
    )
    marks: list[float] = []

    def progress(seeds: Sequence[int], steps: int) -> None:
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, prepared_torch():
        found = spec.resolve().seen_as(spec.view)
        store.prepare_folder(Path(folder))
        failures = seed_trainer.train_seeds(
            *(spec, found, Path(folder), SEEDS), Reports(progress=progress)
        )
    assert not failures
    return marks[-1] - marks[0]


def measure(what: str, scale: float) -> tuple[float, float]:
    """Return the seconds with and without, in turns that cancel a drift of the machine."""
    first, second = seconds(what, scale), 0.0
    with without_safety():
        second = seconds(what, scale) + seconds(what, scale)
    return (first + seconds(what, scale)) / 2, second / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps")
    parser.add_argument("--only", choices=CASES, help="measure one case")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    lines = ["| what | steps | with, s | without, s | throughput | least to most | must |"]
    lines.append("|" + " --- |" * 7)
    for what, (with_all, without), share, span in measured(
        measure, [args.only] if args.only else CASES, args
    ):
        steps = CASES[what][3] * args.scale
        lines.append(
            f"| {what} | {steps:,.0f} | {with_all:.3g} | {without:.3g} | {share} | {span} "
            f"| >= {MUST:.0f} % |"
        )
    write_table(lines, load, args.out)


def measured(
    measure: Callable[[str, float], tuple[float, float]],
    cases: Iterable[str],
    args: argparse.Namespace,
) -> Iterator[tuple[str, list[float], str, str]]:
    """Measure seconds with and without something, and write each repetition to times.csv.

    Args:
        measure: (case, scale of the steps) -> seconds with and without.
        cases: what is measured.
        args: repetitions, scale and out.

    Yields:
        the case, its medians with and without, the median throughput with against without in
        percent, and the least to the most.
    """
    with (args.out / "times.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "repetition", "seconds_with", "seconds_without"])
        for what in cases:
            measure(what, min(args.scale, 0.01))  # compiles and imports
            times = []
            for k in range(args.repetitions):
                times.append(measure(what, args.scale))
                writer.writerow([what, k, *(f"{value:.6g}" for value in times[-1])])
                file.flush()
            shares = [100 * without / with_it for with_it, without in times]
            medians = [statistics.median(column) for column in zip(*times, strict=True)]
            span = f"{min(shares):.1f} to {max(shares):.1f} %"
            yield what, medians, f"{statistics.median(shares):.1f} %", span


def write_table(lines: Sequence[str], load: float, out: Path) -> None:
    """Write a table in Markdown; print it, with the load of the machine before the start."""
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text)
    processors = len(os.sched_getaffinity(0))
    print(f"{text}\n{processors} processors, load {load:.1f} before the start.")


if __name__ == "__main__":
    main()
