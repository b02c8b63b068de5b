"""What the commands that look at the run of a policy have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.cli.forms import Output, make_form, parse, positional


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
