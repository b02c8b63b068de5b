"""`rlkit rlhf chat`: prompts from the keyboard, responses of policy and reference side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.cli.rlhf.evaluate import shown
from rlkit.errors import UsageError


def chat(run: Path, num: int, judging: Mapping[str, Any]) -> int:
    """Answer prompts line by line, to the end of the input, an empty line or Ctrl+C."""
    from rlkit.determinism import prepared_torch
    from rlkit.options import require_count
    from rlkit.rlhf.stages.evaluate_policy import generator_of, respond
    from rlkit.rlhf.stages.loading import Judging, open_policy

    require_count("num", num, at_least=1)
    options = Judging(**judging)
    with prepared_torch():
        opened = open_policy(run, options)
        _introduce(opened)
        rng = generator_of(options)
        try:
            while line := _next_line():
                try:
                    sides = [
                        respond(opened, [line], num, rng, rng, of_reference=of_reference)
                        for of_reference in ((False,) if opened.is_reference else (False, True))
                    ]
                except UsageError as error:
                    print(error)
                    continue
                _show(sides)
        except KeyboardInterrupt:
            print()
    return 0


def _next_line() -> str:
    if sys.stdin.isatty():
        print("prompt> ", end="", flush=True)
    return sys.stdin.readline().strip()


def _introduce(opened: Any) -> None:
    task = opened.task
    if hasattr(task, "prompt_index"):
        # The tokens that prompts are made of.
        used = np.unique(task.prompts)
        print(f"tokens of prompts: {' '.join(task.token_names[i] for i in used)}")
        written = [task.token_names[i] for i in range(task.num_actions)]
        print(f"tokens of responses: {' '.join(written)}")
    (prompt,) = task.sample_prompts(np.random.default_rng(0), 1)
    print(f"example of a prompt: {opened.codec.decode(prompt.tolist())}")
    if opened.is_reference:
        print("this policy was only fine-tuned: it has no reference to compare with")
    print("an empty line ends")


def _show(sides: list[list[dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    names = list(sides[0][0]["scores"])
    for who in ("policy", "reference")[: len(sides)]:
        table.add_column(who, justify="left", ratio=1)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
    for rows in zip(*sides, strict=True):
        cells: list[Text] = []
        for row in rows:
            cells.append(Text(shown(row)))
            cells += [Text(f"{row['scores'][name]:.3f}") for name in names]
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
