"""Results of runs as they are printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit.analysis.comparisons import compare_pairs
from rlkit.cli import main
from rlkit.cli.report import print_json, print_pairs, print_runs, report_failures, under_limit
from rlkit.training.run import load


@pytest.mark.trap("F68")
def test_markup_and_control_characters_of_names_are_printed_as_they_are(
    damaged: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "[/nope]\x1b[31m\n[b]:smile:"
    failures = {"1": {"message": name, "exit_code": 2}}
    run = load(damaged(failures=failures))
    run.environment  # noqa: B018  of the true name
    run.record |= {"environment": "x", "agent": name, "stepped_as": name}
    print_runs({name: run})
    report_failures([run])
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    printed = "[/nope]\\x1b[31m\\n[b]:smile:"
    title, *_, row, _, _ = out.splitlines()
    assert printed in title
    assert printed in row
    assert "[/nope]\\x1b[31m" in err
    folder = damaged(agent=name)
    assert main(["evaluate", str(folder)]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_failures_are_those_of_the_requested_seeds_and_the_worst_is_the_exit_code(
    damaged: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    failures = {
        "1": {"message": "it fell", "exit_code": 2},
        "7": {"message": "of another call", "exit_code": 3},
    }
    assert report_failures([load(damaged(failures=failures))]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "rlkit: q-learning, seed 1: it fell",
        "rlkit: 1 of 2 seeds of q-learning were finished",
    ]
    assert report_failures([load(damaged(failures={}))]) == 0
    assert capsys.readouterr().err == ""


def test_each_verdict_on_a_pair_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    low, high = [0.0, 1.0, 2.0, 1.0, 0.5], [10.0, 11.0, 12.0, 10.5, 11.5]
    scores = {"low": low, "high": high, "same": low, "short": [1.0]}
    print_pairs(compare_pairs(scores))
    lines = {tuple(line.split()[:5]): line for line in capsys.readouterr().out.splitlines()}
    assert len(lines) == 6
    assert "(difference -10.1, p = " in lines["low", "is", "worse", "than", "high"]
    assert ("high", "is", "better", "than", "same") in lines
    assert any(line.startswith("low and short: too few seeds to tell") for line in lines.values())


def test_effects_units_and_advice_are_part_of_the_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = compare_pairs({"a": [1.0, 2.0], "b": [2.0, 3.0]})
    print_pairs(pairs, unit=" steps", advice=lambda pair: f"more of {pair.b}")
    print_pairs(pairs, effect=lambda pair: "half", advice=lambda pair: "")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("(difference -1 steps, p = 0.67; more of b)")
    assert second.endswith("(half, p = 0.67)")


def test_json_has_null_where_there_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1.5, float("nan"), float("inf")]})
    read = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert read == {"a": [1.5, None, None]}


@pytest.mark.torture
def test_a_first_start_says_once_that_it_compiles_and_a_second_one_nothing(tmp_path: Path) -> None:
    train = ["train", "random", "FrozenLake-v1", "--seeds", "2", "--steps", "100", "--json"]
    commands = (train, ["compare", "random", "--env", "CliffWalking-v1", "--steps", "100"],
                ["solve", "FrozenLake-v1"])  # fmt: skip
    variables = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    news = "rlkit: compiling; this is done once, and takes some seconds\n"
    for out in ("first", "second"):
        told = []
        for command in commands:
            place = [] if command[0] == "solve" else ["--out", str(tmp_path / out)]
            done = subprocess.run(
                [sys.executable, "-m", "rlkit", *command, *place],
                env=variables, check=True, capture_output=True, text=True,
            )  # fmt: skip
            told.append(done.stderr.count(news))
        assert told[0] == (out == "first")
        assert max(told) == (out == "first")


def test_a_limit_of_one_step_is_singular() -> None:
    limits = (None, 1, 1000)
    assert [under_limit(limit) for limit in limits] == [
        "without a time limit",
        "under the limit of 1 step",
        "under the limit of 1,000 steps",
    ]
