"""How often do comparisons over environments name a false winner, and do their intervals cover?

Simulates three identical contenders on three environments, learning curves and all, and counts the
comparisons in which any verdict, on an environment or over all, names a winner: by each metric at
10 seeds, and with seeds added up to 50 until it is decided. Returns come from the families of
`experiments.benchmarks.interval_coverage`. Then it counts how often the interval of the
interquartile mean over environments, and that of the probability of improvement, hold the truth.

    python -m experiments.benchmarks.comparison_rates --comparisons 200 --samples 1000

Rates of the sequential test are those at the last look, which every earlier one is part of: a
comparison that stops as soon as it is decided can only have fewer false winners.
"""

from __future__ import annotations

import argparse
import csv
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.interval_coverage import FAMILIES, RARE, Quantile
from rlkit.analysis.aggregate import improvement_interval, iqm_over_environments
from rlkit.analysis.power import looks_at
from rlkit.training.comparing.comparison import Comparison
from rlkit.training.comparing.comparison_set import join
from rlkit.training.comparing.metrics import FINAL, Metric
from rlkit.training.run import Run

Floats = NDArray[np.float64]
NUM_SEEDS, MOST_SEEDS = 10, 50
CONTENDERS = ("a", "b", "c")
ALL = "the five: mean, lowest coverage"
BUDGET, ROWS = 100_000, 20
METRICS = (FINAL, Metric("area"), Metric("steps-to", 0.5))


@dataclass
class SimulatedRun:
    """What a comparison reads of a run."""

    returns: Floats  # [S, E]
    folder: Path = Path("simulated")
    environment_name: str = ""
    num_env_steps: int = BUDGET
    measured: str = "eval_return"
    unfinished: tuple[int, ...] = ()
    references: tuple[tuple[str, float], ...] = (("random", 0.0), ("optimum", 1.0))

    def __post_init__(self) -> None:
        self.steps = np.linspace(0, BUDGET, self.returns.shape[1])
        self.seeds = list(range(len(self.returns)))

    @property
    def scores(self) -> Floats:
        return self.returns[:, -1]

    @property
    def columns(self) -> list[dict[str, Floats]]:
        return [{"num_env_steps": self.steps, "eval_return": one} for one in self.returns]


def curves(quantile: Quantile, scale: float, rng: np.random.Generator, seeds: int) -> Floats:
    """Return curves `[S, E]` that rise at a random time to a return of the family, with noise."""
    final = quantile(rng.random((seeds, 1))) / scale
    start, width = rng.uniform(0.1, 0.9, (seeds, 1)), rng.uniform(0.03, 0.2, (seeds, 1))
    time_passed = np.linspace(0, 1, ROWS + 1)
    rising = 1 / (1 + np.exp(-(time_passed - start) / width))
    noisy = final * rising * np.exp(0.1 * rng.standard_normal(rising.shape))
    noisy[:, -1:] = final
    return noisy


def scale_of(quantile: Quantile) -> float:
    """Return what returns are divided by, so that a third of the seeds end below 0.5."""
    return 2 * float(np.quantile(quantile((np.arange(10_000) + 0.5) / 10_000), 0.35))


def environments_of(family: str) -> list[Quantile]:
    """Return three settings of a family."""
    settings = list(FAMILIES[family].values())
    return (settings * 3)[:3]


def count_false_winners(family: str, comparisons: int) -> list[dict[str, Any]]:
    """Return the share of comparisons of identical contenders that name a winner, by rule."""
    quantiles = environments_of(family)
    scales = [scale_of(quantile) for quantile in quantiles]
    looks = looks_at(NUM_SEEDS, MOST_SEEDS)
    rules = [(metric, ()) for metric in METRICS] + [(metric, looks) for metric in METRICS]
    false = dict.fromkeys(rules, 0)
    never = 0.0
    for number in range(comparisons):
        rng = np.random.default_rng([2026, list(FAMILIES).index(family), number])
        drawn = [
            {name: curves(quantile, scale, rng, MOST_SEEDS) for name in CONTENDERS}
            for quantile, scale in zip(quantiles, scales, strict=True)
        ]
        never += float(np.mean([(x < 0.5).all(1).mean() for one in drawn for x in one.values()]))
        for metric, planned in rules:
            number_of_seeds = MOST_SEEDS if planned else NUM_SEEDS
            parts = [
                Comparison(
                    {
                        name: cast("Run", SimulatedRun(x[:number_of_seeds], Path(name), str(k)))
                        for name, x in one.items()
                    },
                    Path("simulated"),
                    metric,
                    planned,
                )
                for k, one in enumerate(drawn)
            ]
            joined = join(parts, Path("simulated"))
            pairs = [*joined.pairs(), *(p for c in joined.comparisons.values() for p in c.pairs())]
            false[metric, planned] += any(p.verdict in ("better", "worse") for p in pairs)
    return [
        {
            "family": family,
            "metric": str(metric),
            "seeds": f"{NUM_SEEDS} to {MOST_SEEDS}" if planned else NUM_SEEDS,
            "comparisons": comparisons,
            "false_winners": round(count / comparisons, 4),
            "never_reached": round(never / comparisons, 3),
        }
        for (metric, planned), count in false.items()
    ]


def true_iqm(quantiles: list[Quantile], points: int = 400_000) -> float:
    """Return the interquartile mean of the mixture of distributions, by the midpoint rule."""
    u = (np.arange(points) + 0.5) / points
    values = np.sort(np.concatenate([quantile(u) for quantile in quantiles]))
    return float(values[len(values) // 4 : len(values) - len(values) // 4].mean())


def measure_coverage(family: str, samples: int) -> list[dict[str, Any]]:
    """Return how often both intervals over three environments hold the truth."""
    quantiles = environments_of(family)
    truth, hits = true_iqm(quantiles), {"iqm": 0, "improvement": 0}
    slack = 1e-7 * abs(truth)
    for number in range(samples):
        rng = np.random.default_rng([2027, list(FAMILIES).index(family), number])
        x, y = ([quantile(rng.random(NUM_SEEDS)) for quantile in quantiles] for _ in range(2))
        iqm = iqm_over_environments(x)
        hits["iqm"] += iqm.low - slack <= truth <= iqm.high + slack
        if number < samples // 4:  # each takes ten times as long
            better = improvement_interval(x, y)
            hits["improvement"] += better.low <= 0.5 <= better.high
    done = {"iqm": samples, "improvement": samples // 4}
    return [
        {
            "family": family,
            "interval": name,
            "seeds": NUM_SEEDS,
            "samples": done[name],
            "coverage": round(count / max(1, done[name]), 4),
        }
        for name, count in hits.items()
    ]


def _counts(row: dict[str, Any], family: str) -> bool:
    return bool(row["family"] != RARE if family == ALL else row["family"] == family)


def markdown_table(false: list[dict[str, Any]], coverage: list[dict[str, Any]]) -> str:
    """Return both results by family, with the mean rates and lowest coverage of the five."""
    families = list(dict.fromkeys(row["family"] for row in false))
    rules = list(dict.fromkeys((row["metric"], str(row["seeds"])) for row in false))
    names = {
        "iqm": "coverage of the interquartile mean",
        "improvement": "coverage of the probability of improvement",
    }
    families.append(ALL)
    head = ["returns", *(f"{metric}, {seeds} seeds" for metric, seeds in rules), *names.values()]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for family in families:
        own = [row for row in false if _counts(row, family)]
        numbers = [
            float(
                np.mean([r["false_winners"] for r in own if (r["metric"], str(r["seeds"])) == rule])
            )
            for rule in rules
        ]
        held = [row for row in coverage if _counts(row, family)]
        summary = min if family == ALL else max  # of one family there is one
        numbers += [summary(r["coverage"] for r in held if r["interval"] == name) for name in names]
        lines.append([family, *(f"{number:.3f}".removeprefix("0") for number in numbers)])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=200, help="of each family")
    parser.add_argument("--samples", type=int, default=1000, help="intervals of each family")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("results/comparison_rates"))
    options = parser.parse_args()
    started = time.perf_counter()
    false: list[dict[str, Any]] = []
    coverage: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        counted = [
            (
                pool.submit(count_false_winners, family, options.comparisons),
                pool.submit(measure_coverage, family, options.samples),
            )
            for family in options.families
        ]
        for family, (winners, intervals) in zip(options.families, counted, strict=True):
            false += winners.result()
            coverage += intervals.result()
            print(f"{family}: {time.perf_counter() - started:.0f} s", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "false_winners.csv", false)
    write_csv(options.out / "coverage.csv", coverage)
    table = markdown_table(false, coverage)
    (options.out / "table.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
