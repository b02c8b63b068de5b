"""How close do PPO, RLOO and DPO come to the closed-form optimum?

    python -m experiments.rlhf_optimum

On the enumerable task the policies maximise the gold reward minus beta times the KL divergence from
the fine-tuned policy. The optimum is ref * exp(gold / beta) / Z, so the gap of a trained policy's
objective is a sum over all responses, without sampling error. PPO and RLOO get 80 updates of 256
responses; DPO gets pairs labelled by the gold reward. GRPO divides by each group's standard
deviation, which changes its objective: its gap is not expected to vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rlhf_figures import GapCurves, gap_figure
from experiments.rlhf_report import arguments, markdown, publish, side_by_side, verdict
from rlkit.rlhf.demo import learning_rate_for
from rlkit.rlhf.exact.answer_key import AnswerKey, TableScore
from rlkit.rlhf.stages.api import dpo, sft
from rlkit.rlhf.stages.loading import load_policy
from rlkit.rlhf.stages.stage_run import load_stage_run
from rlkit.rlhf.training.configs import METHODS
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.seeding import SeedStreams

UPDATES = 80
BATCH = 256
MEASURED_EVERY = 5  # updates
HIGH_RATE = 1e-3
# method, beta, the largest accepted median gap
SETTINGS = (("ppo", 0.1, 0.03), ("ppo", 0.3, 0.04), ("ppo", 1.0, 0.08), ("rloo", 0.3, 0.04))
PAIRS = (2_000, 20_000)
DPO_BETA = 1.0  # pairs are labelled with probability sigmoid(gold_1 - gold_2): reward = gold
DPO_EPOCHS = {2_000: 3, 20_000: 3}


@dataclass(frozen=True)
class Job:
    """One policy to train on the gold reward."""

    folder: Path  # of the fine-tuned policy
    method: str
    kl_coef: float
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Trace:
    """The exact values of a policy during training."""

    job: Job
    updates: list[int]
    gaps: list[float]
    kl: float  # at the end
    gold: float

    @property
    def name(self) -> str:
        """Return method and beta."""
        return f"{self.job.method.upper()}, beta = {self.job.kl_coef:g}"


def train(job: Job) -> Trace:
    """Train update by update, and record the exact gap on the way."""
    run = load_stage_run(job.folder)
    task, policy = load_policy(run, job.seed)
    reference = policy.reference_copy()
    key = AnswerKey(task, reference)
    config = METHODS[job.method](
        kl_coef=job.kl_coef,
        learning_rate=job.learning_rate,
        num_updates=UPDATES,
        batch_size=BATCH,
    )
    streams = SeedStreams(run.experiment_seed, job.seed)
    agent = KLPenalisedPolicy(policy, reference, TableScore(key, key.gold), task, config, streams)
    trace = Trace(job, [], [], 0.0, 0.0)
    for update in range(UPDATES + 1):
        if update % MEASURED_EVERY == 0:
            values = key.values(key.log_probs(policy), key.gold, job.kl_coef)
            trace.updates.append(update)
            trace.gaps.append(values.gap)
        if update < UPDATES:
            agent.update()
    return Trace(job, trace.updates, trace.gaps, values.kl, values.gold)


def evaluate_dpo(job: tuple[Path, int]) -> dict[str, float]:
    """Return the exact values of one seed of a DPO run."""
    run, seed = load_stage_run(job[0]), job[1]
    task, policy = load_policy(run, seed)
    parent = load_stage_run(run.record["sources"]["parents"]["policy"]["folder"])
    key = AnswerKey(task, load_policy(parent, seed)[1])
    return key.values(key.log_probs(policy), key.gold, DPO_BETA)._asdict()


def best_values(job: tuple[Path, int, float]) -> dict[str, float]:
    """Return the exact values of the optimum."""
    from rlkit.rlhf.exact import optimum as exact

    folder, seed, kl_coef = job
    key = AnswerKey(*load_policy(load_stage_run(folder), seed))
    best = exact.optimum(key.reference_log_prob, key.gold, kl_coef)
    return key.values(best.log_prob, key.gold, kl_coef)._asdict()


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], "rlhf_optimum").parse_args()
    how = {"seeds": args.seeds, "out": args.runs, "workers": args.workers}
    tuned = sft("enumerable", **how)
    settings = [(method, beta, learning_rate_for(beta)) for method, beta, _ in SETTINGS]
    settings += [("grpo", 0.3, learning_rate_for(0.3)), ("ppo", 1.0, HIGH_RATE)]
    seeds = range(args.seeds)
    jobs = [Job(tuned.folder, *setting, seed) for setting in settings for seed in seeds]
    results = side_by_side(train, jobs, args.workers)
    traces = {
        setting: results[k * args.seeds : (k + 1) * args.seeds]
        for k, setting in enumerate(settings)
    }
    direct = {}
    for pairs in PAIRS:
        run = dpo(tuned, num_pairs=pairs, beta=DPO_BETA, num_epochs=DPO_EPOCHS[pairs], **how)
        direct[pairs] = side_by_side(
            evaluate_dpo, [(run.folder, seed) for seed in seeds], args.workers
        )
    betas = sorted({beta for _, beta, _ in settings})
    optima = side_by_side(best_values, [(tuned.folder, 0, beta) for beta in betas], 1)
    summary = summarise(traces, direct, dict(zip(betas, optima, strict=True)))
    head = ["method", "beta", "learning rate", "budget", "gap, median", "gap, each seed", "KL"]
    head += ["KL of the optimum", "gold", "gold of the optimum"]
    table = markdown(head, [row(entry) for entry in summary["rows"]])
    print(table)
    summary["criteria"] = [
        verdict(
            f"{method} beta {beta:g}, median gap",
            float(np.median([trace.gaps[-1] for trace in traces[setting]])),
            f"<= {limit}",
            bool(np.median([trace.gaps[-1] for trace in traces[setting]]) <= limit),
        )
        for (method, beta, limit), setting in zip(SETTINGS, settings, strict=False)
    ]
    usual = [curves(traces[setting]) for setting in settings[:4]]
    both_rates = [
        curves(traces[settings[2]], "learning rate 3e-4"),
        curves(traces[settings[5]], "learning rate 1e-3"),
    ]
    figures = {
        "gap.png": gap_figure(usual, title="Gap of the objective to its optimum"),
        "learning_rate.png": gap_figure(
            both_rates, title="PPO with beta = 1, at two learning rates"
        ),
    }
    publish(args.out, summary, {"table.md": table}, figures)


def curves(traces: list[Trace], name: str | None = None) -> GapCurves:
    """Return the gaps of all seeds of a setting, for a figure."""
    first = traces[0]
    return GapCurves(name or first.name, first.updates, [trace.gaps for trace in traces])


def summarise(
    traces: dict[Any, list[Trace]], direct: dict[int, Any], optima: dict[float, dict[str, float]]
) -> dict[str, Any]:
    """Return all numbers as plain data, one row per setting."""
    rows = []
    for (method, beta, rate), seeds in traces.items():
        rows.append(
            {
                "method": method,
                "kl_coef": beta,
                "learning_rate": rate,
                "budget": f"{UPDATES} x {BATCH} responses",
                "gaps": [trace.gaps[-1] for trace in seeds],
                "kl": float(np.median([trace.kl for trace in seeds])),
                "gold": float(np.median([trace.gold for trace in seeds])),
                "updates": seeds[0].updates,
                "gap_curves": [trace.gaps for trace in seeds],
            }
        )
    for pairs, values in direct.items():
        rows.append(
            {
                "method": "dpo",
                "kl_coef": DPO_BETA,
                "learning_rate": None,
                "budget": f"{pairs:,} pairs",
                "gaps": [value["gap"] for value in values],
                "kl": float(np.median([value["kl"] for value in values])),
                "gold": float(np.median([value["gold"] for value in values])),
            }
        )
    for entry in rows:
        entry["median_gap"] = float(np.median(entry["gaps"]))
        entry["optimum"] = {name: optima[entry["kl_coef"]][name] for name in ("kl", "gold")}
    return {"rows": rows}


def row(entry: dict[str, Any]) -> list[str]:
    """Return an entry of the summary as table cells."""
    rate = entry["learning_rate"]
    return [
        entry["method"].upper(),
        f"{entry['kl_coef']:g}",
        "-" if rate is None else f"{rate:g}",
        entry["budget"],
        f"{entry['median_gap']:.4f}",
        ", ".join(f"{gap:.4f}" for gap in entry["gaps"]),
        f"{entry['kl']:.3f}",
        f"{entry['optimum']['kl']:.3f}",
        f"{entry['gold']:.3f}",
        f"{entry['optimum']['gold']:.3f}",
    ]


if __name__ == "__main__":
    main()
