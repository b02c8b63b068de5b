"""Common parts of the RLHF experiments: options, parallel jobs, published files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from rlkit.analysis.figure import save_figure
from rlkit.determinism import prepared_torch
from rlkit.runs import store

Job = TypeVar("Job")
Result = TypeVar("Result")


def arguments(question: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every RLHF experiment."""
    parser = argparse.ArgumentParser(
        description=question, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds per setting")
    parser.add_argument("--workers", type=int, default=2, help="processes to spread the jobs over")
    out = Path("results") / name
    parser.add_argument("--out", type=Path, default=out, help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    return parser


def side_by_side(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> list[Result]:
    """Return the results of `work` in the order of the jobs; long jobs should come first."""
    jobs = list(jobs)
    if workers == 1 or len(jobs) == 1:
        return [_prepared(work, job) for job in jobs]
    # Not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        return list(pool.map(_prepared, [work] * len(jobs), jobs))


def _prepared(work: Callable[[Job], Result], job: Job) -> Result:
    with prepared_torch():
        return work(job)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its first column aligned left and the others right."""
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *rows)) + "\n"


def publish(
    folder: Path, summary: dict[str, Any], texts: dict[str, str], figures: dict[str, Figure]
) -> None:
    """Write summary.json, pages and figures to `folder`, and print their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    store.write_json(folder / "summary.json", summary)
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    for name in ("summary.json", *texts, *figures):
        print(f"  {folder / name}")


def verdict(name: str, value: float, wanted: str, good: bool) -> dict[str, Any]:
    """Print one criterion and return its entry in the summary."""
    print(f"  {'yes' if good else 'NO '}  {name}: {value:.4g}, wanted {wanted}")
    return {"criterion": name, "value": value, "wanted": wanted, "met": bool(good)}
