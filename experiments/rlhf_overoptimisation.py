"""When does optimising a reward model stop helping, and does more data put that off?

    python -m experiments.rlhf_overoptimisation

Reward models that learned from few and from many preferences are optimised harder and harder: by
the exact optimum for each beta, by exact best of n, and by PPO. The gold reward rises, turns and
falls while the proxy goes on rising. To both exact frontiers two laws are fitted, with d the square
root of the KL divergence (Gao, Schulman and Hilton 2023): d (a - b d), theirs for best of n, and
d (a - b log d), theirs for reinforcement learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rlhf_report import arguments, markdown, publish, side_by_side, verdict
from rlkit.analysis.overoptimisation import Path as Curve
from rlkit.analysis.overoptimisation import fit_logarithmic_law, fit_square_law
from rlkit.analysis.rlhf_figures import Panel, overoptimisation_grid
from rlkit.rlhf import exact
from rlkit.rlhf.answer_key import AnswerKey
from rlkit.runs.rlhf_demo import BEST_OF, KL_COEFS, TILTS, learning_rate_for
from rlkit.runs.rlhf_sources import load_policy, load_reward_model
from rlkit.runs.rlhf_stages import policy_gradient, reward, sft
from rlkit.runs.stage_run import load_stage_run

PAIRS = (1_000, 3_000, 10_000)
TRAINED_ON = (1_000, 3_000)  # PPO, seed 0
UPDATES = 80
FAMILIES = {"tilt": "optimum for each beta, exact", "best_of_n": "best of n, exact"}


@dataclass(frozen=True)
class Training:
    """One policy to train on a reward model."""

    tuned: Path
    judge: Path
    kl_coef: float
    out: Path


def frontiers(job: tuple[Path, Path, int]) -> dict[str, exact.Frontier]:
    """The exact frontiers of one seed of a reward model, and of gold itself."""
    key, proxy = _opened(*job)
    law = key.reference_log_prob
    return {
        "tilt": exact.tilted_frontier(law, proxy, key.gold, TILTS),
        "best_of_n": exact.best_of_n_frontier(law, proxy, key.gold, BEST_OF),
        "gold": exact.tilted_frontier(law, key.gold, key.gold, TILTS),
    }


def _opened(judge: Path, tuned: Path, seed: int) -> tuple[AnswerKey, Any]:
    task, reference = load_policy(load_stage_run(tuned), seed)
    key = AnswerKey(task, reference)
    model = load_reward_model(load_stage_run(judge), seed)
    return key, key.standardised(key.tabulate(model.score))


def train(job: Training) -> dict[str, float]:
    """PPO with one beta on seed 0 of a reward model, and its exact values."""
    run = policy_gradient(
        "ppo",
        job.tuned,
        reward=job.judge,
        kl_coef=job.kl_coef,
        learning_rate=learning_rate_for(job.kl_coef),
        num_updates=UPDATES,
        out=job.out,
    )
    key, proxy = _opened(job.judge, job.tuned, 0)
    values = key.values(key.log_probs(load_policy(run, 0)[1]), proxy, job.kl_coef)
    return {"kl_coef": job.kl_coef, **values._asdict()}


def describe(frontier: exact.Frontier) -> dict[str, Any]:
    """Peak, end and fits of the gold reward along a frontier."""
    d = np.sqrt(np.maximum(frontier.kl, 0.0))
    best = int(frontier.gold.argmax())
    return {
        "peak": float(frontier.gold[best]),
        "peak_distance": float(d[best]),
        "peak_setting": float(frontier.setting[best]),
        "interior": 0 < best < len(d) - 1,
        "end": float(frontier.gold[-1]),
        "proxy_never_falls": bool((np.diff(frontier.proxy) >= -1e-12).all()),
        "square_law": fit_square_law(d, frontier.gold)._asdict(),
        "logarithmic_law": fit_logarithmic_law(d, frontier.gold)._asdict(),
    }


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], "rlhf_overoptimisation").parse_args()
    how = {"seeds": args.seeds, "out": args.runs, "workers": args.workers}
    tuned = sft("enumerable", **how)
    models = {pairs: reward(tuned, num_pairs=pairs, **how) for pairs in PAIRS}
    jobs = [(models[n].folder, tuned.folder, seed) for n in PAIRS for seed in range(args.seeds)]
    found = side_by_side(frontiers, jobs, args.workers)
    curves = {n: found[k * args.seeds : (k + 1) * args.seeds] for k, n in enumerate(PAIRS)}
    trainings = [
        Training(tuned.folder, models[n].folder, beta, args.runs)
        for n in TRAINED_ON
        for beta in KL_COEFS
    ]
    trained = side_by_side(train, trainings, args.workers)
    count = len(KL_COEFS)
    policies = {n: trained[k * count : (k + 1) * count] for k, n in enumerate(TRAINED_ON)}
    details = {
        n: {name: [describe(seed[name]) for seed in seeds] for name in FAMILIES}
        for n, seeds in curves.items()
    }
    tables = {"table.md": frontier_table(details), "policies.md": policy_table(policies, curves)}
    print("\n".join(tables.values()))
    summary = {
        "frontiers": {
            str(n): [
                {name: as_lists(frontier) for name, frontier in seed.items()} for seed in seeds
            ]
            for n, seeds in curves.items()
        },
        "described": {str(n): detail for n, detail in details.items()},
        "ppo": {str(n): entries for n, entries in policies.items()},
        "criteria": criteria(details, policies),
    }
    figure = overoptimisation_grid(
        [panel(n, curves[n], policies.get(n)) for n in PAIRS],
        title="Over-optimisation of reward models that learned from few and from many preferences",
    )
    publish(args.out, summary, tables, {"overoptimisation.png": figure})


def frontier_table(details: dict[int, dict[str, list[dict[str, Any]]]]) -> str:
    """Means over seeds; a and b of both laws with the share of the variance that they explain."""
    head = ["preferences", "path", "peak of gold", "each seed", "d at the peak", "gold at the end"]
    head += ["d (a - b d): a", "b", "R²", "d (a - b log d): a", "b", "R²"]
    rows = []
    for pairs, families in details.items():
        for name, label in FAMILIES.items():
            seeds = families[name]
            cells = [f"{pairs:,}", label, f"{_mean(seeds, 'peak'):.3f}"]
            cells += [", ".join(f"{seed['peak']:.3f}" for seed in seeds)]
            cells += [f"{_mean(seeds, key):.3f}" for key in ("peak_distance", "end")]
            for law in ("square_law", "logarithmic_law"):
                fits = [seed[law] for seed in seeds]
                cells += [f"{_mean(fits, key):.3f}" for key in ("a", "b", "r_squared")]
            rows.append(cells)
    return markdown(head, rows)


def policy_table(
    policies: dict[int, list[dict[str, float]]], curves: dict[int, list[dict[str, Any]]]
) -> str:
    """PPO beside the exact optimum for the same beta."""
    head = ["preferences", "beta", "gap", "KL", "KL of the optimum", "proxy", "its optimum's"]
    head += ["gold", "its optimum's"]
    rows = []
    for pairs, entries in policies.items():
        tilt = curves[pairs][0]["tilt"]
        for entry in entries:
            at = np.log(entry["kl_coef"])
            kl, proxy, gold = (
                float(np.interp(-at, -np.log(tilt.setting), values))
                for values in (tilt.kl, tilt.proxy, tilt.gold)
            )
            cells = [f"{pairs:,}", f"{entry['kl_coef']:g}", f"{entry['gap']:.4f}"]
            numbers = (entry["kl"], kl, entry["proxy"], proxy, entry["gold"], gold)
            rows.append(cells + [f"{number:.3f}" for number in numbers])
    return markdown(head, rows)


def criteria(
    details: dict[int, dict[str, list[dict[str, Any]]]],
    policies: dict[int, list[dict[str, float]]],
) -> list[dict[str, Any]]:
    """What marks over-optimisation; medians over seeds unless said otherwise."""
    found = []
    for n in TRAINED_ON:
        tilt = details[n]["tilt"]
        inner = float(np.median([seed["interior"] for seed in tilt]))
        found.append(verdict(f"{n:,}: the peak is inside", inner, "1 (true)", inner == 1.0))
        fall = float(np.median([seed["peak"] - seed["end"] for seed in tilt]))
        found.append(verdict(f"{n:,}: fall from peak to end", fall, ">= 0.3", fall >= 0.3))
        fit = float(np.median([seed["square_law"]["r_squared"] for seed in tilt]))
        found.append(verdict(f"{n:,}: R² of d (a - b d)", fit, ">= 0.95", fit >= 0.95))
        gold = {entry["kl_coef"]: entry["gold"] for entry in policies[n]}
        rise, drop = gold[0.1] - gold[1.0], gold[0.1] - gold[0.03]
        found.append(verdict(f"{n:,}: PPO gold at 0.1 less 1.0", rise, "> 0", rise > 0))
        found.append(verdict(f"{n:,}: PPO gold at 0.1 less 0.03", drop, "> 0", drop > 0))
    never = all(seed["proxy_never_falls"] for each in details.values() for seed in each["tilt"])
    found.append(verdict("the proxy never falls on the tilt", float(never), "1 (true)", never))
    few, many = (_mean(details[n]["tilt"], "peak") for n in (1_000, 10_000))
    grows = many - few >= 0.3
    found.append(verdict("mean peak, 10,000 less 1,000", many - few, ">= 0.3", grows))
    return found


def panel(
    pairs: int, seeds: list[dict[str, exact.Frontier]], entries: list[dict[str, float]] | None
) -> Panel:
    """One reward model's part of the figure."""
    families = [
        [Curve(label, seed[name].kl, seed[name].proxy, seed[name].gold) for seed in seeds]
        for name, label in FAMILIES.items()
    ]
    trained = None
    if entries is not None:
        kl, proxy, gold = ([entry[name] for entry in entries] for name in ("kl", "proxy", "gold"))
        labels = [f"{entry['kl_coef']:g}" for entry in entries]
        trained = Curve("PPO, by its beta", kl, proxy, gold, labels=labels)
    return Panel(f"{pairs:,} preferences", families, trained)


def as_lists(frontier: exact.Frontier) -> dict[str, list[float]]:
    """A frontier as plain data."""
    return {name: np.asarray(values).tolist() for name, values in frontier._asdict().items()}


def _mean(entries: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([entry[name] for entry in entries]))


if __name__ == "__main__":
    main()
