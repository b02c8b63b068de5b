"""The whole way from demonstrations to over-optimisation, on a task whose optimum is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.determinism import prepared_torch
from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.evaluation.text_metrics import perplexity
from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.exact.bayes import Evidence
from rlkit.rlhf.stages.api import policy_gradient, reward, sft
from rlkit.rlhf.stages.sources import load_policy, load_reward_model
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood
from rlkit.runs import store
from rlkit.seeding import SeedStreams

FIGURE = "overoptimisation.png"
KL_COEFS = (1.0, 0.3, 0.1, 0.03)
TILTS = tuple(np.geomspace(10.0, 0.02, 60))  # kl_coef of the exact frontier
BEST_OF = tuple(float(2**k) for k in range(15))
LABELLED = (4, 16, 64, 256)  # of best of n, in the table


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of the demonstration."""

    pairs: int = (
        1000  # preferences that the reward model learns from; few, so that it can be fooled
    )
    updates: int = 80  # of each policy
    kl_coefs: tuple[float, ...] = KL_COEFS  # of each policy
    seed: int = 0  # from which everything is drawn
    out: Path = Path("runs")  # where the runs are kept
    results: Path = Path("results/rlhf-demo")  # where summary and figure go
    workers: int = 2  # processes that train policies side by side


@dataclass(frozen=True)
class Demo:
    """What the demonstration found."""

    summary: dict[str, Any]
    tilt: best_of_n.Frontier
    best_of: best_of_n.Frontier
    gold: best_of_n.Frontier
    folder: Path


def learning_rate_for(kl_coef: float) -> float:
    """A stiff penalty makes large gradients: with kl_coef 1 the usual rate is unstable midway."""
    return 3e-4 if kl_coef >= 1.0 else 7e-4


def run_demo(options: DemoOptions, say: Callable[[str], None] = lambda text: None) -> Demo:
    """Do what is not done yet, and write summary.json and the figure."""
    how: dict[str, Any] = {"seed": options.seed, "out": options.out}
    tuned = sft("enumerable", **how)
    task, reference = load_policy(tuned, 0)
    with prepared_torch():
        key = AnswerKey(task, reference)
        rng = SeedStreams(options.seed, 0).generator("evaluation")
        total, count = negative_log_likelihood(reference, demonstrations_of(task, rng, 4096))
    loss = total / count
    say(
        f"supervised fine-tuning on {task.name}: held-out loss {loss:.4f} nats a token, perplexity "
        f"{perplexity(total, count):.3f}"
    )
    judged = reward(tuned, num_pairs=options.pairs, **how)
    with prepared_torch():
        raw = key.tabulate(load_reward_model(judged, 0).score)
    proxy = key.standardised(raw)
    accuracy = exact.pair_accuracy(key.reference_log_prob, proxy, key.gold)
    ceiling = key.bayes_accuracy()
    say(
        f"reward model from {options.pairs:,} preferences: accuracy {accuracy:.4f}, Bayes ceiling "
        f"{ceiling:.4f}, correlation with gold "
        f"{exact.correlation(key.reference_log_prob, proxy, key.gold):.3f}"
    )
    runs = _train(tuned, judged, options)
    policies = [
        _policy_entry("ppo", kl_coef, key, proxy, run)
        for kl_coef, run in zip(options.kl_coefs, runs, strict=True)
    ]
    tilt = best_of_n.tilted_frontier(key.reference_log_prob, proxy, key.gold, TILTS)
    best = best_of_n.best_of_n_frontier(key.reference_log_prob, proxy, key.gold, BEST_OF)
    gold = best_of_n.tilted_frontier(key.reference_log_prob, key.gold, key.gold, TILTS)
    for n, kl, expected, true in zip(*best, strict=True):
        if n in LABELLED:
            policies.append(
                {
                    "method": "best-of-n",
                    "n": int(n),
                    "kl_coef": None,
                    "gap": None,
                    "kl": float(kl),
                    "gold": float(true),
                    "proxy": float(expected),
                    **dict.fromkeys(Evidence._fields),
                }
            )
    summary = {
        "sft": {"loss": loss, "perplexity": perplexity(total, count)},
        "reward_model": {
            "pairs": options.pairs,
            "accuracy": accuracy,
            "bayes_accuracy": ceiling,
        },
        "policies": policies,
        "frontier": {
            name: {
                field: np.asarray(values).tolist() for field, values in frontier._asdict().items()
            }
            for name, frontier in (("tilt", tilt), ("best_of_n", best), ("gold", gold))
        },
        "runs": {
            "sft": str(tuned.folder),
            "reward": str(judged.folder),
            "ppo": [str(run.folder) for run in runs],
        },
        "figure": str(options.results / FIGURE),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    store.write_json(options.results / "summary.json", summary)
    demo = Demo(summary, tilt, best, gold, options.results)
    _draw(demo, options)
    return demo


def _train(tuned: StageRun, judged: StageRun, options: DemoOptions) -> list[StageRun]:
    """A policy for each coefficient, several at a time; each depends on nothing but its options."""
    jobs = [
        (tuned.folder, judged.folder, kl_coef, options.updates, options.seed, options.out)
        for kl_coef in options.kl_coefs
    ]
    if options.workers == 1:
        return [_train_one(*job) for job in jobs]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("forkserver")) as pool:
        return list(pool.map(_train_one, *zip(*jobs, strict=True)))


def _train_one(
    tuned: Path, judged: Path, kl_coef: float, updates: int, seed: int, out: Path
) -> StageRun:
    return policy_gradient(
        "ppo",
        tuned,
        reward=judged,
        kl_coef=kl_coef,
        learning_rate=learning_rate_for(kl_coef),
        num_updates=updates,
        seed=seed,
        out=out,
    )


def _policy_entry(
    method: str, kl_coef: float, key: AnswerKey, proxy: Any, run: StageRun
) -> dict[str, Any]:
    _, policy = load_policy(run, 0)
    with prepared_torch():
        log_prob = key.log_probs(policy)
        values = key.values(log_prob, proxy, kl_coef)
        evidence = key.evidence(log_prob, proxy, kl_coef)
    found = {"method": method, "kl_coef": kl_coef, **values._asdict()}
    entry = {name: found[name] for name in ("method", "kl_coef", "gap", "kl", "gold", "proxy")}
    return entry | evidence._asdict()


def _draw(demo: Demo, options: DemoOptions) -> None:
    from rlkit.analysis.overoptimisation import RewardCurve, overoptimisation_figure
    from rlkit.analysis.plots import save_figure

    def curve(name: str, frontier: best_of_n.Frontier, *, itself: bool = False) -> RewardCurve:
        return RewardCurve(name, frontier.kl, None if itself else frontier.proxy, frontier.gold)

    trained = [entry for entry in demo.summary["policies"] if entry["method"] == "ppo"]
    points = RewardCurve(
        "PPO, by its KL coefficient",
        [entry["kl"] for entry in trained],
        [entry["proxy"] for entry in trained],
        [entry["gold"] for entry in trained],
        [f"{entry['kl_coef']:g}" for entry in trained],
    )
    figure = overoptimisation_figure(
        [
            curve("optimum of the proxy, exact", demo.tilt),
            curve("best of n, exact", demo.best_of),
            curve("optimum of gold itself, exact", demo.gold, itself=True),
        ],
        [points],
        title=f"Over-optimisation of a reward model from {options.pairs:,} preferences",
    )
    save_figure(figure, demo.folder / FIGURE)


def with_options(options: DemoOptions, **changes: Any) -> DemoOptions:
    """The options with some changed."""
    return dataclasses.replace(options, **changes)


def rows(summary: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """The table of policies, as text."""
    table = []
    for entry in summary["policies"]:
        setting = f"n = {entry['n']}" if "n" in entry else f"beta = {entry['kl_coef']:g}"
        exact = ("gap", *Evidence._fields)
        gaps = ("-" if entry[name] is None else f"{entry[name]:.4f}" for name in exact)
        numbers = (f"{entry[name]:.3f}" for name in ("kl", "proxy", "gold"))
        table.append((entry["method"], setting, *gaps, *numbers))
    return table
