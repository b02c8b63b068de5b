"""How often do intervals over seeds contain the truth, and how often are comparisons wrong?

Draws many simulated experiments of 5, 10 and 20 seeds from return distributions whose mean and
interquartile mean are known, and counts

    coverage          fraction of 95 % intervals that contain the true mean (interquartile mean)
    false positives   fraction of comparisons between two identical agents that name a winner

for rlkit's methods and for common alternatives. There are five families of returns with several
settings each; a sixth, in which one seed in ten fails, shows what no method can detect with few
seeds.

    python -m experiments.benchmarks.interval_coverage --repetitions 4000
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import special, stats

from rlkit.analysis.figure import PALETTE, save_figure
from rlkit.analysis.statistics import compare_pairs, curve_band, iqm_interval

Floats = NDArray[np.float64]
Quantile = Callable[[Floats], Floats]  # u in (0, 1) -> return; sampling is quantile(uniform)

NUM_SEEDS = (5, 10, 20)
MEAN_METHODS = ("rlkit", "Student's t", "percentile bootstrap", "± 1 standard error")
IQM_METHODS = ("rlkit IQM", "percentile bootstrap IQM")
RARE = "rare failure (limit)"


def lognormal(sigma: float) -> Quantile:
    return lambda u: np.exp(sigma * special.ndtri(u))


def exponential(shape: float) -> Quantile:
    """Gamma with this shape; 1 is the exponential itself, less is more skewed."""
    return lambda u: special.gammaincinv(shape, u)


def bimodal(failing: float, lowest_success: float) -> Quantile:
    """A share `failing` of the seeds ends in 10..100, the others in lowest_success..500."""

    def quantile(u: Floats) -> Floats:
        success = lowest_success + (500 - lowest_success) * (u - failing) / (1 - failing)
        return np.where(u < failing, 10 + 90 * u / failing, success)

    return quantile


def ceiling(share: float, below: str) -> Quantile:
    """A share of the seeds scores exactly 500, the others less."""

    def quantile(u: Floats) -> Floats:
        v = np.clip(u / (1 - share), 1e-12, 1.0)
        loss = 200 * (1 - v) if below == "uniform" else np.minimum(-60 * np.log(v), 500.0)
        return np.where(u < 1 - share, 500 - loss, 500.0)

    return quantile


FAMILIES: dict[str, dict[str, Quantile]] = {
    "normal": {"normal": lambda u: 200 + 30 * special.ndtri(u)},
    "exponential": {f"gamma shape {k}": exponential(k) for k in (1.0, 0.5, 3.0)},
    "lognormal": {f"sigma {s}": lognormal(s) for s in (1.0, 0.5, 0.75)},
    "bimodal": {
        f"{f:.0%} fail, success {low}..500": bimodal(f, low)
        for f in (0.3, 0.5, 0.7)
        for low in (500, 400)
    },
    "ceiling": {
        f"{share:.0%} at 500, {below} below": ceiling(share, below)
        for share in (0.6, 0.5, 0.7)
        for below in ("uniform", "exponential")
    },
    RARE: {"10% fail, success 400..500": bimodal(0.1, 400)},
}


def true_mean_and_iqm(quantile: Quantile, points: int = 4_000_000) -> tuple[float, float]:
    """Return both as averages of the quantile function, by the midpoint rule."""
    values = quantile((np.arange(points) + 0.5) / points)
    return float(values.mean()), float(values[points // 4 : 3 * points // 4].mean())


def mean_limits(x: Floats, rng: np.random.Generator) -> dict[str, tuple[Floats, Floats]]:
    """Limits `[R]` by each method for the R samples `x [n, R]`."""
    n = len(x)
    mean, error = x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * error
    bands = [curve_band(part) for part in np.array_split(x, max(1, x.shape[1] // 250), axis=1)]
    resampled = rng.multinomial(n, np.full(n, 1 / n), size=2000) @ x / n
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return {
        "rlkit": (np.concatenate([b.low for b in bands]), np.concatenate([b.high for b in bands])),
        "Student's t": (mean - half, mean + half),
        "percentile bootstrap": (low, high),
        "± 1 standard error": (mean - error, mean + error),
    }


def iqm_limits(x: Floats, rng: np.random.Generator) -> dict[str, tuple[Floats, Floats]]:
    n = len(x)
    ours = [iqm_interval(column) for column in x.T]
    index = np.sort(rng.integers(0, n, (2000, n)), axis=1)[:, n // 4 : n - n // 4]
    weights = (index[:, :, None] == np.arange(n)).mean(axis=1)
    low, high = np.quantile(weights @ np.sort(x, axis=0), [0.025, 0.975], axis=0)
    return {
        "rlkit IQM": (np.array([i.low for i in ours]), np.array([i.high for i in ours])),
        "percentile bootstrap IQM": (low, high),
    }


def measure_coverage(repetitions: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    settings = [(f, s, q) for f, group in FAMILIES.items() for s, q in group.items()]
    for number, (family, setting, quantile) in enumerate(settings):
        mean, iqm = true_mean_and_iqm(quantile)
        for n in NUM_SEEDS:
            rng = np.random.default_rng([2024, number, n])
            x = quantile(rng.random((n, repetitions)))
            limits = {**mean_limits(x, rng), **iqm_limits(x, rng)}
            spread = np.sqrt(x.var(axis=0, ddof=1) / n)
            for method, (low, high) in limits.items():
                truth = iqm if method in IQM_METHODS else mean
                slack = 1e-7 * max(1.0, abs(truth))  # a limit of exactly 500 contains 500
                hit = (low <= truth + slack) & (truth - slack <= high)
                varied = spread > 0
                width = np.median((high - low)[varied] / (2 * spread[varied]))
                rows.append(
                    {
                        "family": family,
                        "setting": setting,
                        "num_seeds": n,
                        "method": method,
                        "coverage": round(float(hit.mean()), 4),
                        "median_half_width_in_standard_errors": round(float(width), 3),
                    }
                )
        print(f"coverage: {family}, {setting}", flush=True)
    return rows


def measure_false_positives(repetitions: int) -> list[dict[str, object]]:
    """Two identical agents: share of comparisons with a winner, by three rules."""
    rows: list[dict[str, object]] = []
    for number, (family, group) in enumerate(FAMILIES.items()):
        setting, quantile = next(iter(group.items()))
        for n in NUM_SEEDS:
            rng = np.random.default_rng([2025, number, n])
            winners = {"compare_pairs": 0, "difference interval": 0, "± 1 SE bands apart": 0}
            for _ in range(repetitions):
                a, b = quantile(rng.random((2, n)))
                pair = compare_pairs({"a": a, "b": b})[0]
                winners["compare_pairs"] += pair.verdict in ("better", "worse")
                winners["difference interval"] += not pair.low <= 0 <= pair.high
                reach = (a.std(ddof=1) + b.std(ddof=1)) / np.sqrt(n)
                winners["± 1 SE bands apart"] += bool(abs(a.mean() - b.mean()) > reach)
            for rule, count in winners.items():
                rows.append(
                    {
                        "family": family,
                        "setting": setting,
                        "num_seeds": n,
                        "rule": rule,
                        "false_positives": round(count / repetitions, 4),
                    }
                )
        print(f"false positives: {family}", flush=True)
    return rows


def worst(rows: list[dict[str, object]], family: str, n: int, method: str) -> float:
    return min(
        float(str(r["coverage"]))
        for r in rows
        if (r["family"], r["num_seeds"], r["method"]) == (family, n, method)
    )


def markdown_table(
    coverage: list[dict[str, object]],
    alarms: list[dict[str, object]],
    repetitions: int,
    comparisons: int,
) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def share(value: float) -> str:
        return f"{value:.3f}".removeprefix("0")

    methods = [*MEAN_METHODS, *IQM_METHODS]
    lines = [
        f"Coverage of 95 % intervals, {repetitions} samples per cell; of each family the worst "
        "setting.",
        "",
        line(["returns", "seeds", *methods]),
        line(["---"] * 2 + ["---:"] * len(methods)),
    ]
    for family in FAMILIES:
        for n in NUM_SEEDS:
            cells = [share(worst(coverage, family, n, method)) for method in methods]
            lines.append(line([family, str(n), *cells]))
    rules = list(dict.fromkeys(str(r["rule"]) for r in alarms))
    lines += [
        "",
        f"Two identical agents: share of {comparisons} comparisons that name a winner.",
        "",
        line(["returns", "seeds", *rules]),
        line(["---"] * 2 + ["---:"] * len(rules)),
    ]
    for family in FAMILIES:
        for n in NUM_SEEDS:
            found = [r for r in alarms if (r["family"], r["num_seeds"]) == (family, n)]
            by_rule = {str(r["rule"]): float(str(r["false_positives"])) for r in found}
            lines.append(line([family, str(n), *(share(by_rule[rule]) for rule in rules)]))
    return "\n".join(lines) + "\n"


def coverage_figure(rows: list[dict[str, object]]) -> Figure:
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    families = [family for family in FAMILIES if family != RARE]
    panels = figure.subplots(1, len(NUM_SEEDS), sharey=True, sharex=True)
    markers = ("o", "s", "^", "x")
    for axes, n in zip(panels, NUM_SEEDS, strict=True):
        axes.axvline(0.95, color="0.35", linestyle="--", linewidth=0.9)
        for k, method in enumerate(MEAN_METHODS):
            for height, family in enumerate(families):
                cells = [
                    float(str(r["coverage"]))
                    for r in rows
                    if (r["family"], r["num_seeds"], r["method"]) == (family, n, method)
                ]
                y = height + (k - 1.5) * 0.19
                axes.plot(
                    [min(cells), max(cells)], [y, y], color=PALETTE[k], linewidth=1.1, alpha=0.6
                )
                axes.plot(
                    cells,
                    [y] * len(cells),
                    markers[k],
                    color=PALETTE[k],
                    markersize=3.2,
                    linestyle="none",
                    label=method if height == 0 else None,
                )
        axes.set_title(f"{n} seeds", fontsize=9)
        axes.set_xlim(0.37, 1.015)
        axes.set_xticks(
            [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], ["40", "50", "60", "70", "80", "", "95"]
        )
        axes.tick_params(labelsize=7, length=2)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(families)), families, fontsize=8)
    panels[0].set_ylim(len(families) - 0.5, -0.5)
    figure.supxlabel(
        "intervals that contain the true mean (%); one mark per setting; dashed: the nominal 95 %",
        fontsize=8,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000, help="samples per cell")
    parser.add_argument("--comparisons", type=int, default=4000, help="pairs of agents per cell")
    parser.add_argument("--out", type=Path, default=Path("results/interval_coverage"))
    options = parser.parse_args()
    for name in ("repetitions", "comparisons"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    started = time.perf_counter()
    coverage = measure_coverage(options.repetitions)
    alarms = measure_false_positives(options.comparisons)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "coverage.csv", coverage)
    write_csv(options.out / "false_positives.csv", alarms)
    at_ten = {f: {m: worst(coverage, f, 10, m) for m in MEAN_METHODS} for f in FAMILIES}
    summary = {
        "repetitions": options.repetitions,
        "comparisons": options.comparisons,
        "standard_error_at_95_percent": round((0.05 * 0.95 / options.repetitions) ** 0.5, 4),
        "worst_coverage_with_10_seeds": at_ten,
        "most_false_positives_of_compare_pairs": max(
            float(str(r["false_positives"])) for r in alarms if r["rule"] == "compare_pairs"
        ),
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (options.out / "summary.json").write_text(text, encoding="utf-8")
    table = markdown_table(coverage, alarms, options.repetitions, options.comparisons)
    (options.out / "table.md").write_text(table, encoding="utf-8")
    save_figure(coverage_figure(coverage), options.out / "coverage.png")
    print(table)
    print(f"{time.perf_counter() - started:.0f} s; results in {options.out}")


if __name__ == "__main__":
    main()
