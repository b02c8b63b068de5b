"""Common parts of the experiments: options, training with a progress bar, published files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rlkit
from rlkit.cli.report import print_pairs, print_runs, show_progress
from rlkit.training.comparing.comparison import Comparison
from rlkit.training.run import Run


def arguments(question: str, *, seeds: int, out: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every experiment."""
    parser = argparse.ArgumentParser(
        description=question, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=seeds, help="seeds per agent")
    parser.add_argument("--workers", type=int, default=2, help="processes to spread the seeds over")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    return parser


def train_all(
    settings: Mapping[str, Mapping[str, Any]],
    environment: str,
    *,
    seeds: int,
    workers: int,
    out: Path,
    results: Path,
) -> Comparison:
    """Train several agents on one environment, each with its own settings."""
    runs = {}
    with show_progress(quiet=False) as reports:
        for agent, options in settings.items():
            runs[agent] = rlkit.train(
                agent,
                environment,
                seeds=seeds,
                workers=workers,
                out=out,
                reports=reports,
                **options,
            )
    results.mkdir(parents=True, exist_ok=True)
    return Comparison(runs, results)


def publish(comparison: Comparison) -> list[Path]:
    """Write summary, figures, table and curves of a comparison; print the table and the paths."""
    paths = comparison.write()
    for name, run in comparison.runs.items():
        paths.append(_write_curve(run, comparison.folder / f"{name}.csv"))
    table = comparison.folder / "table.md"
    table.write_text(markdown_table(comparison))
    paths.append(table)
    print_runs(dict(comparison.runs), comparison.optimum)
    print_pairs(comparison.pairs())
    for path in paths:
        print(f"  {path}")
    return paths


def _write_curve(run: Run, path: Path) -> Path:
    """Write one row per evaluation and one column per seed."""
    header = ",".join(["num_env_steps", *(f"seed_{seed:03d}" for seed in run.seeds)])
    table = np.column_stack([run.steps, run.curve.T])
    np.savetxt(path, table, fmt="%.10g", delimiter=",", header=header, comments="")
    return path


def markdown_table(comparison: Comparison) -> str:
    """Return the agents of a comparison as a Markdown table."""
    best = comparison.optimum
    head = ["agent", "seeds", "env steps per seed", "final return (95 %)", "IQM"]
    if best is not None:
        head.append("of the optimum")
    lines = [_row(head), _row(["---"] * len(head))]
    summary = comparison.summary()["agents"]
    for name, entry in summary.items():
        low, high = entry["interval"]
        cells = [
            name,
            str(len(entry["final"])),
            f"{entry['env_steps']:,}",
            f"{entry['mean']:.4g} ({low:.4g} to {high:.4g})",
            f"{entry['iqm']:.4g}",
        ]
        if best is not None:
            cells.append(f"{100 * entry['mean'] / best:.1f} %" if best > 0 else "")
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
