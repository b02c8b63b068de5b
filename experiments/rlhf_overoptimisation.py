"""When does optimising a reward model stop helping, and does more data postpone that?

    python -m experiments.rlhf_overoptimisation

Reward models trained on few and on many preferences are optimised more and more: by the exact
optimum for each beta, by exact best of n, and by PPO. The gold reward rises and then falls while
the proxy keeps rising. Two curves are fitted to both exact frontiers, with d the square root of the
KL divergence (Gao, Schulman and Hilton 2023): d (a - b d), found for best of n, and
d (a - b log d), found for reinforcement learning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.rlhf_figures import Panel, overoptimisation_grid
from experiments.rlhf_report import arguments, markdown, publish, side_by_side, verdict
from rlkit.analysis.overoptimisation import RewardCurve
from rlkit.analysis.scaling_laws import fit_logarithmic_law, fit_square_law
from rlkit.rlhf.demo import BEST_OF, KL_COEFS, TILTS, learning_rate_for
from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.stages.api import policy_gradient, reward, sft
from rlkit.rlhf.stages.loading import load_policy, load_reward_model
from rlkit.rlhf.stages.stage_run import load_stage_run

PAIRS = (1_000, 3_000, 10_000)
TRAINED_ON = (1_000, 3_000)  # PPO
UPDATES = 80
Policies = dict[int, dict[float, list[dict[str, float]]]]  # preferences, beta, seed
FAMILIES = {"tilt": "optimum for each beta, exact", "best_of_n": "best of n, exact"}


def frontiers(job: tuple[Path, Path, int]) -> dict[str, best_of_n.Frontier]:
    """Return the exact frontiers of one seed of a reward model, and of gold itself."""
    key, proxy = _load(*job)
    reference = key.reference_log_prob
    return {
        "tilt": best_of_n.tilted_frontier(reference, proxy, key.gold, TILTS),
        "best_of_n": best_of_n.best_of_n_frontier(reference, proxy, key.gold, BEST_OF),
        "gold": best_of_n.tilted_frontier(reference, key.gold, key.gold, TILTS),
    }


def _load(judge: Path, tuned: Path, seed: int) -> tuple[AnswerKey, Any]:
    task, reference = load_policy(load_stage_run(tuned), seed)
    key = AnswerKey(task, reference)
    model = load_reward_model(load_stage_run(judge), seed)
    return key, key.standardised(key.tabulate(model.score))


def exact_values(job: tuple[Path, Path, Path, int, float]) -> dict[str, float]:
    """Return the exact values of one seed of a policy that PPO trained on a reward model."""
    folder, judge, tuned, seed, kl_coef = job
    key, proxy = _load(judge, tuned, seed)
    _, policy = load_policy(load_stage_run(folder), seed)
    values = key.values(key.log_probs(policy), proxy, kl_coef)
    return {"kl_coef": kl_coef, **values._asdict()}


def describe(frontier: best_of_n.Frontier) -> dict[str, Any]:
    """Return peak, end and fits of the gold reward along a frontier."""
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
    seeds = side_by_side(frontiers, jobs, args.workers)
    curves = {n: seeds[k * args.seeds : (k + 1) * args.seeds] for k, n in enumerate(PAIRS)}
    trained = [
        (
            policy_gradient(
                "ppo",
                tuned,
                reward=models[n],
                kl_coef=beta,
                learning_rate=learning_rate_for(beta),
                num_updates=UPDATES,
                **how,
            ),
            n,
            beta,
        )
        for n in TRAINED_ON
        for beta in KL_COEFS
    ]
    jobs = [
        (run.folder, models[n].folder, tuned.folder, seed, beta)
        for run, n, beta in trained
        for seed in range(args.seeds)
    ]
    values = iter(side_by_side(exact_values, jobs, args.workers))
    policies: Policies = {n: {} for n in TRAINED_ON}
    for _, n, beta in trained:
        policies[n][beta] = [next(values) for _ in range(args.seeds)]
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
        title="Over-optimisation of reward models trained on few and on many preferences",
    )
    publish(args.out, summary, tables, {"overoptimisation.png": figure})


def frontier_table(details: dict[int, dict[str, list[dict[str, Any]]]]) -> str:
    """Return a table of peaks and fits, means over seeds."""
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


def policy_table(policies: Policies, curves: dict[int, list[dict[str, Any]]]) -> str:
    """Return a table of PPO and the exact optimum for the same beta, medians over seeds."""
    head = ["preferences", "beta", "gap", "KL", "KL of the optimum", "proxy", "its optimum's"]
    head += ["gold", "its optimum's", "gold of each seed"]
    rows = []
    for pairs, by_beta in policies.items():
        for beta, seeds in by_beta.items():
            best = [at_beta(curve["tilt"], beta) for curve in curves[pairs]]
            cells = [f"{pairs:,}", f"{beta:g}", f"{_median(seeds, 'gap'):.4f}"]
            for name in ("kl", "proxy", "gold"):
                cells += [f"{_median(entries, name):.3f}" for entries in (seeds, best)]
            cells.append(", ".join(f"{seed['gold']:.3f}" for seed in seeds))
            rows.append(cells)
    return markdown(head, rows)


def at_beta(tilt: best_of_n.Frontier, beta: float) -> dict[str, float]:
    """Interpolate KL divergence, proxy and gold of the exact optimum at a beta."""
    place = -np.log(beta)
    return {
        name: float(np.interp(place, -np.log(tilt.setting), getattr(tilt, name)))
        for name in ("kl", "proxy", "gold")
    }


def criteria(
    details: dict[int, dict[str, list[dict[str, Any]]]],
    policies: Policies,
) -> list[dict[str, Any]]:
    """Return the criteria of over-optimisation, medians over seeds unless stated otherwise."""
    verdicts = []
    for n in TRAINED_ON:
        tilt = details[n]["tilt"]
        inner = float(np.median([seed["interior"] for seed in tilt]))
        verdicts.append(verdict(f"{n:,}: the peak is inside", inner, "1 (true)", inner == 1.0))
        fall = float(np.median([seed["peak"] - seed["end"] for seed in tilt]))
        verdicts.append(verdict(f"{n:,}: fall from peak to end", fall, ">= 0.3", fall >= 0.3))
        fit = float(np.median([seed["square_law"]["r_squared"] for seed in tilt]))
        verdicts.append(verdict(f"{n:,}: R² of d (a - b d)", fit, ">= 0.95", fit >= 0.95))
        gold = {beta: _median(seeds, "gold") for beta, seeds in policies[n].items()}
        rise, drop = gold[0.1] - gold[1.0], gold[0.1] - gold[0.03]
        verdicts.append(verdict(f"{n:,}: PPO gold at 0.1 less 1.0", rise, "> 0", rise > 0))
        verdicts.append(verdict(f"{n:,}: PPO gold at 0.1 less 0.03", drop, "> 0", drop > 0))
    never = all(seed["proxy_never_falls"] for each in details.values() for seed in each["tilt"])
    verdicts.append(verdict("the proxy never falls on the tilt", float(never), "1 (true)", never))
    few, many = (_mean(details[n]["tilt"], "peak") for n in (1_000, 10_000))
    grows = many - few >= 0.3
    verdicts.append(verdict("mean peak, 10,000 less 1,000", many - few, ">= 0.3", grows))
    return verdicts


def panel(
    pairs: int,
    seeds: list[dict[str, best_of_n.Frontier]],
    policies: dict[float, list[dict[str, float]]] | None,
) -> Panel:
    """Return the panel of a reward model, its first seed the one with the median fall of gold."""
    falls = [float(seed["tilt"].gold.max() - seed["tilt"].gold[-1]) for seed in seeds]
    front = int(np.argsort(falls)[len(falls) // 2])
    order = [front, *(k for k in range(len(seeds)) if k != front)]
    families = [
        [
            RewardCurve(label, *(getattr(seeds[k][name], x) for x in ("kl", "proxy", "gold")))
            for k in order
        ]
        for name, label in FAMILIES.items()
    ]
    trained = None
    if policies is not None:
        entries = [each[front] for each in policies.values()]
        kl, proxy, gold = ([entry[name] for entry in entries] for name in ("kl", "proxy", "gold"))
        trained = RewardCurve(
            "PPO, labelled with beta", kl, proxy, gold, [f"{beta:g}" for beta in policies]
        )
    return Panel(f"{pairs:,} preferences", families, trained)


def as_lists(frontier: best_of_n.Frontier) -> dict[str, list[float]]:
    """Return a frontier as plain data."""
    return {name: np.asarray(values).tolist() for name, values in frontier._asdict().items()}


def _median(entries: list[dict[str, Any]], name: str) -> float:
    return float(np.median([entry[name] for entry in entries]))


def _mean(entries: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([entry[name] for entry in entries]))


if __name__ == "__main__":
    main()
