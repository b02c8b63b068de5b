"""Small helpers of the tests of `rlkit rlhf`."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import main

SMALL = ("--width", "16", "--num-layers", "1")
UPDATES = ("--num-updates", "2", "--batch-size", "16", "--minibatch-size", "8")
DEMONSTRATIONS = [
    {"prompt": "hi", "response": "hello you"},
    {"prompt": "good day", "response": "see you"},
    {"prompt": "bye", "response": "see you soon"},
]
PAIRS = [
    {"prompt": "hi", "chosen": "hello you", "rejected": "see"},
    {"prompt": "bye", "chosen": "see you", "rejected": "hello"},
    {"prompt": "bye", "chosen": "see you soon", "rejected": "soon", "margin": 0.5},
    {"prompt": "good day", "chosen": "hello", "rejected": "you"},
]
LABELS = [
    {"prompt": "hi", "response": "hello you", "label": 1},
    {"prompt": "bye", "response": "hello", "label": False},
    {"prompt": "bye", "response": "see you", "label": 0.9},
]
SCORES = """
import numpy as np

def length(prompts, responses):
    return [float(len(response)) for response in responses]

def one(prompts, responses):
    return 1.0

def column(prompts, responses):
    return np.ones((len(responses), 1))

def nan(prompts, responses):
    return [float("nan")] * len(responses)

def fails(prompts, responses):
    raise KeyError("no such thing")
"""


def said(*argv: object, code: int = 0, stdin: Any = None) -> tuple[str, str]:
    """Run the command line in this process; return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        if stdin is not None:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("sys.stdin", stdin)
        try:
            found = main(["rlhf", *map(str, argv)])
        except SystemExit as stop:  # the parser prints what is wrong with an option and leaves
            found = int(str(stop.code))
    assert found == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def answer(*argv: object) -> Any:
    """What --json printed, which must be JSON and nothing else."""
    return json.loads(said(*argv, "--json")[0])


def lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def refused(*argv: object, out: Path) -> str:
    """What is said of wrong usage, which must come before anything is written."""
    message = said(*argv, "--out", out, code=2)[1]
    assert not out.exists() or not list(out.iterdir())
    return message
