"""`rlkit prefer`: learn a reward from preferences, and a policy on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlkit.cli.agents.train import ENVIRONMENT, TrainOptions
from rlkit.cli.forms import Output, make_form, parse, positional, positional_words
from rlkit.cli.report import (
    announcing,
    note,
    print_json,
    print_runs,
    report_failures,
    show_progress,
)
from rlkit.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from rlkit.training.preferences import RewardAccuracy
    from rlkit.training.run import Run

AGENT = "preference-ppo"
_ABOUT = (
    "Learn a reward from preferences between segments of trajectories, and train PPO on it, for "
    "many seeds: collect segments, ask which of two is better, fit the reward, train, and repeat. "
    "It is `rlkit train preference-ppo ENV`, and also writes the preferences of each seed, from "
    "which --preferences continues. Run the same command again to continue after an interruption."
)


def prefer_command(args: list[str]) -> int:
    """Learn a reward from preferences, and train PPO on it."""
    from rlkit.agents import find_agent
    from rlkit.training.specification import default_config

    agent = find_agent(AGENT)
    words = positional_words(args, TrainOptions, Output, agent.Config)
    form = make_form(
        _ABOUT,
        environment=positional(str, "ENV", ENVIRONMENT),
        training=TrainOptions,
        learning=default_config(agent, AGENT, words[0] if words else "", {}),
        output=Output,
    )
    parsed = parse(form, args, "prefer")
    from rlkit.training.preferences import (
        pooled_accuracy,
        reward_accuracy,
        uninformative_answers,
        write_preferences,
    )
    from rlkit.training.train import train

    with show_progress(quiet=parsed.output.json) as reports, announcing():
        run = train(
            AGENT,
            parsed.environment,
            **parsed.training.arguments(),
            config=parsed.learning,
            reports=reports,
        )
    files = write_preferences(run)
    seeds = reward_accuracy(run) if files else {}
    if parsed.output.json:
        print_json(_summary(run, seeds))
    elif files:
        print_runs({run.agent: run})
        _print_seeds(run, seeds)
        print(_sentence(pooled_accuracy(run)))
        print(f"\n{run.folder}/learning_curve.png\n{files[0]}" + (" ..." if files[1:] else ""))
    code = report_failures([run])
    if files and (sentence := uninformative_answers(run)):
        note(sentence)
    return code


def _returns(run: Run, seed: int) -> tuple[float, float]:
    """Return the last mean return of training in the learned and in the true reward."""
    import numpy as np

    columns = run.columns[run.seeds.index(seed)]
    learned, true = columns["learned_return"], columns["train_return"]
    known = np.flatnonzero(np.isfinite(learned) & np.isfinite(true))
    return (learned[known[-1]], true[known[-1]]) if len(known) else (np.nan, np.nan)


def _print_seeds(run: Run, seeds: dict[int, RewardAccuracy]) -> None:
    columns = ["seed", "held out", "accuracy", "Bayes ceiling", "learned return", "true return"]
    table = new_table("the learned reward: held-out preferences, and returns of training", columns)
    for seed, own in seeds.items():
        learned, true = _returns(run, seed)
        table.add_row(
            str(seed),
            str(own.num_held_out),
            _number(own.accuracy, "{:.3f}"),
            _number(own.ceiling.accuracy, "{:.3f}"),
            _number(learned, "{:.4g}"),
            _number(true, "{:.4g}"),
        )
    print_table(table)


def _number(value: float, form: str) -> str:
    return form.format(value) if value == value else "-"


def _sentence(pooled: RewardAccuracy) -> str:
    """Return the accuracy on the held-out preferences of all seeds together as a sentence."""
    if not pooled.num_held_out:
        return "no preference was held out, so the accuracy of the reward is not known"
    text = f"of {pooled.num_held_out:,} held-out preferences, {pooled.accuracy:.3f} are predicted"
    ceiling = pooled.ceiling
    if ceiling.accuracy != ceiling.accuracy:
        return text
    return f"{text}; the best reward predicts {ceiling.accuracy:.3f} ± {ceiling.standard_error:.3f}"


def _summary(run: Run, seeds: dict[int, RewardAccuracy]) -> dict[str, Any]:
    rows = []
    for seed, own in seeds.items():
        learned, true = _returns(run, seed)
        rows.append(
            {
                "seed": seed,
                "held_out": own.num_held_out,
                "accuracy": own.accuracy,
                "bayes_accuracy": own.ceiling.accuracy,
                "standard_error": own.ceiling.standard_error,
                "learned_return": learned,
                "true_return": true,
            }
        )
    return {
        "run": str(run.folder),
        "status": run.status,
        "num_env_steps": run.num_env_steps,
        "final": run.scores.tolist(),
        "seeds": rows,
    }
