"""What the commands print: progress, tables, verdicts, JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rlkit.cli.terminal import cell, printable

if TYPE_CHECKING:
    from rlkit.rlhf.stages.stage_run import StageRun
    from rlkit.runs.reports import Reports
    from rlkit.training.run import Run


@contextlib.contextmanager
def progress(*, quiet: bool, unit: str = "steps") -> Iterator[Reports]:
    """Show a progress bar on the terminal's error stream, and notes as plain lines there."""
    from rlkit.runs.progress import reporting

    with reporting(note, quiet=quiet, unit=unit) as reports:
        yield reports


def note(text: object) -> None:
    """Print a sentence for the user on the error stream."""
    print(f"rlkit: {printable(text, lines=True)}", file=sys.stderr)


def print_runs(runs: dict[str, Run], optimum: float | None = None) -> None:
    """The table of results: one line an agent."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    first = next(iter(runs.values()))
    best = first.optimum if optimum is None else optimum
    title = f"{first.environment_name}, stepped as {first.record['stepped_as']}"
    table = Table(title=cell(title), title_justify="left")
    for name in ("agent", "seeds", "env steps", "final return", "95 % interval"):
        table.add_column(name, justify="left" if name == "agent" else "right", no_wrap=True)
    if best is not None:
        table.add_column("of optimum", justify="right", no_wrap=True)
    table.add_column("env steps/s", justify="right", no_wrap=True)
    for name, run in runs.items():
        finished = int(np.isfinite(run.scores).sum())
        cells: list[Any] = [
            cell(name),
            f"{finished}" + ("" if finished == len(run.seeds) else " done"),
        ]
        cells.append(f"{run.num_env_steps:,}")
        if finished:
            interval = run.interval()
            low_high = f"{interval.low:.4g} to {interval.high:.4g}" if finished > 1 else "-"
            cells += [f"{interval.estimate:.4g}", low_high]
            if best is not None:
                share = f"{100 * interval.estimate / best:.1f} %" if best > 0 else "-"
                cells.append(share)
        else:
            cells += ["-"] * (2 if best is None else 3)
        rate = run.env_steps_per_second
        table.add_row(*cells, f"{rate:,.0f}" if rate else "-")
    if best is not None:
        limit = first.record.get("environment_details", {}).get("time_limit")
        under = "without a time limit" if limit is None else f"under the limit of {limit:,} steps"
        table.caption = f"optimum {best:.6g}, exact, {under}"
        table.caption_justify = "left"
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def print_pairs(pairs: Sequence[Any]) -> None:
    for pair in pairs:
        relation = {
            "better": f"{pair.a} is better than {pair.b}",
            "worse": f"{pair.a} is worse than {pair.b}",
            "tie": f"{pair.a} and {pair.b} tie: every score is the same",
            "too few seeds": f"{pair.a} and {pair.b}: too few seeds to tell",
        }.get(pair.verdict, f"{pair.a} and {pair.b}: {pair.verdict} of a difference")
        print(f"{printable(relation)} (difference {pair.difference:+.4g}, p = {pair.p_value:.2g})")


def report_failures(runs: Sequence[Run]) -> int:
    codes = [0]
    for run in runs:
        for seed, failure in run.record["failures"].items():
            if int(seed) not in run.seeds:
                continue
            text = printable(f"{run.agent}, seed {seed}: {failure['message']}", lines=True)
            print(f"rlkit: {text}", file=sys.stderr)
            codes.append(int(failure["exit_code"]))
        if run.failures:
            done = len(run.seeds) - len(run.failures)
            text = printable(f"{done} of {len(run.seeds)} seeds of {run.agent} were finished")
            print(f"rlkit: {text}", file=sys.stderr)
    return max(codes)


def report_stage(run: StageRun, *, quiet: bool = False) -> int:
    """The last row of each seed of a stage, its folder, and what failed."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    if not quiet:
        curves = [run.curve(seed) for seed in run.seeds]
        names = list(dict.fromkeys(name for curve in curves for name in curve))
        table = Table(title=cell(f"{run.stage} on {run.label}"), title_justify="left")
        table.add_column("metric, last row", no_wrap=True)
        for seed in run.seeds:
            table.add_column(f"seed {seed}", justify="right", no_wrap=True)
        for name in names:
            # Some metrics are measured now and then: the last that was.
            known = [curve.get(name, np.array([])) for curve in curves]
            known = [values[~np.isnan(values)] for values in known]
            table.add_row(
                cell(name), *(f"{values[-1]:.5g}" if len(values) else "-" for values in known)
            )
        Console(width=None if sys.stdout.isatty() else 110).print(table)
        print(f"\n{run.folder}")
    codes = [0]
    for seed, failure in run.record["failures"].items():
        text = printable(f"{run.stage}, seed {seed}: {failure['message']}", lines=True)
        print(f"rlkit: {text}", file=sys.stderr)
        codes.append(int(failure["exit_code"]))
    return max(codes)


def print_json(content: Any) -> None:
    from rlkit.runs.store import finite

    print(json.dumps(finite(content), indent=2, allow_nan=False))
