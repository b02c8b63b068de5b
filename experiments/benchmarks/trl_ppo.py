"""PPO with a KL penalty: speed and distance from the optimum, here and with TRL.

    python -m experiments.benchmarks.trl_ppo

TRL 1.12 is the last release with a PPO trainer; it gets a virtual environment of its own, made
once. With each seed, both sides start from the same folder of a small GPT-2, fine-tuned on
demonstrations, and do as many updates with the same distribution of prompts, gold reward and
settings, one thread each, in turn. One script then evaluates all policies: on `enumerable`
(responses of up to 6 tokens) against the exact optimum, on `grammar` (24) by 4096 samples.

The differences: rlkit reads the weights into its own transformer, whose logits are those of the
Hugging Face model, and writes them back; TRL runs the Hugging Face model itself. TRL puts the score
one token after the end of a response, clips the critic's loss but no gradient, and trains policy
and critic by one AdamW. Its value loss has its default weight (0.1), which works better for it than
our 0.5. It samples from all tokens of the model; rlkit, from the task's actions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.benchmarks.trl.job import BATCH_SIZE, KL_COEF, Job, make_task

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch==2.13.0", "trl==1.12.0", "peft", "requests", "gymnasium")
SIDES = ("rlkit", "trl")
WARM_UP = 1  # updates left out of the times: the first one fills caches


def ensure_environment(folder: Path) -> Path:
    """Return the Python of an environment with TRL, which is created if missing."""
    python = folder / "bin" / "python"
    probe = "from importlib.metadata import version as v; print(v('trl'), v('gymnasium'))"
    if python.is_file():
        found = subprocess.run([python, "-c", probe], capture_output=True, text=True)
        if found.stdout.startswith("1.12.0"):
            return python
    print(f"making an environment with TRL in {folder}; this downloads about 300 MB", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def run_side(side: str, python: Path, job: Job, folder: Path) -> dict[str, Any]:
    """Train in a process with one thread; return its result and its total time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    # Compiled modules are kept, as they are for anyone who runs a program more than once.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment = {
        **kept,
        **{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        **{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        **{"HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"},
        **{"HF_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)},
    }
    command = [python, "-m", f"experiments.benchmarks.trl.{side}_side", folder / "job.json"]
    log = folder / "log.txt"
    started = time.perf_counter()
    with log.open("w") as output:
        done = subprocess.run(
            [str(word) for word in command], env=environment, stdout=output, stderr=output
        )
    if done.returncode:
        end = "\n".join(log.read_text().splitlines()[-15:])
        raise SystemExit(f"{side} failed on {job.task}; the end of {log}:\n{end}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return {"process_seconds": time.perf_counter() - started, **result}


def compare(
    task_name: str, num_updates: int, seeds: int, pythons: dict[str, Path], work: Path
) -> dict[str, Any]:
    """Train both sides with each seed, in turn, and evaluate their policies."""
    # Late: the parts of rlkit that need torch and transformers are not needed to make a job.
    from experiments.benchmarks.trl.start import Judge, save_start

    task = make_task(task_name)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for seed in range(seeds):
        start = work / task_name / f"start-{seed}"
        if not (start / "model.safetensors").is_file():
            print(f"{task_name}  seed {seed}: fine-tuning what both start from", flush=True)
            save_start(task, seed, start)
        judge = Judge(task, start, KL_COEF)
        # Alternating who comes first, so that a drift of the machine's speed hits both.
        for side in SIDES if seed % 2 == 0 else SIDES[::-1]:
            folder = work / task_name / f"{side}-{seed}"
            job = Job(task_name, str(start), seed, num_updates, judge.gain, judge.bias)
            result = run_side(side, pythons[side], job, folder)
            result |= {"seed": seed, **judge.values(folder / "policy")}
            result["optimum_kl"] = judge.optimum_kl()
            times = result["update_seconds"][WARM_UP:] or result["update_seconds"]
            result["seconds_per_update"] = statistics.median(times)
            runs[side].append(result)
            shown = ("seconds_per_update", "gap", "objective", "kl", "logged_kl")
            text = "  ".join(f"{name} {result[name]:.4f}" for name in shown if name in result)
            print(f"{task_name}  {side:<6} seed {seed}  {text}", flush=True)
    return {
        "task": task_name,
        "num_updates": num_updates,
        "max_new_tokens": task.max_new_tokens,
        "runs": runs,
    }


# The name of a quantity, its key, its format.
COLUMNS = (
    ("s / update", "seconds_per_update", ".3f"),
    ("gap", "gap", ".4f"),
    ("objective", "objective", ".3f"),
    ("KL, nats", "kl", ".3f"),
    ("KL as logged", "logged_kl", ".3f"),
    ("peak memory, MB", "peak_megabytes", ".0f"),
    ("import, s", "import_seconds", ".1f"),
    ("whole process, s", "process_seconds", ".1f"),
)


def tables(comparisons: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return medians and ranges over the seeds, and ratios of the times of paired runs."""
    head = ["task", "side", *(title for title, _, _ in COLUMNS)]
    lines = [_row(head), _row(["---"] * len(head))]
    notes = []
    for one in comparisons:
        for side, runs in one["runs"].items():
            cells = [_cell([run.get(key) for run in runs], form) for _, key, form in COLUMNS]
            lines.append(_row([f"{one['task']} ({one['num_updates']} updates)", side, *cells]))
        pairs = list(zip(one["runs"]["trl"], one["runs"]["rlkit"], strict=True))
        ratios = [a["seconds_per_update"] / b["seconds_per_update"] for a, b in pairs]
        note = f"- {one['task']}: an update takes TRL {_cell(ratios, '.2f')} times as long"
        best = [run["optimum_kl"] for run in one["runs"]["trl"]]
        if None not in best:
            note += f"; the best policy has a KL of {_cell(best, '.3f')}"
        foreign = statistics.median(run["foreign_fraction"] for run in one["runs"]["trl"])
        notes.append(f"{note}; {foreign:.2%} of TRL's responses held tokens that are no actions.")
    seeds = len(comparisons[0]["runs"]["trl"])
    notes.append(
        f"- Median (lowest to highest) of {seeds} seeds; {BATCH_SIZE} responses an update."
    )
    return {"table.md": "\n".join(lines) + "\n", "notes.md": "\n".join(notes) + "\n"}


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle, low, high = (format(f(known), form) for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=str(__doc__).splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--environment", type=Path, default=ROOT / ".venv-trl", help="where TRL is installed")
    add("--tasks", nargs="+", default=["enumerable", "grammar"], help="what is compared on")
    add("--updates", type=int, nargs="+", default=[80, 40], help="of each task")
    add("--seeds", type=int, default=3)
    add("--work", type=Path, default=Path("runs/trl_ppo"), help="where the trained policies go")
    add("--out", type=Path, default=Path("results/trl_ppo"), help="where the results go")
    args = parser.parse_args()
    if len(args.updates) != len(args.tasks):
        parser.error(f"--updates: expected a number for each of {args.tasks}, got {args.updates}")
    pythons = {"rlkit": Path(sys.executable), "trl": ensure_environment(args.environment)}
    import torch

    torch.set_num_threads(1)
    comparisons = [
        compare(task, updates, args.seeds, pythons, args.work.resolve())
        for task, updates in zip(args.tasks, args.updates, strict=True)
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    for name, text in tables(comparisons).items():
        print(f"\n{text}")
        (args.out / name).write_text(text)
    (args.out / "runs.json").write_text(json.dumps(comparisons, indent=1) + "\n")


if __name__ == "__main__":
    main()
