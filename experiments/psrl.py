"""In how many steps does PSRL learn what takes Q-learning a schedule of exploration?

    python -m experiments.psrl

Both agents with their presets, the return of the greedy policy of each moment computed exactly.
Counted are the steps of a seed until that return is within 1 % of a target. On FrozenLake-v1 the
target is the optimum under the limit. On the 8x8 map no policy of these agents can come so close,
since the optimum looks at the clock; there it is the best return of any policy that is greedy for
one of the discounts from 0.95 to 0.999.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

import rlkit
from experiments.report import arguments
from rlkit.analysis.figure import DASHES, PALETTE, legend_below, new_figure, save_figure
from rlkit.analysis.statistics import curve_band
from rlkit.cli.report import show_progress
from rlkit.training.playing.posterior import plot_posterior
from rlkit.training.run import Run

# The steps between rows, which limit how finely steps can be counted.
EVERY = {"FrozenLake-v1": 500, "FrozenLake8x8-v1": 2000}
AGENTS = ("psrl", "q-learning")
WITHIN = 0.99
Array = NDArray[Any]


@dataclass(frozen=True)
class Learned:
    """The curves of both agents on one environment, and the return that was to be reached."""

    runs: Mapping[str, Run]
    target: float
    optimum: float


def target(environment: str) -> tuple[float, float]:
    """Return the target and the optimum; see the module."""
    solutions = [rlkit.solve(environment, discount=d) for d in np.linspace(0.95, 0.999, 50)]
    greedy = max(solution.greedy_return_under_limit or 0.0 for solution in solutions)
    optimum = solutions[0].optimal_return_under_limit
    assert optimum is not None
    return (optimum if greedy >= WITHIN * optimum else greedy), optimum


def steps_until(steps: Array, curve: Array, threshold: float) -> tuple[Array, Array]:
    """Return the first step at which each seed reached a return, and from which on it kept it.

    Args:
        steps: `[E]`.
        curve: `[S, E]`.
        threshold: of the return.

    Returns:
        `[S]` each; infinite for seeds that did not.
    """
    reached = curve >= threshold - 1e-12
    first = np.where(reached.any(axis=1), steps[reached.argmax(axis=1)], np.inf)
    kept = np.cumprod(reached[:, ::-1], axis=1)[:, ::-1].astype(bool)
    for_good = np.where(kept.any(axis=1), steps[kept.argmax(axis=1)], np.inf)
    return first, for_good


def learning_figure(learned: Mapping[str, Learned]) -> Figure:
    """Draw the exact return of both agents on each environment, on a logarithmic axis."""
    figure, axes = new_figure(4.4 * len(learned), 3.8)
    parts = GridSpec(1, len(learned), figure=figure)
    axes.remove()
    for panel, (environment, result) in enumerate(learned.items()):
        axes = figure.add_subplot(parts[panel])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.7)
        for k, (name, run) in enumerate(result.runs.items()):
            later = run.steps > 0
            band, x = curve_band(run.curve[:, later]), run.steps[later]
            label = f"{name} (n = {len(run.curve)})"
            axes.plot(x, band.mean, color=PALETTE[k], linestyle=DASHES[k], label=label)
            axes.fill_between(x, band.low, band.high, color=PALETTE[k], alpha=0.2, linewidth=0)
        axes.axhline(result.optimum, color="0.15", linestyle=(0, (6, 3)), label="optimum")
        axes.axhline(
            WITHIN * result.target, color="0.45", linestyle=(0, (2, 2)), label="to be reached"
        )
        axes.set_xscale("log")
        axes.set_title(environment, fontsize=9)
        axes.set_xlabel("environment steps per seed")
        if panel == 0:
            axes.set_ylabel("exact return of the greedy policy")
            first = axes
    legend_below(figure, first)
    return figure


def markdown_table(learned: Mapping[str, Learned]) -> str:
    """Return the steps that both agents needed, as medians over seeds and quartiles."""
    head = "| environment | agent | to be reached | seeds that did | steps until then, median "
    lines = [
        head + "(quartiles) | steps until it stayed, median | ratio to psrl |",
        "| --- " * 7 + "|",
    ]
    for environment, result in learned.items():
        own: float | None = None
        for name, run in result.runs.items():
            threshold = WITHIN * result.target
            first, for_good = steps_until(run.steps, run.curve, threshold)
            low, middle, high = (_quantile(first, q) for q in (0.25, 0.5, 0.75))
            own = middle if own is None else own
            ratio = middle / own if np.isfinite(middle) else run.num_env_steps / own
            sign = "" if np.isfinite(middle) else "> "
            cells = [environment, name, f"{threshold:.4f}"]
            cells.append(f"{int(np.isfinite(first).sum())} of {len(first)}")
            cells.append(f"{_count(middle)} ({_count(low)} to {_count(high)})")
            cells += [_count(_quantile(for_good, 0.5)), f"{sign}{ratio:.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _quantile(steps: Array, q: float) -> float:
    """Return a quantile that is one of the numbers; seeds that did not arrive count as the last."""
    return float(np.quantile(steps, q, method="higher"))


def _count(steps: float) -> str:
    return f"{steps:,.0f}" if np.isfinite(steps) else "not reached"


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], seeds=30, out="results/psrl").parse_args()
    learned = {}
    with show_progress(quiet=False) as reports:
        for environment, every in EVERY.items():
            runs = {
                agent: rlkit.train(
                    agent,
                    environment,
                    seeds=args.seeds,
                    workers=args.workers,
                    evaluate_every=every,
                    out=args.runs,
                    reports=reports,
                )
                for agent in AGENTS
            }
            learned[environment] = Learned(runs, *target(environment))
    write(learned, args.out)
    draw_posterior(args.out, args.runs)


def draw_posterior(out: Path, runs: Path) -> None:
    """Draw the posterior of one seed on the 8x8 map while it still explores."""
    run = rlkit.train("psrl", "FrozenLake8x8-v1", seeds=1, steps=12_000, out=runs)
    plot_posterior(run, out / "posterior.png")


def write(learned: Mapping[str, Learned], out: Path) -> None:
    """Write the figure, the table and the means of the curves; print the table."""
    save_figure(learning_figure(learned), out / "learning_curves.png")
    table = markdown_table(learned)
    (out / "table.md").write_text(table)
    for environment, result in learned.items():
        for name, run in result.runs.items():
            columns = np.column_stack([run.steps, run.curve.mean(axis=0)])
            path = out / f"{name}-{environment}.csv"
            np.savetxt(path, columns, "%.8g", ",", header="num_env_steps,mean_return", comments="")
    print(table, end="")


if __name__ == "__main__":
    main()
