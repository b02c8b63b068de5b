"""`rlkit train` and `rlkit compare`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.cli.forms import (
    joined_env_args,
    parse,
    positional,
    positional_words,
    read_env_args,
)
from rlkit.cli.report import print_json, print_pairs, print_runs, progress, report_failures
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What train and compare have in common."""

    seeds: int = 10  # how many seeds; more than before adds seeds to the same run
    steps: int | None = None  # environment steps of each seed; None = the preset's
    seed: int = 0  # the experiment's seed, from which all others are drawn
    out: Path = Path("runs")  # the folder in which each run gets its own
    workers: int = 1  # processes over which the seeds are split; results are the same for any
    env_arg: tuple[str, ...] = ()  # name=value of the environment, value in JSON; may be repeated
    evaluate_every: int | None = None  # steps between rows of the curve; None = the preset's
    # episodes per evaluation, where the return is not known exactly; 0 = no evaluation
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES
    native: bool = True  # use a batched twin of the environment, or its model, where there is one
    json: bool = False  # print one JSON object and nothing else


def _arguments(options: TrainingOptions) -> dict[str, Any]:
    """The arguments that `rlkit.train` and `rlkit.compare` take alike."""
    names = ("seeds", "steps", "seed", "out", "workers", "evaluate_every", "evaluation_episodes")
    arguments = {name: getattr(options, name) for name in (*names, "native")}
    return {**arguments, "env_args": read_env_args(options.env_arg)}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainingOptions):
    """Options of `rlkit train`."""

    envs: int | None = None  # environments of each seed; None = the preset's
    allow_drift: bool = False  # go on although versions changed; marks the run not reproducible


def train_command(args: list[str]) -> int:
    from rlkit.agents import AGENTS, find_agent

    if "--workers" in args:
        from rlkit.runs.workers import warm_up
        from rlkit.training.kind import AGENT_RUN

        warm_up(AGENT_RUN.worker_imports)
    args = joined_env_args(args)
    words = positional_words(args, TrainOptions)
    named = words[0] if words and words[0] in AGENTS else None
    agent_class: Any = None
    if named is not None:
        agent_class = find_agent(named)
    elif words:
        find_agent(words[0])  # says that there is no such agent
    fields: list[Any] = [
        ("agent", positional(str, "AGENT", f"one of {', '.join(AGENTS)}")),
        (
            "environment",
            positional(str, "ENV", "a Gymnasium id, module:Id, or path/to/file.py:Class"),
        ),
        ("training", TrainOptions, dataclasses.field(default_factory=TrainOptions)),
    ]
    if named is not None:
        from rlkit.training.specification import default_config

        words = positional_words(args, TrainOptions, agent_class.Config)
        env_name = words[1] if len(words) > 1 else ""
        config = default_config(agent_class, named, env_name, {})
        fields.append((named.replace("-", "_"), type(config), dataclasses.field(default=config)))
    form = dataclasses.make_dataclass("Train", fields, frozen=True)
    form.__doc__ = (
        "Train an agent on an environment, for many seeds. The same command again goes on where "
        "it was interrupted."
        + ("" if named else " With an AGENT before --help, its options are listed as well.")
    )
    help_of = "train AGENT" if named is None else f"train {named}"
    parsed = parse(form, args, "train", help_of)
    options: TrainOptions = parsed.training
    from rlkit.training.train import train

    with progress(quiet=options.json) as reports:
        run = train(
            parsed.agent,
            parsed.environment,
            **_arguments(options),
            envs=options.envs,
            allow_drift=options.allow_drift,
            config=None if named is None else getattr(parsed, named.replace("-", "_")),
            reports=reports,
        )
    if options.json:
        print_json(
            {
                "run": str(run.folder),
                "status": run.status,
                "seeds": len(run.seeds),
                "num_env_steps": run.num_env_steps,
                "env_steps_per_second": run.env_steps_per_second,
                "final": run.scores.tolist(),
            }
        )
    else:
        print_runs({run.agent: run})
        print(f"\n{run.folder}/learning_curve.png")
    return report_failures([run])


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrainingOptions):
    """Options of `rlkit compare`."""

    env: str | None = None  # a Gymnasium id, module:Id, or path/to/file.py:Class


def compare_command(args: list[str]) -> int:
    from rlkit.agents import AGENTS

    form = dataclasses.make_dataclass(
        "Compare",
        [
            (
                "agents",
                positional(
                    tuple[str, ...], "AGENT", f"some of {', '.join(AGENTS)}, or folders of runs"
                ),
            ),
            ("training", CompareOptions),
        ],
        frozen=True,
    )
    form.__doc__ = (
        "Train what is missing of several agents on one environment, then compare them at equal "
        "numbers of steps: summary.json and two figures in the folder given by --out, or in a "
        "folder of its own in there where --out holds another comparison. Folders of runs are "
        "compared as they are, without --env."
    )
    parsed = parse(form, joined_env_args(args), "compare")
    options: CompareOptions = parsed.training
    from rlkit.training.compare import compare

    with progress(quiet=options.json) as reports:
        comparison = compare(
            parsed.agents,
            options.env,
            **_arguments(options),
            reports=reports,
        )
    if options.json:
        print_json(comparison.summary())
    else:
        print_runs(dict(comparison.runs), comparison.optimum)
        print_pairs(comparison.pairs())
        print()
        for name in ("summary.json", "learning_curves.png", "final_performance.png"):
            print(comparison.folder / name)
    return report_failures(list(comparison.runs.values()))
