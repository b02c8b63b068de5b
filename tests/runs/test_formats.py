"""Runs that were written when rlkit's code lay in other folders are what they were."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rlkit
from rlkit import rlhf
from rlkit.training.figures import plot_runs

FIXTURE = Path(__file__).parent / "fixtures" / "format-2"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script by which the runs were made."""
    spec = importlib.util.spec_from_file_location(
        "make_format_2", FIXTURE.parent / "make_format_2.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, str]]:
    lists: dict[str, dict[str, str]] = json.loads((FIXTURE / "hashes.json").read_text())
    return lists


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    shutil.copytree(FIXTURE, folder)
    return folder


def _hashes(maker: ModuleType, folder: Path) -> dict[str, str]:
    hashes: dict[str, str] = maker.hashes(folder)
    return hashes


@pytest.mark.long
def test_runs_continue_to_the_bytes_of_the_code_that_began_them(
    maker: ModuleType, expected: dict[str, dict[str, str]], runs: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    maker.train_agents(again)
    maker.train_stages(again)
    here = _hashes(maker, again)
    maker.continue_all(runs)
    continued = _hashes(maker, runs)
    assert continued.keys() == expected["continued"].keys()  # no run got another name
    # Networks' bytes differ between processors: there a run is compared only if it begins alike.
    comparable = {
        path.partition("/")[0] for path, digest in expected["made"].items() if here[path] == digest
    }
    assert any(name.startswith("q-learning") for name in comparable)
    for path, digest in expected["continued"].items():
        if path.partition("/")[0] in comparable:
            assert continued[path] == digest, path


@pytest.mark.parametrize("agent", ["value-iteration", "q-learning", "random", "reinforce", "ppo"])
def test_runs_of_agents_load_plot_and_evaluate(agent: str, runs: Path, tmp_path: Path) -> None:
    (folder,) = [path for path in runs.glob(f"{agent}-*") if "enumerable" not in path.name]
    run = rlkit.load(folder)
    assert run.curve.shape[0] == 2
    plot_runs([run], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert len(run.evaluate(episodes=2)["seeds"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "ppo", "rloo", "grpo"])
def test_runs_of_stages_can_be_evaluated(stage: str, runs: Path) -> None:
    (folder,) = runs.glob(f"{stage}-enumerable-*")
    report: Any = rlhf.evaluate_run(folder)
    assert report
