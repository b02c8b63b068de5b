"""`rlkit rlhf sample`, `evaluate` and `best-of-n`: look at a trained policy or reward model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from rlkit.cli.report import alone_on_output, print_json
from rlkit.cli.rlhf.responses import parse_run, response_text, score_cells, score_columns
from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell

DIVERSITY = {
    "distinct_1": "different tokens / tokens",
    "distinct_2": "different pairs of tokens / pairs",
    "distinct_responses": "different responses / responses",
    "mean_cosine": "mean cosine of responses (1 = collapsed)",
}


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What to sample."""

    num: int = 8  # number of responses, >= 1; per prompt if --prompt is given
    # texts to respond to; by default prompts of the task
    prompt: Annotated[tuple[str, ...], arg(help_behavior_hint="")] = ()
    greedy: bool = False  # always take the most likely token
    # put each --prompt into the chat template as the message of a user; None = where the policy was
    # trained on chats
    chat_template: bool | None = None


@dataclass(frozen=True, kw_only=True)
class MeasurementOptions:
    """What to measure on."""

    num_samples: int = 1024  # responses of policy and reference, or fresh preferences, >= 2
    demonstrations: Path | None = None  # held-out file, for a policy trained on your own texts
    preferences: Path | None = None  # held-out file, for a reward model trained on your own texts
    kl_coef: float | None = None  # of the exact objective, >= 0; None = as in training


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """How many samples to choose from."""

    n: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # numbers of samples to choose from, >= 1
    num_prompts: int = 256  # prompts, each with as many samples as the largest n, >= 2


def sample_command(args: list[str]) -> int:
    """Print responses of a policy."""
    about = "Print responses of a policy."
    parsed = parse_run("sample", about, args, sampling=SampleOptions)
    from rlkit.rlhf.stages.evaluation.evaluate_policy import sample_run

    options: SampleOptions = parsed.sampling
    with alone_on_output(parsed.output.json):
        rows = sample_run(
            parsed.run,
            num=options.num,
            prompts=options.prompt,
            greedy=options.greedy,
            chat_template=options.chat_template,
            **vars(parsed.evaluation),
        )
    if parsed.output.json:
        print_json({"run": str(parsed.run), "samples": rows})
    else:
        _print_samples(rows)
    return 0


def evaluate_command(args: list[str]) -> int:
    """Measure a policy or a reward model, and print the results."""
    about = "Measure a policy against its reference, or a reward model on preferences."
    parsed = parse_run("evaluate", about, args, measurement=MeasurementOptions)
    from rlkit.rlhf.stages.evaluation.evaluate_policy import evaluate_run

    with alone_on_output(parsed.output.json):
        report = evaluate_run(parsed.run, **vars(parsed.measurement), **vars(parsed.evaluation))
    if parsed.output.json:
        print_json(report)
    elif report["kind"] == "policy":
        _print_policy(report)
    else:
        _print_reward_model(report)
    return 0


def best_of_n_command(args: list[str]) -> int:
    """Estimate and print the scores of the best of n samples."""
    about = (
        "Estimate the scores of the best of n samples of a policy, without training. The best is "
        "chosen by the reward model (--reward), the function (--score) or the built-in task's gold "
        "reward."
    )
    parsed = parse_run("best-of-n", about, args, selection=SelectionOptions)
    from rlkit.rlhf.stages.evaluation.evaluate_best_of_n import best_of_n_run

    with alone_on_output(parsed.output.json):
        report = best_of_n_run(parsed.run, **vars(parsed.selection), **vars(parsed.evaluation))
    if parsed.output.json:
        print_json(report)
    else:
        _print_best_of_n(report)
    return 0


def _print_samples(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0]["scores"])
    compared = "reference_log_prob" in rows[0]
    columns = ["prompt", "response", "log prob", *(["reference's"] if compared else [])]
    columns += score_columns(names)
    table = new_table("log-probabilities in nats", columns, left=2)
    for row in rows:
        cells = [row["prompt"], response_text(row), f"{row['log_prob']:.2f}"]
        cells += [f"{row['reference_log_prob']:.2f}"] if compared else []
        table.add_row(*map(cell, cells), *score_cells(row))
    print_table(table)
    if not all(row["ended"] for row in rows):
        print("… = truncated at the length limit")


def _print_best_of_n(report: Mapping[str, Any]) -> None:
    first = report["rows"][0]
    names, has_exact = list(first["scores"]), first["exact"] is not None
    columns = ["n", "KL bound", *names]
    columns += [f"exact {name}" for name in ("KL", *names)] if has_exact else []
    title = f"best of n by {report['chosen_by']}, {report['num_prompts']} prompts of "
    table = new_table(title + report["task"], columns, left=0)
    for row in report["rows"]:
        cells = [str(row["n"]), f"{row['kl_bound']:.3f}"]
        cells += [_mean(row["scores"][name]) for name in names]
        cells += [_fixed(row["exact"][name], 3) for name in ("kl", *names)] if has_exact else []
        table.add_row(*cells)
    print_table(table)
    print("KL bound: log n - (n - 1)/n nats, which the KL from the policy never exceeds")


def _print_policy(report: Mapping[str, Any]) -> None:
    compared = not report["is_reference"]
    sides = ("policy", "reference") if compared else ("policy",)
    title = f"{report['stage']} on {report['task']}, seed {report['run_seed']}, "
    title += f"{report['num_samples']} responses at temperature {report['temperature']:g}"
    table = new_table(title, ["", *sides], left=1)
    prefixes = ("", "reference_")[: len(sides)]
    if compared:
        table.add_row("KL from the reference, nats", _with_error(report, "kl"), "0")
    table.add_row("response length, tokens", *(f"{report[p + 'length']:.2f}" for p in prefixes))
    table.add_row("ended by EOS", *(f"{report[p + 'ended']:.1%}" for p in prefixes))
    of = report["perplexity"]
    if compared:
        seen = f"{of['of_samples_under_reference']:.4g}"
        table.add_row("perplexity of samples under the reference", seen, "-")
    if "of_demonstrations" in of:
        values = [of["of_demonstrations"], of["of_demonstrations_under_reference"]]
        table.add_row("perplexity of the demonstrations", *_each(values, sides))
    for name, label in DIVERSITY.items():
        values = [report[f"{prefix}diversity"][name] for prefix in prefixes]
        table.add_row(label, *_each(values, sides))
    for name, overlap in report.get("overlap", {}).items():
        values = [overlap, report["reference_overlap"][name]]
        label = f"{name.replace('_', '-').upper()} with demonstrations"
        table.add_row(label, *_each(values, sides))
    for name, comparison in report["scores"].items():
        table.add_section()
        both = [comparison[each] for each in sides]
        table.add_row(f"{name}, mean", *map(_mean, both))
        table.add_row("  standard deviation", *(f"{s['standard_deviation']:.4g}" for s in both))
        for label, quantile in (("5 %", "0.05"), ("50 %", "0.5"), ("95 %", "0.95")):
            values = [summary["quantiles"][quantile] for summary in both]
            table.add_row(f"  {label} quantile", *_each(values, sides))
        if compared:
            table.add_row("  win rate against the reference", _with_error(comparison, "win_rate"))
    if report["exact"] is not None:
        table.add_section()
        for row in _exact_rows(report["exact"], compared):
            table.add_row(*row)
    print_table(table)


def _exact_rows(exact: Mapping[str, Any], compared: bool) -> list[tuple[str, str]]:
    rows = [("exact KL, nats", _fixed(exact["kl"]))] if compared else []
    rows.append(("exact gold", _fixed(exact["gold"])))
    if exact["maximised"] != "gold":
        rows.append((f"exact {exact['maximised']}", _fixed(exact["proxy"])))
    if exact["gap"] is not None:
        objective = f"{exact['maximised']} - {exact['kl_coef']:g} KL"
        rows.append((f"exact objective, {objective}", f"{exact['objective']:.4f}"))
        rows.append(("  below its optimum by", f"{exact['gap']:.4f}"))
    if exact["log_evidence"] is not None:
        rows.append(("log evidence, nats", _fixed(exact["log_evidence"])))
        rows.append(("  ELBO, nats", _fixed(exact["elbo"])))
        rows.append(("  KL to the posterior, nats", _fixed(exact["posterior_kl"])))
    return rows


def _print_reward_model(report: Mapping[str, Any]) -> None:
    title = f"reward model on {report['task']}, seed {report['run_seed']}: {report['data']}"
    table = new_table(title, ["", "accuracy", report["unit"]], left=1)
    for name, group in report["accuracy"].items():
        if group["num_pairs"]:
            table.add_row(name, _with_error(group, "accuracy", "standard_error"), _count(group))
    gold, exact = report["gold"], report["exact"]
    if gold is not None:
        table.add_section()
        own = gold["accuracy"]
        error = "standard_error"
        table.add_row("gold itself, on these", _with_error(own, "accuracy", error), _count(own))
        agreed = gold["agreement"]
        value = _with_error(agreed, "accuracy", error)
        table.add_row("same order as gold", value, _count(agreed))
        table.add_row("Pearson correlation with gold", f"{gold['correlation']:.4f}", "")
    if exact is not None:
        table.add_section()
        table.add_row("exact accuracy", f"{exact['accuracy']:.4f}", "")
        table.add_row("  Bayes: no model exceeds", f"{exact['bayes_accuracy']:.4f}", "")
        table.add_row("exact share in gold's order", f"{exact['agreement']:.4f}", "")
        table.add_row("exact correlation with gold", f"{exact['correlation']:.4f}", "")
    print_table(table)


def _fixed(value: float, digits: int = 4) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0, for there is no -0.0000


def _each(values: list[float], sides: tuple[str, ...]) -> list[str]:
    return [f"{value:.4g}" for value in values[: len(sides)]]


def _count(group: Mapping[str, Any]) -> str:
    return f"{group['num_pairs']:,}"


def _mean(summary: Mapping[str, float]) -> str:
    return f"{summary['mean']:.3f} ± {summary['standard_error']:.3f}"


def _with_error(report: Mapping[str, float], name: str, error: str = "") -> str:
    deviation = report[error or f"{name}_standard_error"]
    spread = "" if math.isnan(deviation) else f" ± {deviation:.4f}"  # of one pair there is none
    return f"{report[name]:.4f}{spread}"
