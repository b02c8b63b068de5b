"""`rlkit doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.cli.forms import EnvArgs, Output, make_form, parse, positional, read_env_args
from rlkit.cli.report import announcing, note, print_json


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """How long to look."""

    # seconds of the learnability probe, > 0; looking at the environment before it takes less
    seconds: float = 20.0
    # train an agent for some seconds, to see whether it beats random actions; leaves no files
    probe: bool = True
    env_timeout: float = 10.0  # seconds that a reset or step of the environment may take, > 0
    env_args: EnvArgs = ()  # arguments of the environment, values in JSON


def doctor_command(args: list[str]) -> int:
    """Look at an environment and report what is wrong; the exit code is 1 if there are errors."""
    about = (
        "Look at an environment before hours are spent on it: play it for some seconds, report "
        "what is wrong with its cause and its cure, let an agent learn for some seconds, and say "
        "what to start with. Exit code 1 if there are errors."
    )
    form = make_form(
        about,
        environment=positional(str, "ENV", "a Gymnasium id, module:Id, or path/to/file.py:Class"),
        examination=DoctorOptions,
        output=Output,
    )
    parsed = parse(form, args, "doctor")
    from rlkit.diagnosis.doctor import doctor

    options = {**vars(parsed.examination), "env_args": read_env_args(parsed.examination.env_args)}
    if not parsed.output.json:
        training = f", then training on it for {options['seconds']:g} s" if options["probe"] else ""
        note(f"playing {parsed.environment} for some seconds{training}")
    with announcing():
        report = doctor(parsed.environment, **options)
    if parsed.output.json:
        print_json(report.as_dict())
    else:
        print(report)
    return int(bool(report.errors))
