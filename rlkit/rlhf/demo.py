"""From demonstrations to over-optimisation, on a task whose optimum is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.determinism import prepared_torch
from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.evaluation.text_metrics import perplexity
from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey, is_enumerable
from rlkit.rlhf.exact.bayes import Evidence
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.stages.api import policy_gradient, reward, sft
from rlkit.rlhf.stages.loading import load_policy, load_reward_model
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood
from rlkit.runs import store
from rlkit.seeding import SeedStreams

FIGURE = "overoptimisation.png"
KL_COEFS = (1.0, 0.3, 0.1, 0.03)
TILTS = tuple(np.geomspace(10.0, 0.02, 60))  # kl_coef of the exact frontier
BEST_OF = tuple(float(2**k) for k in range(15))
LABELLED = (4, 16, 64, 256)  # of best of n, in the table

Floats = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Size and place of the demonstration."""

    # preferences that the reward model learns from, >= 2; few, so that it can be exploited
    pairs: int = 1000
    updates: int = 80  # updates per policy, >= 1
    kl_coefs: tuple[float, ...] = KL_COEFS  # KL coefficients; one policy is trained with each
    seed: int = 0  # determines all random numbers, >= 0
    out: Path = Path("runs")  # folder of the runs
    # folder of summary.json and the figure; None = rlhf-demo in the folder of the runs
    results: Path | None = None
    workers: int = 2  # processes that train policies in parallel, >= 1

    @property
    def results_folder(self) -> Path:
        """The folder of summary and figure."""
        return self.out / "rlhf-demo" if self.results is None else self.results


@dataclass(frozen=True)
class Demo:
    """The results of the demonstration."""

    summary: dict[str, Any]
    frontiers: dict[str, best_of_n.Frontier]  # tilt, best_of_n, gold
    folder: Path


def learning_rate_for(kl_coef: float) -> float:
    """Return a stable learning rate; a large penalty makes gradients large."""
    return 3e-4 if kl_coef >= 1.0 else 7e-4


def run_demo(options: DemoOptions, say: Say = lambda text: None) -> Demo:
    """Run the stages that are not finished, and write summary.json and the figure."""
    sft_run = sft("enumerable", seed=options.seed, out=options.out)
    task, reference = load_policy(sft_run, 0)
    assert is_enumerable(task)
    with prepared_torch():
        key = AnswerKey(task, reference)
    fine_tuned = _measure_fine_tuning(task, reference, options.seed, say)
    reward_run = reward(sft_run, num_pairs=options.pairs, seed=options.seed, out=options.out)
    proxy, reward_model = _measure_reward_model(reward_run, key, options.pairs, say)
    policy_runs = _train_policies(sft_run, reward_run, options)
    frontiers = {
        "tilt": best_of_n.tilted_frontier(key.reference_log_prob, proxy, key.gold, TILTS),
        "best_of_n": best_of_n.best_of_n_frontier(key.reference_log_prob, proxy, key.gold, BEST_OF),
        "gold": best_of_n.tilted_frontier(key.reference_log_prob, key.gold, key.gold, TILTS),
    }
    policies = [
        _policy_entry(kl_coef, key, proxy, run)
        for kl_coef, run in zip(options.kl_coefs, policy_runs, strict=True)
    ]
    folder = options.results_folder
    summary = {
        "sft": fine_tuned,
        "reward_model": reward_model,
        "policies": [*policies, *_best_of_n_entries(frontiers["best_of_n"])],
        "frontier": {name: _plain(frontier) for name, frontier in frontiers.items()},
        "runs": {
            "sft": str(sft_run.folder),
            "reward": str(reward_run.folder),
            "ppo": [str(run.folder) for run in policy_runs],
        },
        "figure": str(folder / FIGURE),
    }
    folder.mkdir(parents=True, exist_ok=True)
    store.write_json(folder / "summary.json", summary)
    demo = Demo(summary, frontiers, folder)
    _draw(demo, options.pairs)
    return demo


def rows(summary: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return the table of policies, as text."""
    table = []
    for entry in summary["policies"]:
        setting = f"n = {entry['n']}" if "n" in entry else f"beta = {entry['kl_coef']:g}"
        names = ("gap", *Evidence._fields)
        gaps = ("-" if entry[name] is None else f"{entry[name]:.4f}" for name in names)
        numbers = (f"{entry[name]:.3f}" for name in ("kl", "proxy", "gold"))
        table.append((entry["method"], setting, *gaps, *numbers))
    return table


def _measure_fine_tuning(
    task: LanguageTask, reference: LanguageModel, seed: int, say: Say
) -> dict[str, float]:
    rng = SeedStreams(seed, 0).generator("evaluation")
    with prepared_torch():
        total, count = negative_log_likelihood(reference, demonstrations_of(task, rng, 4096))
    measured = {"loss": total / count, "perplexity": perplexity(total, count)}
    say(
        f"supervised fine-tuning on {task.name}: held-out loss {measured['loss']:.4f} nats per "
        f"token, perplexity {measured['perplexity']:.3f}"
    )
    return measured


def _measure_reward_model(
    run: StageRun, key: AnswerKey, pairs: int, say: Say
) -> tuple[Floats, dict[str, float]]:
    """Return the scores of all responses [Q, C], and the accuracy beside its ceiling."""
    with prepared_torch():
        proxy = key.standardised(key.tabulate(load_reward_model(run, 0).score))
    accuracy = exact.pair_accuracy(key.reference_log_prob, proxy, key.gold)
    ceiling = key.bayes_accuracy()
    correlation = exact.correlation(key.reference_log_prob, proxy, key.gold)
    say(
        f"reward model from {pairs:,} preferences: accuracy {accuracy:.4f}, Bayes ceiling "
        f"{ceiling:.4f}, correlation with gold {correlation:.3f}"
    )
    return proxy, {"pairs": pairs, "accuracy": accuracy, "bayes_accuracy": ceiling}


def _train_policies(
    sft_run: StageRun, reward_run: StageRun, options: DemoOptions
) -> list[StageRun]:
    """Train one policy per KL coefficient, several at a time."""
    jobs = [
        (sft_run.folder, reward_run.folder, kl_coef, options.updates, options.seed, options.out)
        for kl_coef in options.kl_coefs
    ]
    if options.workers == 1:
        return [_train_policy(*job) for job in jobs]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("forkserver")) as pool:
        return list(pool.map(_train_policy, *zip(*jobs, strict=True)))


def _train_policy(
    sft_folder: Path, reward_folder: Path, kl_coef: float, updates: int, seed: int, out: Path
) -> StageRun:
    return policy_gradient(
        "ppo",
        sft_folder,
        reward=reward_folder,
        kl_coef=kl_coef,
        learning_rate=learning_rate_for(kl_coef),
        num_updates=updates,
        seed=seed,
        out=out,
    )


def _policy_entry(kl_coef: float, key: AnswerKey, proxy: Floats, run: StageRun) -> dict[str, Any]:
    _, policy = load_policy(run, 0)
    with prepared_torch():
        log_prob = key.log_probs(policy)
        values = key.values(log_prob, proxy, kl_coef)
        evidence = key.evidence(log_prob, proxy, kl_coef)
    return {
        "method": "ppo",
        "kl_coef": kl_coef,
        "gap": values.gap,
        "kl": values.kl,
        "gold": values.gold,
        "proxy": values.proxy,
        **evidence._asdict(),
    }


def _best_of_n_entries(frontier: best_of_n.Frontier) -> list[dict[str, Any]]:
    return [
        {
            "method": "best-of-n",
            "n": int(n),
            "kl_coef": None,
            "gap": None,
            "kl": float(kl),
            "gold": float(gold),
            "proxy": float(proxy),
            **dict.fromkeys(Evidence._fields),
        }
        for n, kl, proxy, gold in zip(*frontier, strict=True)
        if n in LABELLED
    ]


def _plain(frontier: best_of_n.Frontier) -> dict[str, list[float]]:
    return {name: np.asarray(values).tolist() for name, values in frontier._asdict().items()}


def _draw(demo: Demo, pairs: int) -> None:
    from rlkit.analysis.figure import save_figure
    from rlkit.analysis.overoptimisation import RewardCurve, overoptimisation_figure

    tilt, best, gold = (demo.frontiers[name] for name in ("tilt", "best_of_n", "gold"))
    curves = [
        RewardCurve("optimum of the proxy, exact", tilt.kl, tilt.proxy, tilt.gold),
        RewardCurve("best of n, exact", best.kl, best.proxy, best.gold),
        RewardCurve("optimum of gold, exact", gold.kl, None, gold.gold),
    ]
    trained = [entry for entry in demo.summary["policies"] if entry["method"] == "ppo"]
    points = RewardCurve(
        "PPO, labelled with the KL coefficient",
        [entry["kl"] for entry in trained],
        [entry["proxy"] for entry in trained],
        [entry["gold"] for entry in trained],
        [f"{entry['kl_coef']:g}" for entry in trained],
    )
    title = f"Over-optimisation of a reward model from {pairs:,} preferences"
    save_figure(overoptimisation_figure(curves, [points], title=title), demo.folder / FIGURE)
