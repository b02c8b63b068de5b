"""What the commands that look at the run of a policy have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.cli.forms import Output, make_form, parse, positional
from rlkit.cli.terminal import cell

if TYPE_CHECKING:
    from rich.text import Text

MOST_COLUMNS = 2  # of scores beside texts, which need the width


def parse_run(command: str, about: str, args: list[str], *, json: bool = True, **parts: Any) -> Any:
    """Return the form of a command on one RUN, with the settings of evaluations.

    Args:
        command: its name after `rlkit rlhf`.
        about: for the help.
        args: the words after the command.
        json: whether it can print JSON.
        parts: its own options; see `make_form`.
    """
    from rlkit.rlhf.stages.evaluation.loaded_policy import EvaluationSettings

    run = positional(Path, "RUN", "folder or name of the run, or `latest`")
    output = {"output": Output} if json else {}
    form = make_form(about, run=run, **parts, evaluation=EvaluationSettings, **output)
    return parse(form, args, f"rlhf {command}")


def response_text(row: Mapping[str, Any]) -> str:
    """Return a response as it is printed, with an ellipsis if it was truncated."""
    return str(row["response"] or "(empty)") if row["ended"] else f"{row['response']}…"


def score_columns(names: Sequence[str]) -> list[str]:
    """Return the headings of the scores: the names of a few, or one column for many."""
    return list(names) if len(names) <= MOST_COLUMNS else ["scores"]


def score_cells(row: Mapping[str, Any]) -> list[Text]:
    """Return the cells below `score_columns`: numbers, or a line for each of many scores."""
    from rich.text import Text

    scores: Mapping[str, float] = row["scores"]
    if len(scores) <= MOST_COLUMNS:
        return [cell(f"{value:.3f}") for value in scores.values()]
    return [Text("\n").join(cell(f"{name} {value:.3f}") for name, value in scores.items())]
