"""How far does RLHF get in six minutes on two cores, with readable texts?

    python -m experiments.rlhf_grammar

The policy writes short English texts for requests such as "write 13 words about harbour , be
gloomy". It is fine-tuned on demonstrations that hardly follow the request, a reward model learns
from preferences, and PPO maximises it with a KL penalty; best of n is the comparison. The gold
reward, which was used only to label the preferences, measures the gain.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.rlhf_figures import TrainingCurve, training_figure
from experiments.rlhf_report import arguments, markdown, publish, side_by_side, verdict
from rlkit.analysis.overoptimisation import RewardCurve, overoptimisation_figure
from rlkit.rlhf.stages.api import policy_gradient, reward, sft
from rlkit.rlhf.stages.evaluation.evaluate_best_of_n import best_of_n_run
from rlkit.rlhf.stages.evaluation.evaluate_policy import evaluate_run, sample_run
from rlkit.rlhf.stages.sources import ModelSource
from rlkit.rlhf.stages.stage_run import load_stage_run
from rlkit.rlhf.training.configs import PPOConfig, RewardConfig, SFTConfig

SFT = SFTConfig(num_demonstrations=16_384, num_epochs=4)
# Whether a word fits depends on the prompt too. With four heads, tied embeddings and larger initial
# weights this is learned early; otherwise reward models learn only the length, which is easy, for
# hundreds of updates or for all of them.
MODEL = ModelSource(num_heads=4, tied=True, init_std=0.08)
# 3,000 times 8 responses; as separate pairs, as many comparisons need seven times the passes.
REWARD = RewardConfig(
    num_pairs=84_000, responses_per_prompt=8, batch_size=448, learning_rate=1e-3, num_epochs=4
)
# The first one is reported and has to meet the criteria. They are small because most of a score's
# variance is between prompts, where no policy can change it.
KL_COEFS = (0.03, 0.1)
UPDATES = 60
NUM_SAMPLES = 4096
BEST_OF = (1, 2, 4, 8, 16, 32, 64)
PROMPTS = (
    "write 5 words about garden , be cheerful",
    "write 9 words about market , be formal",
    "write 13 words about harbour , be gloomy",
    "write 17 words about school , be formal",
    "write 21 words about garden , be gloomy",
    "write 13 words about market , be cheerful",
)


@dataclass(frozen=True)
class Job:
    """A policy to train on a reward model, and to evaluate."""

    tuned: Path
    judge: Path
    kl_coef: float
    seed: int
    out: Path


def policy_config(kl_coef: float) -> PPOConfig:
    """Return the configuration of PPO on this task."""
    return PPOConfig(kl_coef=kl_coef, num_updates=UPDATES, batch_size=256, learning_rate=7e-4)


def train(job: Job) -> dict[str, Any]:
    """Train PPO with one beta on one seed, and evaluate it against the fine-tuned policy."""
    run = policy_gradient(
        "ppo",
        job.tuned,
        reward=job.judge,
        config=policy_config(job.kl_coef),
        parent_seed=job.seed,
        seed=job.seed,
        out=job.out,
    )
    report = evaluate_run(run, num_samples=NUM_SAMPLES)
    return {"kl_coef": job.kl_coef, "seed": job.seed, **report}


def evaluate_tuned(job: tuple[Path, Path, int]) -> dict[str, Any]:
    """Evaluate the fine-tuned policy in the same way, against other samples of its own."""
    tuned, judge, seed = job
    report = evaluate_run(tuned, num_samples=NUM_SAMPLES, run_seed=seed, reward=judge)
    return {"kl_coef": None, "seed": seed, **report}


def best_of_n(job: tuple[Path, Path, int]) -> dict[str, Any]:
    """Evaluate the best of n samples of the fine-tuned policy by the reward model."""
    tuned, judge, seed = job
    return best_of_n_run(tuned, n=BEST_OF, num_prompts=256, reward=judge, run_seed=seed)


def judge_reward_model(job: tuple[Path, int]) -> dict[str, Any]:
    """Evaluate one seed of the reward model on fresh preferences."""
    return evaluate_run(job[0], num_samples=NUM_SAMPLES, run_seed=job[1])


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], "rlhf_grammar")
    parser.set_defaults(seeds=1)
    args = parser.parse_args()
    started = time.monotonic()
    how = {"seeds": args.seeds, "out": args.runs, "workers": args.workers}
    tuned = sft("grammar", model=MODEL, config=SFT, **how)
    judge = reward(tuned, config=REWARD, **how)
    seeds = range(args.seeds)
    jobs = [Job(tuned.folder, judge.folder, b, seed, args.runs) for b in KL_COEFS for seed in seeds]
    policies = side_by_side(train, jobs, args.workers)
    each = [(tuned.folder, judge.folder, seed) for seed in seeds]
    before = side_by_side(evaluate_tuned, each, args.workers)
    best = side_by_side(best_of_n, each, args.workers)
    models = side_by_side(judge_reward_model, [(judge.folder, s) for s in seeds], args.workers)
    tables = {
        "table.md": policy_table(before + policies),
        "best_of_n.md": best_table(best),
        "reward_model.md": model_table(models),
    }
    print("\n".join(tables.values()))
    samples = samples_page(tuned.folder, policies[0])
    print(samples)
    wall = time.monotonic() - started
    user = sum(
        resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"{wall:.0f} s in all, {user:.0f} s of processor time")
    summary = {
        "policies": [with_name(entry) for entry in before + policies],
        "best_of_n": [with_name(entry) for entry in best],
        "reward_models": [with_name(entry) for entry in models],
        "criteria": criteria(policies, len(seeds)),
    }
    figures = {"gold.png": gold_figure(policies, best), "training.png": curves_figure(policies)}
    publish(args.out, summary, {**tables, "samples.md": samples}, figures)


def with_name(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the entry with the name of its run in place of the path."""
    return {**entry, "run": Path(entry["run"]).name}


def gain(entry: dict[str, Any], name: str) -> float:
    """Return the gain in mean score over the reference, in its standard deviations."""
    ours, theirs = (entry["scores"][name][who] for who in ("policy", "reference"))
    return float((ours["mean"] - theirs["mean"]) / theirs["standard_deviation"])


def policy_table(policies: list[dict[str, Any]]) -> str:
    """Return a table of the policies, the fine-tuned one first."""
    head = [
        "policy",
        "seed",
        "KL ± s.e., nats",
        "gold gain, standard deviations",
        "proxy gain",
        "gold wins",
    ]
    head += ["perplexity of demonstrations", "BLEU", "ROUGE-L", "distinct-2", "distinct responses"]
    head += ["mean cosine", "length", "ended"]
    rows = []
    for entry in policies:
        beta, wins = entry["kl_coef"], entry["scores"]["gold"]
        diversity, overlap = entry["diversity"], entry["overlap"]
        rows.append(
            [
                "fine-tuned" if beta is None else f"PPO, beta = {beta:g}",
                str(entry["seed"]),
                f"{entry['kl']:.2f} ± {entry['kl_standard_error']:.2f}",
                f"{gain(entry, 'gold'):.2f}",
                f"{gain(entry, 'reward'):.2f}",
                f"{100 * wins['win_rate']:.1f} % ± {100 * wins['win_rate_standard_error']:.1f}",
                f"{entry['perplexity']['of_demonstrations']:.2f}",
                f"{overlap['bleu']:.1f}",
                f"{overlap['rouge_l']:.3f}",
                f"{diversity['distinct_2']:.3f}",
                f"{diversity['distinct_responses']:.3f}",
                f"{diversity['mean_cosine']:.3f}",
                f"{entry['length']:.1f}",
                f"{100 * entry['ended']:.1f} %",
            ]
        )
    return markdown(head, rows)


def best_table(best: list[dict[str, Any]]) -> str:
    """Return a table of best of n by the reward model, mean over seeds."""
    head = ["best of n", "bound of KL, nats", "gold", "proxy"]
    rows = []
    for k, first in enumerate(best[0]["rows"]):
        scores = {
            name: np.mean([seed["rows"][k]["scores"][name]["mean"] for seed in best])
            for name in ("gold", "reward")
        }
        cells = [str(first["n"]), f"{first['kl_bound']:.2f}"]
        rows.append([*cells, f"{scores['gold']:.2f}", f"{scores['reward']:.2f}"])
    return markdown(head, rows)


def samples_page(tuned: Path, entry: dict[str, Any]) -> str:
    """Return responses before and after PPO, to the same prompts."""
    lines = [
        "# Before and after",
        "",
        f"The fine-tuned policy, and PPO with beta = {entry['kl_coef']:g}; two responses each, the "
        "first that were drawn, with their gold reward in deviations under the fine-tuned policy.",
    ]
    after = load_stage_run(entry["run"])
    seed = entry["seed"]
    before = sample_run(tuned, num=2, prompts=PROMPTS, run_seed=seed)
    later = sample_run(after, num=2, prompts=PROMPTS)
    for k, prompt in enumerate(PROMPTS):
        lines += ["", f"## {prompt}", ""]
        for name, rows in (("before", before), ("after", later)):
            for each in rows[2 * k : 2 * k + 2]:
                lines.append(f"- {name} ({each['scores']['gold']:+.2f}): {each['response']}")
    return "\n".join(lines) + "\n"


def model_table(models: list[dict[str, Any]]) -> str:
    """Return a table of the reward model and the gold reward on the same fresh preferences."""
    head = ["seed", "accuracy ± s.e.", "of gold itself", "order of gold", "correlation with gold"]
    rows = []
    for model in models:
        own, gold = model["accuracy"]["all"], model["gold"]
        cells = [
            str(model["run_seed"]),
            f"{own['accuracy']:.3f} ± {own['standard_error']:.3f}",
            f"{gold['accuracy']['accuracy']:.3f}",
            f"{gold['agreement']['accuracy']:.3f}",
            f"{gold['correlation']:.3f}",
        ]
        rows.append(cells)
    return markdown(head, rows)


def gold_figure(policies: list[dict[str, Any]], best: list[dict[str, Any]]) -> Figure:
    """Draw gold and proxy reward of PPO and of best of n against the distance; seed 0."""
    first = [entry for entry in policies if entry["seed"] == 0 and entry["kl_coef"] is not None]
    labels = [f"{entry['kl_coef']:g}" for entry in first]
    gained = {name: [gain(entry, name) for entry in first] for name in ("reward", "gold")}
    kl = [entry["kl"] for entry in first]
    ppo = RewardCurve("PPO, labelled with beta", kl, gained["reward"], gained["gold"], labels)
    rows = best[0]["rows"]
    proxy, gold = ([row["scores"][name]["mean"] for row in rows] for name in ("reward", "gold"))
    bound = [row["kl_bound"] for row in rows]
    chosen = RewardCurve(
        f"best of n = 1 to {BEST_OF[-1]}, at the upper bound of its KL", bound, proxy, gold
    )
    return overoptimisation_figure(
        [chosen], [ppo], title="Over-optimisation on the grammar task (seed 0)"
    )


def curves_figure(policies: list[dict[str, Any]]) -> Figure:
    """Draw the trained score and the KL divergence against updates."""
    curves = []
    for entry in policies:
        if entry["kl_coef"] is None:
            continue
        columns = load_stage_run(entry["run"]).curve(0)
        name = f"beta = {entry['kl_coef']:g}"
        curves.append(TrainingCurve(name, columns["num_updates"], columns["score"], columns["kl"]))
    return training_figure(curves, title="PPO on the reward model of the grammar task")


def criteria(policies: list[dict[str, Any]], num_seeds: int) -> list[dict[str, Any]]:
    """Return the criteria for the first beta, on the mean over seeds."""
    shown = [entry for entry in policies if entry["kl_coef"] == KL_COEFS[0]][:num_seeds]
    gold = float(np.mean([gain(entry, "gold") for entry in shown]))
    kl = float(np.mean([entry["kl"] for entry in shown]))
    return [
        verdict("gain of gold, deviations of the fine-tuned policy", gold, ">= 1", gold >= 1),
        verdict("KL divergence, nats", kl, "<= 10", kl <= 10),
    ]


if __name__ == "__main__":
    main()
