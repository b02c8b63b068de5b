"""Does a change leave every byte of every kind of run as it was?

Trains a reference set, one run of each agent and each RLHF stage, with 3 seeds, in 1 and in 2
processes, and lists the sha256 of every csv and of every final checkpoint. Two lists made on one
machine by two states of the code are equal unless the change altered what is computed.

    python -m experiments.benchmarks.reference_bytes --out results/reference_bytes/before.csv
    python -m experiments.benchmarks.reference_bytes --against results/reference_bytes/before.csv

The bytes of networks differ between processors, so only lists from one machine can be compared.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rlkit
from rlkit import rlhf

SEEDS = 3
AGENTS: dict[str, dict[str, Any]] = {
    "value-iteration": {
        "agent": "value-iteration",
        "environment": "FrozenLake-v1",
        "steps": 2_000,
        "evaluate_every": 500,
    },
    "q-learning": {
        "agent": "q-learning",
        "environment": "FrozenLake-v1",
        "steps": 20_000,
        "evaluate_every": 5_000,
        "epsilon_steps": 15_000,
    },
    "reinforce": {
        "agent": "reinforce",
        "environment": "CartPole-v1",
        "steps": 10_000,
        "evaluate_every": 2_500,
    },
    "ppo-discrete": {
        "agent": "ppo",
        "environment": "CartPole-v1",
        "steps": 10_240,
        "evaluate_every": 2_560,
    },
    "ppo-continuous": {
        "agent": "ppo",
        "environment": "Pendulum-v1",
        "steps": 16_384,
        "evaluate_every": 4_096,
        "normalise_observations": True,
        "scale_rewards": True,
    },
}
STAGES: dict[str, dict[str, Any]] = {
    "sft": {"num_demonstrations": 1024, "num_epochs": 2},
    "reward": {"num_pairs": 500, "num_epochs": 2, "min_updates": 40},
    "dpo": {"num_pairs": 500, "num_epochs": 2},
    "ppo": {"num_updates": 8},
    "rloo": {"num_updates": 8},
    "grpo": {"num_updates": 8},
}


def train_all(folder: Path, workers: int) -> dict[str, Path]:
    """Train the reference set; returns the folder of each run."""
    common = {"seeds": SEEDS, "out": folder, "workers": workers}
    runs = {}
    for name, options in AGENTS.items():
        runs[name] = Path(rlkit.train(**options, **common).folder)
    sft = rlhf.sft("enumerable", **STAGES["sft"], **common)
    reward = rlhf.reward(sft, **STAGES["reward"], **common)
    methods: dict[str, Callable[..., Any]] = {
        "ppo": rlhf.ppo,
        "rloo": rlhf.rloo,
        "grpo": rlhf.grpo,
    }
    stages = {"sft": sft, "reward": reward, "dpo": rlhf.dpo(sft, **STAGES["dpo"], **common)}
    for name, method in methods.items():
        stages[name] = method(sft, reward=reward, **STAGES[name], **common)
    return runs | {f"rlhf-{name}": Path(run.folder) for name, run in stages.items()}


def hashes(runs: dict[str, Path]) -> dict[str, str]:
    """The sha256 of every csv and of every seed's last checkpoint, by run and seed."""
    result = {}
    for name, folder in runs.items():
        files = sorted(folder.glob("seed-*.csv"))
        for seed in sorted((folder / "checkpoints").iterdir()):
            files.append(max(seed.glob("*.npz")))
        for path in files:
            seed_name = path.stem if path.suffix == ".csv" else path.parent.name
            key = f"{name}/{seed_name}/{'curve' if path.suffix == '.csv' else 'checkpoint'}"
            result[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the list to this csv")
    parser.add_argument("--against", type=Path, help="compare with the list in this csv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        now = hashes(train_all(Path(one), workers=1))
        split = hashes(train_all(Path(two), workers=2))
    different = [name for name in now if now[name] != split.get(name)]
    print(f"{len(now)} files; {len(different)} differ between 1 and 2 processes", *different)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "sha256"])
            writer.writerows(sorted(now.items()))
    if arguments.against:
        with arguments.against.open(newline="") as file:
            before = {row["file"]: row["sha256"] for row in csv.DictReader(file)}
        changed = [name for name in before | now if before.get(name) != now.get(name)]
        print(f"{len(changed)} of {len(before)} differ from {arguments.against}", *changed)
        different += changed
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
