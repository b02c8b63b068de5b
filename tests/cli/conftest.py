"""A run that commands look at."""

import shutil
from pathlib import Path

import pytest

import rlkit


@pytest.fixture(scope="session")
def _run_of_random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli")
    return rlkit.train("random", "FrozenLake-v1", seeds=1, steps=50, out=out).folder


@pytest.fixture
def run(_run_of_random: Path, tmp_path: Path) -> str:
    """The folder of a finished run, a copy for each test."""
    folder = tmp_path / "runs" / _run_of_random.name
    shutil.copytree(_run_of_random, folder)
    return str(folder)
