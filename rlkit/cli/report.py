"""Print progress, results and failures of runs."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell, printable
from rlkit.cli.terminal import note as note  # for those who report

if TYPE_CHECKING:
    from rlkit.analysis.statistics import PairComparison
    from rlkit.rlhf.stages.stage_run import StageRun
    from rlkit.runs.reports import Reports
    from rlkit.training.run import Run


@contextlib.contextmanager
def show_progress(*, quiet: bool, unit: str = "steps") -> Iterator[Reports]:
    """Show a progress bar on the terminal's error stream, and notes as plain lines there."""
    from rlkit.runs.progress import reporting

    with reporting(note, quiet=quiet, unit=unit) as reports:
        yield reports


@contextlib.contextmanager
def announcing() -> Iterator[None]:
    """Say on the error stream, once, that something is compiled and has to be waited for."""
    from rlkit.maths.compiled import announced

    with announced(note):
        yield


def print_runs(runs: dict[str, Run], optimum: float | None = None) -> None:
    """Print the table of results, one line per agent."""
    import numpy as np

    first = next(iter(runs.values()))
    best = first.optimum if optimum is None else optimum
    # Of negative returns a share means nothing: how far they are below the optimum does.
    means = [
        float(np.nanmean(run.scores)) for run in runs.values() if np.isfinite(run.scores).any()
    ]
    is_share = best is not None and best > 0 and min(means, default=0.0) >= 0
    title = f"{first.environment_name}, stepped as {first.record['stepped_as']}"
    columns = ["agent", "seeds", "env steps", "final return", "95 % interval"]
    columns += (
        ["env steps/s"]
        if best is None
        else ["of optimum" if is_share else "below optimum", "env steps/s"]
    )
    table = new_table(title, columns)
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
                share = f"{100 * interval.estimate / best:.1f} %"
                cells.append(share if is_share else f"{best - interval.estimate:.4g}")
        else:
            cells += ["-"] * (2 if best is None else 3)
        rate = run.env_steps_per_second
        table.add_row(*cells, f"{rate:,.0f}" if rate else "-")
    if best is not None:
        limit = first.record.get("environment_details", {}).get("time_limit")
        under = under_limit(limit)
        table.caption = f"optimum {best:.6g}, exact, {under}"
        table.caption_justify = "left"
    print_table(table)


def under_limit(limit: int | None) -> str:
    """Return the time limit of an episode in words."""
    if limit is None:
        return "without a time limit"
    return f"under the limit of {limit:,} step{'' if limit == 1 else 's'}"


def print_pairs(
    pairs: Sequence[PairComparison],
    *,
    unit: str = "",
    effect: Callable[[PairComparison], str] | None = None,
    advice: Callable[[PairComparison], str] | None = None,
) -> None:
    """Print the verdict on each pair of agents.

    Args:
        pairs: the comparisons.
        unit: of the difference, with a space before it.
        effect: returns what is printed in place of the difference.
        advice: returns what to do about an undecided pair, or "".
    """
    from rlkit.analysis.comparisons import verdict_in_words

    for pair in pairs:
        relation = verdict_in_words(pair.a, pair.b, pair.verdict)
        size = f"difference {pair.difference:+.4g}{unit}" if effect is None else effect(pair)
        advised = "" if advice is None else advice(pair)
        end = f"; {advised}" if advised else ""
        p = "" if math.isnan(pair.p_value) else f", p = {pair.p_value:.2g}"  # of no test
        print(f"{printable(relation)} ({size}{p}{end})")


def report_failures(runs: Sequence[Run]) -> int:
    """Print the failures of some runs; return the exit code."""
    codes = [0]
    for run in runs:
        failures = run.record["failures"].items()
        failed = [(seed, failure) for seed, failure in failures if int(seed) in run.seeds]
        codes += _print_failures(run.agent, failed)
        if failed:
            done = len(run.seeds) - len(failed)
            note(f"{done} of {len(run.seeds)} seeds of {run.agent} were finished")
    return max(codes)


def report_stage(run: StageRun, *, quiet: bool = False) -> int:
    """Print the last row of each seed of a stage, its folder and failures; return the exit code."""
    if not quiet:
        _print_last_rows(run)
        print(f"\n{run.folder}")
    return max([0, *_print_failures(run.stage, run.record["failures"].items())])


def _print_last_rows(run: StageRun) -> None:
    import numpy as np

    curves = [run.curve(seed) for seed in run.seeds]
    title = f"{run.stage} on {run.label}"
    if len(curves) == 1:
        _print_curve(title, curves[0])
        return
    table = new_table(title, ["metric, last row", *(f"seed {seed}" for seed in run.seeds)])
    for name in dict.fromkeys(name for curve in curves for name in curve):
        # Some metrics are measured now and then: the last measurement counts.
        columns = [curve.get(name, np.array([])) for curve in curves]
        measured = [values[~np.isnan(values)] for values in columns]
        table.add_row(
            cell(name), *(f"{values[-1]:.5g}" if len(values) else "-" for values in measured)
        )
    print_table(table)


# Metrics of which the best row is shown: the largest, or the smallest.
_LARGEST = ("score", "objective", "accuracy", "held_out_accuracy")
_SMALLEST = ("loss", "held_out_loss")


def _print_curve(title: str, curve: Mapping[str, Any]) -> None:
    """Print the first, best and last measurement of each metric of one seed."""
    import numpy as np

    table = new_table(title, ["metric", "first", "best", "last"])
    for name, column in curve.items():
        values = column[~np.isnan(column)]
        if not len(values):
            table.add_row(cell(name), "-", "", "-")
            continue
        best = values.max() if name in _LARGEST else values.min() if name in _SMALLEST else None
        cells = [values[0], best, values[-1]]
        table.add_row(cell(name), *("" if x is None else f"{x:.5g}" for x in cells))
    print_table(table)


def _print_failures(name: str, failures: Iterable[tuple[str, Any]]) -> list[int]:
    """Print why seeds failed; return their exit codes."""
    codes = []
    for seed, failure in failures:
        note(f"{name}, seed {seed}: {failure['message']}")
        codes.append(int(failure["exit_code"]))
    return codes


@contextlib.contextmanager
def alone_on_output(is_json: bool) -> Iterator[None]:
    """With --json, let what a user's function prints go to the error stream."""
    if not is_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(content: Any) -> None:
    """Print plain data as JSON, without NaN and infinity."""
    from rlkit.runs.integrity.seals import finite

    print(json.dumps(finite(content), indent=2, allow_nan=False))
