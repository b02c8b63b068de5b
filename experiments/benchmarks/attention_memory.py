"""How does the memory of attention grow with the length of the sequences?

Two ways to compute the same causal attention, softmax(Q K^T / sqrt(d)) V:

    fused          torch.nn.functional.scaled_dot_product_attention, which goes over the keys in
                   pieces and never holds the L x L weights of a head
    written out    the scores, their softmax and the product, in turn

Each point is measured in its own process. The memory is the peak that torch's allocator held beyond
queries, keys and values, from its record of every allocation; the rise of the peak of the whole
process (ru_maxrss) is reported too, which includes everything but is coarse below a few MB. A
training step is a forward and a backward pass.

    python -m experiments.benchmarks.attention_memory
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from rlkit.analysis.figure import PALETTE, save_figure

LENGTHS = (256, 512, 1024, 2048, 4096)
FORMS = ("fused", "written out")
MODES = ("forward", "training step")
HEADS, HEAD_SIZE = 4, 16  # one sequence of a model of width 64
MIB = 2**20


@dataclass(frozen=True)
class Point:
    """The memory of one computation."""

    form: str
    mode: str
    length: int
    peak_bytes: int  # most held by torch's allocator beyond queries, keys and values
    process_peak_rise_bytes: int  # of ru_maxrss


def attention(form: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[1, heads, L, head] of each, causal."""
    if form == "fused":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    length = query.shape[2]
    future = torch.ones(length, length, dtype=torch.bool).triu_(1)
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    return scores.masked_fill(future, -math.inf).softmax(-1) @ value


def run(form: str, mode: str, length: int) -> Tensor:
    """The computation; returns its result."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, HEADS, length, HEAD_SIZE)
    training = mode == "training step"
    query, key, value = torch.randn(shape, generator=generator).requires_grad_(training)
    with torch.set_grad_enabled(training):
        out = attention(form, query, key, value)
    if training:
        torch.autograd.backward(out.sum())
    return out.detach()


def peak_of_allocations(form: str, mode: str, length: int) -> int:
    """The most bytes held at once during the computation, less what queries, keys, values take."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run(form, mode, length)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak - 3 * HEADS * HEAD_SIZE * length * 4


def process_peak() -> int:
    """Of this process so far, in bytes; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure_here(form: str, mode: str, length: int) -> Point:
    """One point; for a process in which nothing large has run before."""
    torch.set_num_threads(1)
    run(form, mode, 32)  # what is loaded or set up at the first use
    before = process_peak()
    run(form, mode, length)
    rise = process_peak() - before
    return Point(form, mode, length, peak_of_allocations(form, mode, length), rise)


def measure(form: str, mode: str, length: int) -> Point:
    """One point, in a fresh process."""
    command = [sys.executable, str(Path(__file__)), "--point", form, mode, str(length)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Point(**json.loads(done.stdout.splitlines()[-1]))


def largest_difference(length: int = 300) -> float:
    """Between the results of the two forms."""
    results = [run(form, "forward", length) for form in FORMS]
    return float((results[0] - results[1]).abs().max())


def growth(points: Sequence[Point]) -> float:
    """The exponent p of memory ~ length^p from the shortest to the longest."""
    first, last = points[0], points[-1]
    return math.log(last.peak_bytes / first.peak_bytes) / math.log(last.length / first.length)


def series(points: Sequence[Point], form: str, mode: str) -> list[Point]:
    return [point for point in points if (point.form, point.mode) == (form, mode)]


def markdown_table(points: Sequence[Point], lengths: Sequence[int]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    lines = [
        f"Peak memory in MiB of causal attention, one sequence, {HEADS} heads of {HEAD_SIZE}, "
        "float32; in brackets the rise of the process's peak. Growth is the exponent p of "
        "L^p from the first to the last column.",
        "",
        line(["", *(f"L = {length}" for length in lengths), "growth"]),
        line(["---"] + ["---:"] * (len(lengths) + 1)),
    ]
    for mode in MODES:
        for form in FORMS:
            row = series(points, form, mode)
            cells = [
                f"{p.peak_bytes / MIB:,.2f} ({p.process_peak_rise_bytes / MIB:,.1f})" for p in row
            ]
            lines.append(line([f"{mode}, {form}", *cells, f"{growth(row):.2f}"]))
    return "\n".join(lines) + "\n"


def memory_figure(points: Sequence[Point], lengths: Sequence[int]) -> Figure:
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    panels = figure.subplots(1, len(MODES), sharey=True)
    for axes, mode in zip(panels, MODES, strict=True):
        for k, form in enumerate(FORMS):
            row = series(points, form, mode)
            memory = [point.peak_bytes / MIB for point in row]
            axes.loglog(lengths, memory, "os"[k] + "-", color=PALETTE[k], markersize=4, label=form)
            power = 2 if form == "written out" else 1
            guide = [memory[0] * (length / lengths[0]) ** power for length in lengths]
            label = f"∝ L{'²' if power == 2 else ''}"
            axes.loglog(lengths, guide, "--", color="0.45", linewidth=0.9)
            axes.annotate(
                label, (lengths[-1], guide[-1]), (5, -3), textcoords="offset points", fontsize=8
            )
        axes.set_title(mode, fontsize=9)
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.minorticks_off()
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.13)
        axes.set_xlabel("length L (tokens)", fontsize=8)
    panels[0].set_ylabel("peak memory (MiB)", fontsize=8)
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=list(LENGTHS), help="at least two, rising"
    )
    parser.add_argument("--out", type=Path, default=Path("results/attention_memory"))
    parser.add_argument("--point", nargs=3, metavar=("FORM", "MODE", "L"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        form, mode, length = options.point
        print(json.dumps(asdict(measure_here(form, mode, int(length)))))
        return
    lengths = options.lengths
    if len(lengths) < 2 or sorted(set(lengths)) != lengths or lengths[0] < 1:
        parser.error(f"--lengths must be two or more rising numbers, got {lengths}")
    torch.set_num_threads(1)
    difference = largest_difference()
    if difference > 1e-5:
        raise RuntimeError(f"the two forms differ by {difference:.2g}")
    points = [measure(form, mode, n) for mode in MODES for form in FORMS for n in lengths]
    table = markdown_table(points, lengths)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    content = {
        "heads": HEADS,
        "head_size": HEAD_SIZE,
        "torch": torch.__version__,
        "largest_difference_of_results": difference,
        "points": [asdict(point) for point in points],
    }
    (options.out / "memory.json").write_text(json.dumps(content, indent=2) + "\n")
    save_figure(memory_figure(points, lengths), options.out / "memory.png")
    print(table, end="")


if __name__ == "__main__":
    main()
