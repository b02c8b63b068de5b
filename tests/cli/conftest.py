"""A run that commands look at."""

from pathlib import Path

import pytest

from tests.cli.commands import answer


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    argv = ["train", "random", "FrozenLake-v1", "--seeds", "1", "--steps", "50"]
    return str(answer(capsys, *argv, "--out", str(tmp_path / "runs"))["run"])
