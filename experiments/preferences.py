"""Can CartPole be learned from 500 noisy preferences, and what does noise cost?

    python -m experiments.preferences

Each seed is asked which of two segments of 25 steps is better, 500 times over 4 rounds, by a
labeller whose noise is that of Bradley and Terry: at rationality b, the segment that stands d steps
longer is preferred with probability sigmoid(b d). The reward is learned from these labels alone.
For each b the table has the true return of the final policies, and the accuracy of the rewards on
held-out labels of all seeds together, beside that of the best reward there can be and its standard
error.

`--quick` trains 2 seeds at the default rationality for 40,000 steps, in less than a minute.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rlkit
from experiments.report import arguments
from rlkit.analysis.figure import save_figure
from rlkit.analysis.learning_curves import Reference
from rlkit.analysis.plots import learning_curve_figure
from rlkit.cli.report import show_progress
from rlkit.training.preferences import RewardAccuracy, pooled_accuracy
from rlkit.training.run import Run

RATIONALITIES = (1.0, 0.2)
MEDIAN, LEAST = 475.0, 300.0  # wanted of the true returns at the default rationality
SECONDS = 180.0  # wanted of 10 seeds on two cores


def table(results: Mapping[float, tuple[np.ndarray, RewardAccuracy]]) -> str:
    """Return returns and accuracies by rationality as a Markdown table."""
    lines = [
        "| rationality | seeds | median true return | lowest | held-out labels | accuracy | "
        "Bayes ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rationality, (returns, own) in results.items():
        ceiling = own.ceiling
        lines.append(
            f"| {rationality:g} | {len(returns)} | {np.median(returns):.4g} | {returns.min():.4g} "
            f"| {own.num_held_out:,} | {own.accuracy:.3f} | {ceiling.accuracy:.3f} ± "
            f"{ceiling.standard_error:.3f} |"
        )
    return "\n".join(lines) + "\n"


def shortcomings(returns: np.ndarray, own: RewardAccuracy, seconds: float) -> list[str]:
    """Return what is missed of the wanted numbers, one sentence each."""
    gap = (own.ceiling.accuracy - own.accuracy) / own.ceiling.standard_error
    checks = (
        (np.median(returns) < MEDIAN, f"the median true return is {np.median(returns):.4g}"),
        (returns.min() < LEAST, f"the lowest true return is {returns.min():.4g}"),
        (gap > 2, f"the accuracy is {gap:.2g} standard errors below the ceiling"),
        (seconds > SECONDS, f"training took {seconds:.0f} s"),
    )
    return [text for missed, text in checks if missed]


def learn(rationality: float, args: Any) -> Run:
    """Train the seeds, or open the run that has them."""
    options: dict[str, Any] = {"steps": 40_000} if args.quick else {}
    with show_progress(quiet=False) as reports:
        return rlkit.train(
            "preference-ppo",
            "CartPole-v1",
            seeds=2 if args.quick else args.seeds,
            workers=args.workers,
            out=args.runs,
            rationality=rationality,
            reports=reports,
            **options,
        )


def main() -> None:
    parser = arguments("How well is CartPole learned?", seeds=10, out="results/preferences")
    parser.add_argument("--quick", action="store_true", help="2 seeds of 40,000 steps")
    args = parser.parse_args()
    results, curves = {}, []
    for rationality in RATIONALITIES[: 1 if args.quick else None]:
        run = learn(rationality, args)
        own = pooled_accuracy(run)
        results[rationality] = (run.scores, own)
        seconds = sum(part["seconds"] for part in run.record["timing"])
        curves.append(dataclasses.replace(run.as_curve(), name=f"rationality {rationality:g}"))
        print(f"rationality {rationality:g}: {seconds:.0f} s, final returns {run.scores.tolist()}")
        if rationality == RATIONALITIES[0]:
            print("\n".join(shortcomings(run.scores, own, seconds)) or "all that is wanted")
    print(table(results))
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(table(results))
    lines = [Reference(label, value) for label, value in run.references]
    figure = learning_curve_figure(
        curves, title="CartPole-v1 from 500 preferences: the true return", references=lines
    )
    save_figure(figure, out / "learning_curves.png")
    print(out / "table.md", out / "learning_curves.png", sep="\n")


if __name__ == "__main__":
    main()
