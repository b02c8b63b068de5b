"""`rlkit check-twin`."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.cli.forms import EnvArgs, Output, make_form, parse, positional, read_env_args
from rlkit.cli.report import print_json
from rlkit.cli.terminal import printable


@dataclass(frozen=True, kw_only=True)
class TwinOptions:
    """What is compared."""

    seeds: int = 3  # number of seeds, >= 1
    envs: int = 4  # environments of each seed, >= 1
    steps: int = 1000  # of each environment in each of three parts, >= 2
    seed: int = 0  # from which seeds and actions are drawn, >= 0
    env_timeout: float = 60.0  # seconds that a reset or step of the environment may take, > 0
    env_args: EnvArgs = ()  # arguments of both, values in JSON


def check_twin_command(args: list[str]) -> int:
    """Compare an environment with a batched twin, step by step."""
    about = (
        "Step an environment and a batched twin with the same seeds and actions, and report where "
        "they first differ: with automatic resets, in single episodes, and after the state of the "
        "twin was saved and loaded. The exit code is 1 if they differ."
    )
    form = make_form(
        about,
        environments=positional(
            tuple[str, ...],
            "ORIGINAL [TWIN]",
            "a Gymnasium id, module:Id or path/to/file.py:Class, and the class or factory of a "
            "batched environment (default: the installed twin of the id)",
        ),
        comparison=TwinOptions,
        output=Output,
    )
    parsed = parse(form, args, "check-twin")
    from rlkit.environments.grids.twins import check_twin
    from rlkit.errors import UsageError

    if len(parsed.environments) not in (1, 2):
        got = len(parsed.environments)
        raise UsageError(f"check-twin: expected an environment and its twin, got {got} names")
    options = parsed.comparison
    report = check_twin(
        *parsed.environments,
        env_args=read_env_args(options.env_args),
        seeds=options.seeds,
        envs=options.envs,
        steps=options.steps,
        seed=options.seed,
        env_timeout=options.env_timeout,
    )
    if parsed.output.json:
        print_json(report.as_dict())
    elif report.difference is None:
        print(
            f"{printable(report.twin)} equals {printable(report.original)} to the last bit in "
            f"{report.transitions:,} transitions and {report.episodes:,} ends of episodes"
        )
    else:
        print(f"{printable(report.twin)} is not {printable(report.original)}:")
        print(printable(report.difference))
    return 0 if report.equal else 1
