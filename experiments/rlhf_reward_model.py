"""How close does a reward model come to the best accuracy possible from noisy preferences?

    python -m experiments.rlhf_reward_model

Of two responses of the fine-tuned policy the first is preferred with probability
sigmoid(gold_1 - gold_2). All accuracies are exact sums over all pairs of responses, as if on
infinitely many fresh preferences: with noisy labels, where nothing exceeds the Bayes accuracy, and
without noise (agreement with the order of gold, ties omitted).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rlhf_figures import reward_model_figure
from experiments.rlhf_report import arguments, markdown, publish, side_by_side, verdict
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.stages.api import reward, sft
from rlkit.rlhf.stages.loading import load_policy, load_reward_model
from rlkit.rlhf.stages.stage_run import load_stage_run

PAIRS = (100, 300, 1_000, 3_000, 10_000, 30_000)
MEASURES = ("accuracy", "bayes_accuracy", "gold_order", "correlation")


def measure(job: tuple[Path, Path, int]) -> dict[str, float]:
    """Return the exact measures of one seed of a reward model."""
    folder, tuned, seed = job
    task, reference = load_policy(load_stage_run(tuned), seed)
    key = AnswerKey(task, reference)
    table = key.tabulate(load_reward_model(load_stage_run(folder), seed).score)
    reference_log_prob = key.reference_log_prob
    return {
        "accuracy": exact.pair_accuracy(reference_log_prob, table, key.gold),
        "bayes_accuracy": key.bayes_accuracy(),
        "gold_order": exact.pair_accuracy(reference_log_prob, table, key.gold, scale=math.inf),
        "correlation": exact.correlation(reference_log_prob, table, key.gold),
    }


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], "rlhf_reward_model")
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=PAIRS, help="numbers of preferences"
    )
    args = parser.parse_args()
    how = {"seeds": args.seeds, "out": args.runs, "workers": args.workers}
    tuned = sft("enumerable", **how)
    args.pairs = sorted(args.pairs)
    models = [reward(tuned, num_pairs=pairs, **how) for pairs in args.pairs]
    jobs = [(run.folder, tuned.folder, seed) for run in models for seed in range(args.seeds)]
    measured = side_by_side(measure, jobs, args.workers)
    tables = {
        name: np.array([values[name] for values in measured]).reshape(len(models), args.seeds)
        for name in MEASURES
    }
    head = ["preferences", "accuracy, mean", "each seed", "Bayes ceiling", "order of gold, mean"]
    head += ["each seed", "correlation with gold, mean", "each seed"]
    rows = [
        row(pairs, {name: table[k] for name, table in tables.items()})
        for k, pairs in enumerate(args.pairs)
    ]
    table = markdown(head, rows)
    print(table)
    summary: dict[str, Any] = {"num_pairs": list(args.pairs), "seeds": args.seeds}
    summary |= {name: values.tolist() for name, values in tables.items()}
    summary["criteria"] = criteria(args.pairs, tables)
    figure = reward_model_figure(
        args.pairs,
        {
            "accuracy on noisy labels": tables["accuracy"],
            "agreement with the order of gold": tables["gold_order"],
        },
        {"accuracy on noisy labels": float(tables["bayes_accuracy"].mean())},
    )
    publish(args.out, summary, {"table.md": table}, {"reward_model.png": figure})


def criteria(pairs: list[int], tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the criteria for reward models, on the mean over seeds."""
    accuracy = dict(zip(pairs, tables["accuracy"].mean(1).tolist(), strict=True))
    order = dict(zip(pairs, tables["gold_order"].mean(1).tolist(), strict=True))
    verdicts = []
    if 100 in accuracy:
        good = 0.57 <= accuracy[100] <= 0.64
        verdicts.append(verdict("accuracy from 100", accuracy[100], "0.57 to 0.64", good))
    if 1_000 in accuracy:
        good = accuracy[1_000] >= 0.63
        verdicts.append(verdict("accuracy from 1,000", accuracy[1_000], ">= 0.63", good))
    if 10_000 in accuracy:
        good = accuracy[10_000] >= 0.685
        verdicts.append(verdict("accuracy from 10,000", accuracy[10_000], ">= 0.685", good))
        good = order[10_000] >= 0.86
        verdicts.append(verdict("order of gold from 10,000", order[10_000], ">= 0.86", good))
    steps = np.diff(list(accuracy.values()))
    if len(steps):
        worst = float(steps.min())
        verdicts.append(verdict("smallest step with more pairs", worst, ">= -0.01", worst >= -0.01))
    # Both are exact sums, so there is no standard error to allow for.
    above = float((tables["accuracy"] - tables["bayes_accuracy"]).max())
    verdicts.append(verdict("accuracy above the Bayes ceiling", above, "<= 0", above <= 0))
    return verdicts


def row(pairs: int, values: dict[str, Any]) -> list[str]:
    """Return the table cells for one number of preferences."""

    def each(name: str) -> str:
        return ", ".join(f"{value:.3f}" for value in values[name])

    cells = [f"{pairs:,}", f"{values['accuracy'].mean():.3f}", each("accuracy")]
    cells += [f"{values['bayes_accuracy'].mean():.3f}"]
    for name in ("gold_order", "correlation"):
        cells += [f"{values[name].mean():.3f}", each(name)]
    return cells


if __name__ == "__main__":
    main()
