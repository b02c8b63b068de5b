"""Runs that the commands of `rlkit rlhf` look at; nothing in them is changed by a test."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from rlkit.cli import main
from tests.cli.rlhf.commands import DEMONSTRATIONS, PAIRS, SCORES, SMALL, UPDATES, answer, lines


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs that tests share lie."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def sft(out: Path) -> str:
    argv = ("--num-demonstrations", 512, "--num-epochs", 2, *SMALL, "--seeds", 2, "--out", out)
    return str(answer("sft", "enumerable", *argv)["run"])


@pytest.fixture(scope="session")
def reward(out: Path, sft: str) -> str:
    argv = ("--num-pairs", 256, "--num-epochs", 2, "--seeds", 2, "--out", out)
    return str(answer("reward", sft, *argv)["run"])


@pytest.fixture(scope="session")
def ppo(out: Path, sft: str, reward: str) -> str:
    return str(answer("ppo", sft, "--reward", reward, *UPDATES, "--out", out)["run"])


@pytest.fixture(scope="session")
def text_sft(out: Path) -> str:
    files = ("--demonstrations", lines(out / "shown.jsonl", DEMONSTRATIONS))
    files = (*files, "--preferences", lines(out / "pairs.jsonl", PAIRS))
    return str(answer("sft", *files, *SMALL, "--num-epochs", 1, "--out", out)["run"])


@pytest.fixture(scope="session")
def scores(out: Path) -> Path:
    (out / "scores.py").write_text(SCORES)
    return out / "scores.py"


@pytest.fixture(scope="session")
def agent(out: Path) -> str:
    """The run of an agent, which is no stage of this."""
    argv = ["train", "random", "FrozenLake-v1", "--seeds", "1", "--steps", "50", "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*argv, "--out", str(out / "agents")]) == 0
    return str(json.loads(printed.getvalue())["run"])
