"""`rlkit compare`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import UseAppendAction, arg

from rlkit.cli.agents.train import ENVIRONMENT, TrainingOptions
from rlkit.cli.forms import Output, make_form, parse, positional
from rlkit.cli.report import (
    announcing,
    print_json,
    print_pairs,
    print_runs,
    report_failures,
    show_progress,
)
from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell, printable

if TYPE_CHECKING:
    from rlkit.analysis.comparisons import PairComparison
    from rlkit.training.comparing.comparison import Comparison
    from rlkit.training.comparing.comparison_set import ComparisonSet

Environments = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(name="env", metavar="ENV", help=f"{ENVIRONMENT}; repeat it for several environments"),
]


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrainingOptions):
    """How seeds are trained and evaluated."""

    environments: Environments = ()
    # standard deviation of real actions before training, > 0, of the agents that have the option
    initial_std: float | None = None
    # what is compared: final (the return at the end), area (the mean return during training), or
    # steps-to VALUE (environment steps until a return is reached; one for all environments, or one
    # for each)
    metric: str = "final"
    # add seeds, in steps up to --max-seeds, until the difference of each pair is decided
    until_decided: bool = False
    max_seeds: int = 50  # with --until-decided, at least --seeds
    # load the models of Stable-Baselines3 that are named, and run the code that runs name, whoever
    # made them: both may run any code
    trust: bool = False


def compare_command(args: list[str]) -> int:
    """Train several agents on one or several environments and compare them."""
    from rlkit.agents import AGENTS

    about = (
        "Train several agents on one environment or several, unless they are trained already, and "
        "compare them at equal numbers of steps. Writes summary.json and figures to the folder "
        "given by --out, or to a new folder inside it if it already holds another comparison. "
        "Folders of runs are compared as they are and need no --env."
    )
    agents = (
        f"one or more of {', '.join(AGENTS)}, path/to/file.py:Class, module:Class, folders of runs "
        "(with commas between those on several environments) or sb3:model.zip of Stable-Baselines3 "
        "(with commas between seeds); with a name and options in the same word: "
        '"slow=ppo --learning-rate 1e-4"'
    )
    form = make_form(
        about,
        agents=positional(tuple[str, ...], "AGENT", agents),
        training=CompareOptions,
        output=Output,
    )
    parsed = parse(form, _with_one_metric(args), "compare")
    from rlkit.training.comparing.compare import compare
    from rlkit.training.comparing.comparison_set import ComparisonSet

    arguments = parsed.training.arguments()
    environments = arguments.pop("environments")
    with show_progress(quiet=parsed.output.json) as reports, announcing():
        comparison = compare(
            parsed.agents,
            environments if len(environments) > 1 else next(iter(environments), None),
            **arguments,
            regret=parsed.training.regret,
            reports=reports,
        )
    if parsed.output.json:
        print_json(comparison.summary())
    elif isinstance(comparison, ComparisonSet):
        _print_set(comparison, regret=parsed.training.regret)
    else:
        _print_comparison(comparison)
        print()
        _print_files(comparison, regret=parsed.training.regret)
    return report_failures(list(comparison.runs.values()))


def _with_one_metric(args: Sequence[str]) -> list[str]:
    """Return words in which a metric and its values are one: --metric=steps-to 475."""
    words = list(args)
    for i, word in enumerate(words):
        if word in ("--metric", "--metric=steps-to"):
            name = word.partition("=")[2] or next(iter(words[i + 1 : i + 2]), "")
            first = i + 1 + ("=" not in word)
            values = list(itertools.takewhile(_is_number, words[first:]))
            if name == "steps-to" and values:
                words[i : first + len(values)] = [f"--metric={name} {' '.join(values)}"]
            break
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _print_comparison(comparison: Comparison) -> None:
    """Print the table of one environment, and the verdict on each pair."""
    metric = comparison.metric
    if metric.name == "final":
        print_runs(dict(comparison.runs), comparison.optimum)
    else:
        _print_metric(comparison)
    unit = " steps" if metric.counts_steps else ""
    print_pairs(comparison.pairs(), unit=unit, advice=_advice(comparison))


def _advice(comparison: Comparison) -> Callable[[PairComparison], str]:
    """Return what says how many seeds an undecided pair of a comparison would take."""

    def advice(pair: PairComparison) -> str:
        needed = comparison.seeds_needed(pair)
        if needed is None:
            return ""
        more = needed - comparison.fewest_seeds(pair)
        return (
            f"about {needed:,} seeds each, {more:,} more, would separate a difference of this size "
            "with 80 % power"
        )

    return advice


def _print_metric(comparison: Comparison) -> None:
    """Print the table of a metric other than the final return."""
    metric, summary = comparison.metric, comparison.summary()["agents"]
    columns = ["agent", "seeds", "env steps", metric.label, "95 % interval"]
    table = new_table(comparison.environment_name, columns + ["reached"] * metric.counts_steps)
    for name, run in comparison.runs.items():
        agent, scores = summary[name], comparison.scores[name]
        mean, low, high = (
            f"{number:,.0f}" if metric.counts_steps else f"{number:.4g}"
            for number in (agent["mean"], *agent["interval"])
        )
        cells: list[Any] = [cell(name), str(len(scores)), f"{run.num_env_steps:,}", mean]
        cells.append(f"{low} to {high}" if len(scores) > 1 else "-")
        if metric.counts_steps:
            middle = "" if agent["median"] is None else f", median {agent['median']:,.0f}"
            cells.append(f"{agent['reached']} of {len(scores)}{middle}")
        table.add_row(*cells)
    if metric.counts_steps:
        table.caption = "a seed that never reached it counts as the whole budget, and ranks last"
        table.caption_justify = "left"
    print_table(table)


def _print_set(comparison: ComparisonSet, *, regret: bool) -> None:
    """Print the tables of each environment, then that over all."""
    for one in comparison.comparisons.values():
        _print_comparison(one)
        print()
    columns = ["agent", "seeds", "interquartile mean", "95 % interval"]
    table = new_table(f"{len(comparison.comparisons)} environments together", columns)
    intervals = comparison.intervals()
    for name in comparison.names:
        cells: list[Any] = [cell(name), str(comparison.num_seeds[name])]
        if (interval := intervals.get(name)) is None:
            cells += ["-", "-"]
        else:
            limits = f"{interval.low:.4g} to {interval.high:.4g}"
            cells += [f"{interval.estimate:.4g}", limits if interval.low == interval.low else "-"]
        table.add_row(*cells)
    scales = (f"{name} {s.random:.4g} to {s.best:.4g}" for name, s in comparison.scales.items())
    ends = "0 (the whole budget)", "1 (no steps)"
    if not comparison.metric.counts_steps:
        ends = "0 (random)", "1 (best known)"
    table.caption = printable(f"scores from {ends[0]} to {ends[1]}: {'; '.join(scales)}")
    table.caption_justify = "left"
    print_table(table)
    improvements = {(p["a"], p["b"]): p["improvement"] for p in comparison.summary()["pairs"]}

    def effect(pair: PairComparison) -> str:
        return f"probability of improvement {improvements[pair.a, pair.b]:.2g}"

    print_pairs(comparison.pairs(), effect=effect, advice=_advice(comparison))
    print()
    for one in comparison.comparisons.values():
        _print_files(one, regret=regret)
    for name in ("summary.json", "over_environments.png"):
        print(comparison.folder / name)


def _print_files(comparison: Comparison, *, regret: bool) -> None:
    names = ["summary.json", "learning_curves.png", f"{comparison.metric.stem}.png"]
    for name in [*names, *(["regret.png"] if regret else [])]:
        if (comparison.folder / name).exists():  # a comparison without curves draws none
            print(comparison.folder / name)
