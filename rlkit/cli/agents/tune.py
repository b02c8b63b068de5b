"""`rlkit tune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress, arg

from rlkit.cli.agents.train import ENVIRONMENT, TrainingOptions
from rlkit.cli.forms import Output, given_options, make_form, parse, positional
from rlkit.cli.report import (
    announcing,
    note,
    print_json,
    print_pairs,
    print_runs,
    report_failures,
    show_progress,
)
from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell, printable

if TYPE_CHECKING:
    from rlkit.training.tuning.study import Study
    from rlkit.training.tuning.trials import Trial

_MOST_ROWS = 10  # of the table of trials


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainingOptions):
    """How trials are trained and evaluated."""

    environment: Annotated[str, arg(name="env", metavar="ENV", help=ENVIRONMENT)]
    trials: int = 50  # settings that are tried, >= 1; more than before continues the same search
    seeds: int = 5  # seeds per trial, the same in all of them, >= 2
    # the best trials that are trained on more seeds before one is chosen, >= 1; 1 = none
    finalists: int = 4
    # TOML file with the options to search and their ranges, in lines such as
    # gae_lambda = [0.9, 0.95, 1.0] or learning_rate = { low = 1e-5, high = 1e-2, log = true };
    # None = the agent's own search space
    space: Path | None = None
    confirm_seeds: int = 10  # fresh seeds on which the best setting is confirmed, >= 2
    # options that are not searched stand as in the preset, or else at the agent's defaults
    preset: bool = True
    envs: int | None = None  # environments per seed, >= 1; None = the preset's
    # learn from a function of your own, path/to/file.py:function, in place of the environment's
    # reward; the objective is the return of the environment
    reward: str | None = None
    regret: Suppress[bool] = False


def tune_command(args: list[str]) -> int:
    """Search for options of an agent and confirm the best."""
    from rlkit.cli.agents.train import agent_config, agent_field, agent_name

    name = agent_name(args, TuneOptions)
    about = (
        "Search for good options of an agent on an environment. Each trial trains one setting on "
        "the same seeds; settings that lose are stopped early; the best few are trained on more "
        "seeds, and the best of these is confirmed on fresh ones. Options of the agent that are "
        "given are fixed. Run the same command again to continue after an interruption. Needs the "
        "extra `tune`."
    )
    parts: dict[str, Any] = {
        "agent": positional(str, "AGENT", "as for `rlkit train`"),
        "tuning": TuneOptions,
    }
    config = agent_config(name, _environment(args)) if name else None
    if name and config is not None:
        parts[agent_field(name)] = config
    form = make_form(about, **parts, output=Output)
    parsed = parse(form, args, f"tune {name}" if name else "tune", help_of="tune AGENT")
    from rlkit.training.tuning.tune import tune

    own = getattr(parsed, agent_field(name), None) if name else None
    fixed = {} if own is None else given_options(own, args)
    arguments = parsed.tuning.arguments()
    quiet = parsed.output.json
    with show_progress(quiet=quiet) as reports, announcing():
        study = tune(
            parsed.agent,
            arguments.pop("environment"),
            **arguments,
            each=None if quiet else _print_trial,
            reports=reports,
            **fixed,
        )
    if quiet:
        print_json({**study.summary(), "folder": str(study.folder)})
    else:
        _print_study(study)
    assert study.comparison is not None
    return report_failures(list(study.comparison.runs.values()))


def _environment(args: list[str]) -> str:
    """Return the environment that the words name, which chooses the preset; "" if none is."""
    for i, word in enumerate(args):
        if word == "--env" and i + 1 < len(args):
            return args[i + 1]
        if word.startswith("--env="):
            return word.partition("=")[2]
    return ""


def _print_trial(trial: Trial) -> None:
    """Print what became of a trial on the error stream."""
    about = f"trial {trial.number}: {trial.state}"
    if trial.interval is not None:
        low, high = trial.interval.low, trial.interval.high
        about += f" at {trial.steps:,} steps, mean {trial.interval.estimate:.4g}"
        about += f" ({low:.4g} to {high:.4g})"
    if trial.message:
        about += f", {trial.message}"
    if trial.same_as is not None:
        about += f"; the setting of trial {trial.same_as} again"
    note(about)


def _print_study(study: Study) -> None:
    """Print the trials, the confirmation and what to paste."""
    from rlkit.training.tuning.study import cell_text
    from rlkit.training.tuning.trials import FAILED, FINISHED, STOPPED

    states = [trial.state for trial in study.trials]
    counts = ", ".join(f"{states.count(name)} {name}" for name in (FINISHED, STOPPED, FAILED))
    print(f"{len(states)} trials of {study.num_seeds} seeds: {counts}")
    _print_trials(study)
    if study.fixed:
        fixed = ", ".join(f"{name} = {cell_text(value)}" for name, value in study.fixed.items())
        print(printable(f"fixed: {fixed}"))
    share = 1 - study.env_steps / max(1, study.env_steps_without_race)
    print(f"{study.env_steps:,} environment steps of trials; stopping early saved {share:.0%}")
    print(f"{study.env_steps_of_final:,} environment steps of the final\n")
    _print_importances(study)
    _print_final(study)
    comparison = study.comparison
    assert comparison is not None
    print_runs(dict(comparison.runs), comparison.optimum)
    print_pairs(comparison.pairs())
    best, over = study.best, study.overstatement()
    if over is not None and best is not None and best.interval is not None:
        limits = f"{over.low:+.4g} to {over.high:+.4g}"
        print(
            f"trial {best.number}, the chosen one, has a mean of {best.interval.estimate:.4g} on "
            f"the seeds of the search, {over.difference:+.4g} ({limits}) against fresh seeds"
        )
    print(f"\nas a preset:\n\n{printable(study.preset, lines=True)}\n")
    print(f"as a command:\n\n{printable(study.command)}\n")
    for name in ("study.json", "trials.csv", "trials.png", "options.png"):
        print(study.folder / name)


def _print_trials(study: Study) -> None:
    """Print the table of the best trials."""
    from rlkit.training.tuning.study import cell_text
    from rlkit.training.tuning.trials import FINISHED

    ranked = sorted((t for t in study.trials if t.state == FINISHED), key=lambda t: t.rank)
    title = f"{study.spec.agent_name} on {study.environment_name}"
    table = new_table(title, ["trial", "lower end", "mean"], left=0)
    table.add_column("setting")  # one column, which wraps: a column per option would leave no room
    for trial in ranked[: -_MOST_ROWS - 1 : -1]:
        assert trial.interval is not None
        numbers = (f"{x:.4g}" for x in (trial.interval.low, trial.interval.estimate))
        setting = ", ".join(f"{name} {cell_text(trial.params[name])}" for name in study.space)
        table.add_row(str(trial.number), *numbers, cell(setting))
    table.caption = "lower end of the 90 % interval over seeds"
    table.caption_justify = "left"
    print_table(table)


def _print_importances(study: Study) -> None:
    """Print which options set the best trials apart."""
    from rlkit.training.tuning.importances import ALPHA, FEWEST_TRIALS

    if study.importances is None:
        print(
            "which options matter cannot be told: it takes at least "
            f"{FEWEST_TRIALS} different settings that are not all equally good\n"
        )
        return
    table = new_table("which options set the best trials apart", ["option", "share", "p"])
    for name, one in study.importances.items():
        table.add_row(name, f"{one.share:.0%}", f"{one.p_value:.2g}")
    table.caption = (
        "share: of the divergence of the best trials from all, PED-ANOVA; p: of chance alone, "
        "corrected over the options"
    )
    table.caption_justify = "left"
    print_table(table)
    if not any(one.matters for one in study.importances.values()):
        print(f"none differs more than chance explains (p > {ALPHA:g}): more trials may tell\n")


def _print_final(study: Study) -> None:
    """Print what became of the best trials on more seeds."""
    if not study.finals:
        return
    columns = ["trial", "seeds", "lower end", "mean", "worst seed"]
    table = new_table("final: the best trials on seeds that no trial has seen", columns)
    for trial in study.finals:
        if trial.interval is None:
            table.add_row(str(trial.number), "failed", "", "", cell(trial.message))
            continue
        numbers = (trial.interval.low, trial.interval.estimate, min(trial.scores))
        table.add_row(str(trial.number), str(len(trial.scores)), *(f"{x:.4g}" for x in numbers))
    print_table(table)
