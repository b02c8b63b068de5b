"""What the experiments on RLHF share: options, work side by side, the files that they leave."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from rlkit.analysis.plots import save_figure
from rlkit.determinism import prepared_torch
from rlkit.runs import store

Job = TypeVar("Job")
Found = TypeVar("Found")


def arguments(question: str, name: str) -> argparse.ArgumentParser:
    """The options that each of these experiments has."""
    parser = argparse.ArgumentParser(
        description=question, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each setting")
    parser.add_argument("--workers", type=int, default=2, help="processes to split the work over")
    out = Path("results") / name
    parser.add_argument("--out", type=Path, default=out, help="where the results go")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    return parser


def side_by_side(work: Callable[[Job], Found], jobs: Iterable[Job], workers: int) -> list[Found]:
    """What `work` returns for each job, in their order; the long ones had better come first."""
    jobs = list(jobs)
    if workers == 1 or len(jobs) == 1:
        return [_prepared(work, job) for job in jobs]
    # Not forked: torch's threads would not survive it.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        return list(pool.map(_prepared, [work] * len(jobs), jobs))


def _prepared(work: Callable[[Job], Found], job: Job) -> Found:
    with prepared_torch():
        return work(job)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the first column to the left, numbers to the right."""
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *rows)) + "\n"


def publish(
    folder: Path, summary: dict[str, Any], texts: dict[str, str], figures: dict[str, Figure]
) -> None:
    """Write summary.json, pages and figures under `folder`, and say where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    store.write_json(folder / "summary.json", summary)
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    for name in ("summary.json", *texts, *figures):
        print(f"  {folder / name}")


def verdict(name: str, value: float, wanted: str, good: bool) -> dict[str, Any]:
    """One criterion, as it stands in the summary; printed as well."""
    print(f"  {'yes' if good else 'NO '}  {name}: {value:.4g}, wanted {wanted}")
    return {"criterion": name, "value": value, "wanted": wanted, "met": bool(good)}
