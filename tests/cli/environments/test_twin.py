"""`rlkit check-twin`: its output and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlkit.cli import main

HERE = Path(__file__).parents[2] / "environments" / "grids" / "test_twins.py"


def test_equal_twins_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-twin", "CartPole-v1", "--steps", "20", "--envs", "2"]) == 0
    assert "the installed twin of CartPole-v1 equals CartPole-v1" in capsys.readouterr().out


def test_a_difference_exits_with_1_and_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check-twin", "CartPole-v1", f"{HERE}:Shifted", "--steps", "20"]
    assert main(words) == 1
    assert "reward differs at seed 0, environment 1, episode 0, step 4" in capsys.readouterr().out
    assert main([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["equal"], report["difference"]["step"]) == (False, 4)
    assert len(report["difference"]["actions"]) == 4


@pytest.mark.parametrize("words", [["A", "B", "C"], ["Nothing-v0"], ["FrozenLake-v1"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-twin", *words]) == 2
    assert capsys.readouterr().err
