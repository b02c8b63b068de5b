"""`rlkit rlhf sample`, `evaluate`, `best-of-n`: what a policy or a reward model is worth."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.cli.forms import parse, positional
from rlkit.cli.report import print_json

DIVERSITY = {
    "distinct_1": "different tokens / tokens",
    "distinct_2": "different pairs of tokens / pairs",
    "distinct_responses": "different responses / responses",
    "mean_cosine": "mean cosine of responses (1 = collapsed)",
}


@dataclass(frozen=True, kw_only=True)
class JudgingOptions:
    """Which policy, and by what to judge it."""

    run_seed: int = 0  # which seed of RUN
    reward: Path | None = None  # run of a reward model; None = the one that RUN was trained on
    reward_seed: int | None = None  # which seed of that; None = the same
    score: str | None = None  # path/to/file.py:function(prompts, responses) -> numbers, instead
    temperature: float | None = None  # of sampling; None = the one that RUN was trained at
    seed: int = 0  # of what is sampled here


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What to sample."""

    num: int = 8  # responses; to each prompt, where some are given
    prompt: tuple[str, ...] = ()  # texts to respond to; the task's own if left out
    greedy: bool = False  # the likeliest token each time
    json: bool = False  # print JSON and nothing else


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """On what to measure."""

    num_samples: int = 1024  # responses of policy and reference, or fresh preferences
    demonstrations: Path | None = None  # held-out ones, for a policy of your own texts
    preferences: Path | None = None  # held-out ones, for a reward model of your own texts
    kl_coef: float | None = None  # of the exact objective; None = that of the training
    json: bool = False  # print JSON and nothing else


@dataclass(frozen=True, kw_only=True)
class BestOptions:
    """How many to choose from."""

    n: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # samples of which the best is kept
    num_prompts: int = 256  # each gets as many samples as the largest n
    json: bool = False  # print JSON and nothing else


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What to show."""

    num: int = 3  # responses of policy and of reference to each prompt


def sample_command(args: list[str]) -> int:
    parsed = parsed_run("sample", "Print responses of a policy.", args, SampleOptions)
    from rlkit.rlhf.stages.evaluate_policy import sample_run

    options: SampleOptions = parsed.options
    rows = sample_run(
        parsed.run,
        num=options.num,
        prompts=options.prompt,
        greedy=options.greedy,
        **vars(parsed.judging),
    )
    if options.json:
        print_json({"run": str(parsed.run), "samples": rows})
        return 0
    names = list(rows[0]["scores"])
    compared = "reference_log_prob" in rows[0]
    columns = ["prompt", "response", "log prob", *(["reference's"] if compared else []), *names]
    table = _table("log-probabilities in nats", columns, left=2)
    for row in rows:
        cells = [row["prompt"], shown(row), f"{row['log_prob']:.2f}"]
        cells += [f"{row['reference_log_prob']:.2f}"] if compared else []
        table.add_row(*map(_plain, cells), *(f"{row['scores'][name]:.3f}" for name in names))
    _print(table)
    if not all(row["ended"] for row in rows):
        print("… = cut at the length limit")
    return 0


def evaluate_command(args: list[str]) -> int:
    about = "Measure a policy against its reference, or a reward model on preferences."
    parsed = parsed_run("evaluate", about, args, EvaluateOptions)
    from rlkit.rlhf.stages.evaluate_policy import evaluate_run

    options = {name: value for name, value in vars(parsed.options).items() if name != "json"}
    found = evaluate_run(parsed.run, **options, **vars(parsed.judging))
    if parsed.options.json:
        print_json(found)
    elif found["kind"] == "policy":
        _print_policy(found)
    else:
        _print_reward_model(found)
    return 0


def best_of_n_command(args: list[str]) -> int:
    about = (
        "What the best of n samples of a policy is worth, without training. The reward model "
        "(--reward), the function (--score) or the built-in task's gold reward chooses."
    )
    parsed = parsed_run("best-of-n", about, args, BestOptions)
    from rlkit.rlhf.stages.evaluate_policy import best_of_n_run

    options: BestOptions = parsed.options
    found = best_of_n_run(
        parsed.run, n=options.n, num_prompts=options.num_prompts, **vars(parsed.judging)
    )
    if options.json:
        print_json(found)
        return 0
    first = found["rows"][0]
    names, exactly = list(first["scores"]), first["exact"] is not None
    columns = ["n", "KL bound", *names]
    columns += [f"exact {name}" for name in ("KL", *names)] if exactly else []
    title = f"best of n by {found['chosen_by']}, {found['num_prompts']} prompts of {found['task']}"
    table = _table(title, columns, left=0)
    for row in found["rows"]:
        cells = [str(row["n"]), f"{row['kl_bound']:.3f}"]
        cells += [_mean(row["scores"][name]) for name in names]
        cells += [_fixed(row["exact"][name], 3) for name in ("kl", *names)] if exactly else []
        table.add_row(*cells)
    _print(table)
    print("KL bound: log n - (n - 1)/n nats, which the KL from the policy never exceeds")
    return 0


def chat_command(args: list[str]) -> int:
    about = "Type prompts, see responses of policy and reference side by side."
    parsed = parsed_run("chat", about, args, ChatOptions)
    from rlkit.cli.rlhf.chat import chat

    return chat(parsed.run, parsed.options.num, vars(parsed.judging))


def parsed_run(command: str, about: str, args: list[str], options: type[Any]) -> Any:
    """The options of a command on one RUN."""
    form = dataclasses.make_dataclass(
        command.replace("-", "_"),
        [
            ("run", positional(Path, "RUN", "folder of the run")),
            ("options", options, dataclasses.field(default_factory=options)),
            ("judging", JudgingOptions, dataclasses.field(default_factory=JudgingOptions)),
        ],
        frozen=True,
    )
    form.__doc__ = about
    return parse(form, args, f"rlhf {command}")


def shown(row: Mapping[str, Any]) -> str:
    """A response as it is printed: one that was cut ends with an ellipsis."""
    return str(row["response"] or "(empty)") if row["ended"] else f"{row['response']}…"


def _print_policy(found: Mapping[str, Any]) -> None:
    compared = not found["is_reference"]
    who = ("policy", "reference") if compared else ("policy",)
    title = f"{found['stage']} on {found['task']}, seed {found['run_seed']}, "
    title += f"{found['num_samples']} responses at temperature {found['temperature']:g}"
    table = _table(title, ["", *who], left=1)
    prefixes = ("", "reference_")[: len(who)]
    if compared:
        table.add_row("KL from the reference, nats", _with_error(found, "kl"), "0")
    table.add_row("response length, tokens", *(f"{found[p + 'length']:.2f}" for p in prefixes))
    table.add_row("ended by EOS", *(f"{found[p + 'ended']:.1%}" for p in prefixes))
    of = found["perplexity"]
    if compared:
        seen = f"{of['of_samples_under_reference']:.4g}"
        table.add_row("perplexity of samples under the reference", seen, "-")
    if "of_demonstrations" in of:
        values = [of["of_demonstrations"], of["of_demonstrations_under_reference"]]
        table.add_row("perplexity of held-out demonstrations", *_each(values, who))
    for name, label in DIVERSITY.items():
        values = [found[f"{prefix}diversity"][name] for prefix in prefixes]
        table.add_row(label, *_each(values, who))
    for name, overlap in found.get("overlap", {}).items():
        table.add_row(f"{name.replace('_', '-').upper()} with demonstrations", f"{overlap:.4g}")
    for name, comparison in found["scores"].items():
        table.add_section()
        both = [comparison[each] for each in who]
        table.add_row(f"{name}, mean", *map(_mean, both))
        table.add_row("  standard deviation", *(f"{s['standard_deviation']:.4g}" for s in both))
        for label, quantile in (("5 %", "0.05"), ("50 %", "0.5"), ("95 %", "0.95")):
            values = [summary["quantiles"][quantile] for summary in both]
            table.add_row(f"  {label} quantile", *_each(values, who))
        if compared:
            table.add_row("  win rate against the reference", _with_error(comparison, "win_rate"))
    if found["exact"] is not None:
        table.add_section()
        for row in _exact_rows(found["exact"], compared):
            table.add_row(*row)
    _print(table)


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


def _print_reward_model(found: Mapping[str, Any]) -> None:
    title = f"reward model on {found['task']}, seed {found['run_seed']}: {found['data']}"
    table = _table(title, ["", "accuracy", "pairs"], left=1)
    for name, group in found["accuracy"].items():
        if group["num_pairs"]:
            table.add_row(name, _with_error(group, "accuracy", "standard_error"), _count(group))
    gold, exact = found["gold"], found["exact"]
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
    _print(table)


def _fixed(value: float, digits: int = 4) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0, for there is no -0.0000


def _each(values: list[float], who: tuple[str, ...]) -> list[str]:
    return [f"{value:.4g}" for value in values[: len(who)]]


def _count(group: Mapping[str, Any]) -> str:
    return f"{group['num_pairs']:,}"


def _mean(summary: Mapping[str, float]) -> str:
    return f"{summary['mean']:.3f} ± {summary['standard_error']:.3f}"


def _with_error(found: Mapping[str, float], name: str, error: str = "") -> str:
    return f"{found[name]:.4f} ± {found[error or f'{name}_standard_error']:.4f}"


def _plain(text: str) -> Any:
    """A text as it is: rich would read brackets in it as markup."""
    from rich.text import Text

    return Text(text)


def _table(title: str, columns: list[str], *, left: int) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i < left else "right", no_wrap=i >= left)
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 110).print(table)
