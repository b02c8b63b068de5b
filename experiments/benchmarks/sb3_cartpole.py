"""How long do ten seeds of PPO on CartPole-v1 take, here and with Stable-Baselines3?

    python -m experiments.benchmarks.sb3_cartpole

Both train 100,000 steps with the settings of rl-zoo3. Stable-Baselines3 trains one seed per
process, two processes at a time, one thread each; rlkit trains ten seeds in two such processes.
Whole processes are timed, imports included, without evaluation, in turn within a repetition, so
that the ratios hold on a machine whose speed drifts. Ten seeds in one process are compared with one
seed in one process as well.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

SB3 = """
import sys
import torch
torch.set_num_threads(1)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

steps = int(sys.argv[2])
model = PPO(
    "MlpPolicy", make_vec_env("CartPole-v1", 8, seed=int(sys.argv[1])), n_steps=32,
    batch_size=256, n_epochs=20, gamma=0.98, gae_lambda=0.8, ent_coef=0.0,
    learning_rate=lambda left: left * 1e-3, clip_range=lambda left: left * 0.2,
    seed=int(sys.argv[1]), device="cpu",
)
model.learn(steps)
"""


def run_sb3(num_seeds: int, num_env_steps: int) -> None:
    """Train one seed per process, two processes at a time."""
    waiting = [[sys.executable, "-c", SB3, str(s), str(num_env_steps)] for s in range(num_seeds)]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < 2:
            running.append(subprocess.Popen(waiting.pop(0), env=_one_thread()))
        time.sleep(0.02)
        for process in [p for p in running if p.poll() is not None]:
            if process.returncode:
                raise SystemExit("a run of Stable-Baselines3 failed; its message is above")
            running.remove(process)


def run_rlkit(num_seeds: int, workers: int, num_env_steps: int) -> None:
    """Train all seeds by the command, into a folder that is thrown away."""
    folder = tempfile.mkdtemp()
    command = [sys.executable, "-m", "rlkit", "train", "ppo", "CartPole-v1", "--json"]
    options = {
        "seeds": num_seeds,
        "workers": workers,
        "steps": num_env_steps,
        "evaluation-episodes": 0,
        "out": folder,
    }
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_one_thread())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one_thread() -> dict[str, str]:
    # Compiled modules are kept, as they are for anyone who runs a program more than once.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def seconds(job: Callable[[], None]) -> float:
    """Wall-clock time of a job."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def table(times: dict[str, list[float]], ratios: dict[str, list[float]]) -> list[str]:
    """Median, lowest and highest of the repetitions; of a single one, its value alone."""
    once = all(len(values) == 1 for values in times.values())
    columns = {"one run": min} if once else {"median": statistics.median, "min": min, "max": max}
    lines = [f"| what | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for name, values in {**times, **ratios}.items():
        unit = " s" if name in times else " x"
        cells = [f"{of(values):.2f}{unit}" for of in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/sb3_cartpole"))
    args = parser.parse_args()

    jobs: dict[str, Callable[[], None]] = {
        "sb3, 2 at a time": lambda: run_sb3(args.seeds, args.steps),
        "rlkit, 2 workers": lambda: run_rlkit(args.seeds, 2, args.steps),
        "rlkit, 1 process": lambda: run_rlkit(args.seeds, 1, args.steps),
        "rlkit, 1 process, 1 seed": lambda: run_rlkit(1, 1, args.steps),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(args.repetitions):
        for name, job in jobs.items():
            times[name].append(seconds(job))
            print(f"{name:<26} {times[name][-1]:7.1f} s", flush=True)

    def ratio(a: str, b: str) -> list[float]:
        return [x / y for x, y in zip(times[a], times[b], strict=True)]

    ratios = {
        "speed-up over sb3 (both cores)": ratio("sb3, 2 at a time", "rlkit, 2 workers"),
        f"{args.seeds} seeds / 1 seed (one process)": ratio(
            "rlkit, 1 process", "rlkit, 1 process, 1 seed"
        ),
    }
    lines = table(times, ratios)
    print("\n" + "\n".join(lines))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    content = {
        "date": datetime.date.today().isoformat(),
        "versions": {name: version(name) for name in ("stable_baselines3", "torch", "gymnasium")},
        **{"steps": args.steps, "seeds": args.seeds, "seconds": times, "ratios": ratios},
    }
    (args.out / "times.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
