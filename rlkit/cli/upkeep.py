"""`rlkit verify`, `rlkit resume` and `rlkit reproduce`, for runs of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit.cli.forms import Output, make_form, parse, positional
from rlkit.cli.report import announcing, note, print_json, show_progress
from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell, printable
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.runs.integrity.verify import Verdict
    from rlkit.upkeep.resuming import Outcome

PLACES = positional(
    tuple[Path, ...], "RUN", "folders of runs and comparisons, or folders above them"
)


def verify_command(args: list[str]) -> int:
    """Check every file of some runs; the exit code is 1 if one is damaged."""
    about = (
        "Check every file of runs against its sha256: records, rows, checkpoints and figures; of "
        "comparisons, the summary and the figures. Exit code 1 if one is damaged."
    )
    parsed = parse(make_form(about, places=PLACES, output=Output), args, "verify")
    if not parsed.places:
        raise UsageError("verify: name at least one folder, such as runs")
    from rlkit.upkeep.verifying import verify

    verdicts = verify(*parsed.places)
    if parsed.output.json:
        print_json([verdict.as_data() for verdict in verdicts])
    else:
        _print_verdicts(verdicts)
    return int(any(verdict.problems for verdict in verdicts))


def _print_verdicts(verdicts: Sequence[Verdict]) -> None:
    table = new_table("", ["run", "status", "seeds complete", "files"], left=1)
    for verdict in verdicts:
        total = len(verdict.seeds)
        table.add_row(
            cell(verdict.folder),
            cell(verdict.status or "-"),
            f"{len(verdict.complete)} of {total}" if total else "-",
            f"{len(verdict.problems)} damaged" if verdict.problems else "sound",
        )
    print_table(table)
    for verdict in verdicts:
        for each in verdict.seeds:
            if each.state != "complete":
                at = f"at {each.done:,} of {verdict.target:,} {verdict.unit}"
                print(printable(f"{verdict.folder}, seed {each.seed}: {each.state}, {at}"))
        for problem in verdict.problems:
            print(printable(f"damaged: {problem}"))
        for text in verdict.notes:
            print(printable(f"note: {verdict.folder}: {text}"))


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """How runs are continued."""

    workers: int = 1  # processes that share the seeds of a run, >= 1
    # continue even if versions have changed, which marks the runs as not reproducible
    allow_drift: bool = False
    # run the code that runs name although they were not trained here from the present source
    trust: bool = False


def resume_command(args: list[str]) -> int:
    """Continue all unfinished runs below a folder; the exit codes are those of `train`."""
    about = (
        "Continue all unfinished runs in a folder and below, of agents and of stages of RLHF, one "
        "after another. Seeds that failed are tried again."
    )
    place = positional(Path, "DIR", "a folder")
    form = make_form(about, place=place, resuming=ResumeOptions, output=Output)
    parsed = parse(form, args, "resume")
    from rlkit.upkeep.resuming import resume

    with show_progress(quiet=parsed.output.json) as reports, announcing():
        outcomes = resume(parsed.place, **vars(parsed.resuming), reports=reports)
    if parsed.output.json:
        print_json([{**vars(one), "folder": str(one.folder)} for one in outcomes])
    else:
        _print_outcomes(outcomes)
    return max(outcome.exit_code for outcome in outcomes)


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    table = new_table("", ["run", "now"], left=1)
    for outcome in outcomes:
        table.add_row(cell(outcome.folder), cell(outcome.state))
    print_table(table)
    for outcome in outcomes:
        if outcome.message:
            note(f"{outcome.folder} {outcome.state}: {outcome.message}")


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """What is trained again, and where."""

    out: Path | None = None  # keep the repetition in this folder; by default it is deleted
    seeds: int | None = None  # repeat the first so many seeds only, >= 1
    workers: int = 1  # processes that share the seeds, >= 1
    # your own agent that trained the run, path/to/file.py:Class or module:Class, where it is no
    # longer where it was
    agent: str | None = None
    # run the code that the run names although it was not trained here from the present source
    trust: bool = False


def reproduce_command(args: list[str]) -> int:
    """Train a run again elsewhere and compare; the exit code is 1 if it was not reproduced."""
    about = (
        "Train a finished run again in another folder and compare the two, seed by seed: equal "
        "bytes, the same in distribution (a permutation test of the final scores), or different, "
        "from which step on and with what else differs. Exit code 1 unless the results are equal "
        "or the same in distribution."
    )
    run = positional(
        Path, "RUN", "the folder or the name of a run of an agent or of a stage of RLHF"
    )
    form = make_form(about, run=run, repetition=ReproduceOptions, output=Output)
    parsed = parse(form, args, "reproduce")
    from rlkit.upkeep.reproducing import reproduce

    with show_progress(quiet=parsed.output.json) as reports, announcing():
        result = reproduce(parsed.run, **vars(parsed.repetition), reports=reports)
    if parsed.output.json:
        print_json(result.as_data())
    else:
        print(printable(str(result)))
        if result.repetition is not None:
            print(printable(str(result.repetition)))
    return int(not result.reproduced)
