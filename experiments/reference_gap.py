"""How close does PPO near a reference come to the exact optimum of its penalised return?

    python -m experiments.reference_gap

FrozenLake-v1, whose returns are from 0 to the optimum 0.744, with two references: all actions
equally likely, and an early policy of PPO. The penalty of a nat of divergence is 0.01, 0.1 and 1.
The gap of a seed is the exact penalised optimum of an episode, which may watch the clock, less the
exact penalised return of its final exploring policy, which cannot. The aim: a median gap of at most
2 % of the range of returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import rlkit
from experiments.report import arguments
from rlkit.analysis.figure import PALETTE, legend_below, new_figure, save_figure
from rlkit.cli.report import show_progress
from rlkit.files import write_atomically
from rlkit.tabular.solution import Solution
from rlkit.training.run import Run

ENVIRONMENT = "FrozenLake-v1"
COEFFICIENTS = (0.01, 0.1, 1.0)
EARLY_STEPS = 100_000  # of the policy of PPO that is a reference: half of its preset
WITHIN = 0.02  # of the range of returns
Array = NDArray[Any]
# (name of the reference, coefficient) -> the rows of `Run.evaluate`, one per seed
Rows = Mapping[tuple[str, float], Sequence[Mapping[str, float]]]


def column(rows: Sequence[Mapping[str, float]], name: str) -> Array:
    """Return one number of each seed."""
    return np.array([row[name] for row in rows])


def markdown_table(rows: Rows, answers: Mapping[tuple[str, float], Solution]) -> str:
    """Return the gaps, as medians over seeds with quartiles, beside what is possible."""
    lines = [
        "| reference | penalty per nat | return of the reference | penalised optimum | median gap "
        "(quartiles) | share of the range | seeds within 2 % | median KL per episode |",
        "| --- " * 8 + "|",
    ]
    for (name, coef), seeds in rows.items():
        solution = answers[name, coef]
        near, span = solution.near_reference, solution.optimal_return_under_limit
        assert near is not None
        assert span is not None
        gaps = column(seeds, "gap")
        low, middle, high = np.quantile(gaps, (0.25, 0.5, 0.75))
        within = f"{(gaps <= WITHIN * span).sum()} of {len(gaps)}"
        cells = [name, f"{coef:g}", f"{near.of_reference:.4f}"]
        cells += [
            f"{near.of_plan.penalised_optimum:.4f}",
            f"{middle:.4f} ({low:.4f} to {high:.4f})",
        ]
        cells += [f"{100 * middle / span:.2f} %", within, f"{np.median(column(seeds, 'kl')):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gap_figure(rows: Rows, span: float) -> Figure:
    """Draw the gap of every seed over the penalty, and the aim."""
    figure, axes = new_figure(5.2, 3.6)
    names = list(dict.fromkeys(name for name, _ in rows))
    for k, name in enumerate(names):
        coefs = [coef for other, coef in rows if other == name]
        places = np.array(coefs) * 1.12 ** (2 * k - len(names) + 1)  # side by side
        seeds = [column(rows[name, coef], "gap") for coef in coefs]
        for place, gaps in zip(places, seeds, strict=True):
            axes.plot(np.full(len(gaps), place), gaps, ".", color=PALETTE[k], alpha=0.4)
        medians = [float(np.median(gaps)) for gaps in seeds]
        label = f"{name} (median of {len(seeds[0])} seeds)"
        axes.plot(places, medians, "_", color=PALETTE[k], markersize=16, label=label)
    label = f"aim: {WITHIN:.0%} of the range of returns, {WITHIN * span:.4f}"
    axes.axhline(WITHIN * span, color="0.15", linestyle=(0, (6, 3)), label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("penalty per nat of divergence, in units of return")
    axes.set_ylabel("gap to the penalised optimum")
    axes.set_title(f"PPO near a reference on {ENVIRONMENT}", fontsize=9)
    legend_below(figure, axes)
    return figure


def _csv(rows: Rows) -> str:
    names = ("seed", "kl_coef", "penalised_return", "penalised_optimum", "gap", "kl")
    lines = [",".join(("reference", *names))]
    for (reference, _), seeds in rows.items():
        lines += [",".join([reference, *(repr(row[name]) for name in names)]) for row in seeds]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__ or "", seeds=10, out="results/reference_gap")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the steps, as a trial")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the experiment; 0 tuned the presets"
    )
    options = parser.parse_args()
    scale = 50 if options.quick else 1
    shared: dict[str, Any] = {"out": options.runs, "workers": options.workers}
    shared["seed"] = options.seed
    rows: dict[tuple[str, float], Any] = {}
    answers: dict[tuple[str, float], Solution] = {}
    with show_progress(quiet=False) as reports:
        early = rlkit.train(
            "ppo", ENVIRONMENT, seeds=1, steps=EARLY_STEPS // scale, reports=reports, **shared
        )
        references: dict[str, str | Run] = {"uniform": "uniform", "early PPO": early}
        for name, reference in references.items():
            for coef in COEFFICIENTS:
                near: dict[str, Any] = {"reference": reference, "kl_coef": coef}
                steps = {"steps": 400_000 // scale} if options.quick else {}
                run = rlkit.train(
                    "ppo",
                    ENVIRONMENT,
                    seeds=options.seeds,
                    evaluation_episodes=0,
                    reports=reports,
                    **near,
                    **steps,
                    **shared,
                )
                rows[name, coef] = run.evaluate(episodes=1)["seeds"]
                answers[name, coef] = rlkit.solve(ENVIRONMENT, **near)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(rows, answers)
    write_atomically(out / "table.md", table.encode())
    write_atomically(out / "gaps.csv", _csv(rows).encode())
    span = answers["uniform", COEFFICIENTS[0]].optimal_return_under_limit
    assert span is not None
    save_figure(gap_figure(rows, span), out / "gaps.png")
    print(table)
    print(f"{out}/table.md, gaps.csv and gaps.png")


if __name__ == "__main__":
    main()
