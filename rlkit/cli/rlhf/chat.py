"""`rlkit rlhf chat`: prompts from the keyboard, responses of policy and reference side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.cli.rlhf.responses import parse_run, response_text, score_cells, score_columns
from rlkit.cli.tables import new_table, print_table
from rlkit.cli.terminal import cell
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.rlhf.stages.evaluation.loaded_policy import LoadedPolicy


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What is shown."""

    num: int = 3  # responses of policy and of reference to each prompt, >= 1
    # put each line into the chat template as the message of a user, without the lines before it;
    # None = where the policy was trained on chats
    chat_template: bool | None = None


def chat_command(args: list[str]) -> int:
    """Answer prompts line by line, until the end of the input, an empty line or Ctrl+C."""
    about = "Type prompts and see responses of policy and reference side by side."
    parsed = parse_run("chat", about, args, json=False, chat=ChatOptions)
    from rlkit.determinism import prepared_torch
    from rlkit.options import require_count
    from rlkit.rlhf.stages.evaluation.loaded_policy import load_for_evaluation

    num = require_count("num", parsed.chat.num, at_least=1)
    with prepared_torch():
        loaded = load_for_evaluation(parsed.run, parsed.evaluation)
        _introduce(loaded)
        rng = parsed.evaluation.generator()
        try:
            while line := _next_line():
                _answer(loaded, line, num, rng, parsed.chat.chat_template)
        except KeyboardInterrupt:
            print()
    return 0


def _next_line() -> str:
    if sys.stdin.isatty():
        print("prompt> ", end="", flush=True)
    return sys.stdin.readline().strip()


def _introduce(loaded: LoadedPolicy) -> None:
    from rlkit.rlhf.data.task import EnumerableTask
    from rlkit.rlhf.stages.evaluation.loaded_policy import example_prompt

    task = loaded.task
    if isinstance(task, EnumerableTask):
        prompt_tokens = [task.token_names[i] for i in np.unique(task.prompts)]
        print(f"tokens of prompts: {' '.join(prompt_tokens)}")
        print(f"tokens of responses: {' '.join(task.token_names[: task.num_actions])}")
    print(f"example of a prompt: {example_prompt(loaded)}")
    if loaded.is_reference:
        print("this policy was only fine-tuned: it has no reference to compare with")
    print("an empty line ends the chat")


def _answer(
    loaded: LoadedPolicy,
    prompt: str,
    num: int,
    rng: np.random.Generator,
    chat_template: bool | None,
) -> None:
    """Print responses to a prompt, or why there are none."""
    from rlkit.rlhf.stages.evaluation.evaluate_policy import respond

    sides = (False,) if loaded.is_reference else (False, True)
    try:
        responses = [
            respond(
                *(loaded, [prompt], num, rng, rng),
                of_reference=of_reference,
                chat_template=chat_template,
            )
            for of_reference in sides
        ]
    except UsageError as error:
        print(error)
        return
    _print_responses(responses)


def _print_responses(sides: list[list[dict[str, Any]]]) -> None:
    names = list(sides[0][0]["scores"])
    table = new_table("", [])
    for side in ("policy", "reference")[: len(sides)]:
        table.add_column(side, justify="left", ratio=1)
        for name in score_columns(names):
            table.add_column(name, justify="right", no_wrap=True)
    for rows in zip(*sides, strict=True):
        cells = []
        for row in rows:
            cells.append(cell(response_text(row)))
            cells += score_cells(row)
        table.add_row(*cells)
    print_table(table)
