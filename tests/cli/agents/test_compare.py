"""`rlkit compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import main
from tests import steady_agent
from tests.cli.commands import GRID, answer, output


def test_comparing_agents_that_all_fail_still_answers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "corridor.py"
    file.write_text(GRID.replace("self.steps += 1", "raise RuntimeError('broken')"))
    out, err = output(
        capsys,
        *("compare", "random", "q-learning", "--env", f"{file}:Corridor", "--seeds", "2"),
        *("--steps", "50", "--json", "--out", str(tmp_path / "out")),
        code=1,
    )
    summary = json.loads(out)
    assert summary["agents"]["random"]["mean"] is None
    assert summary["pairs"] == []
    assert "RuntimeError('broken')" in err


@pytest.mark.slow
def test_compare_writes_a_summary_and_two_figures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output(
        capsys,
        *("compare", "value-iteration", "random", "q-learning", "--env", "FrozenLake-v1"),
        *("--seeds", "6", "--steps", "1000", "--out", str(tmp_path)),
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["environment"] == "FrozenLake-v1"
    assert summary["optimum"] == pytest.approx(0.7441902878, abs=1e-8)
    assert set(summary["agents"]) == {"value-iteration", "random", "q-learning"}
    planner = summary["agents"]["value-iteration"]
    assert planner["mean"] == pytest.approx(0.7401648978, abs=1e-8)
    assert planner["final"] == [planner["mean"]] * 6
    assert summary["agents"]["random"]["iqm"] == pytest.approx(0.0139397960, abs=1e-8)
    pairs = {(pair["a"], pair["b"]): pair for pair in summary["pairs"]}
    assert pairs["value-iteration", "random"]["verdict"] == "better"
    assert len(pairs) == 3
    for name in ("learning_curves.png", "final_performance.png"):
        assert (tmp_path / name).stat().st_size > 5000


def test_comparing_into_a_file_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    argv = ["compare", "random", "--env", "FrozenLake-v1", "--seeds", "1", "--steps", "50"]
    for name in ("file", "file/below"):
        err = output(capsys, *argv, "--out", str(tmp_path / name), code=2)[1]
        assert "cannot be written" in err
        assert err.count("\n") == 1


FILE = steady_agent.__file__
SMALL = ("--seeds", "2", "--steps", "60", "--evaluate-every", "30")
LAKE = ("--env", "FrozenLake-v1")


def test_contenders_are_keys_of_the_summary(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["q-learning", "slow=q-learning --step-size 0.01", f"own={FILE}:Steady --first 2"]
    summary = answer(capsys, "compare", *words, *LAKE, *SMALL, "--out", str(tmp_path))
    assert list(summary["agents"]) == ["q-learning", "slow", "own"]
    run = tmp_path / summary["agents"]["own"]["run"]
    again = answer(capsys, "compare", str(run), "random", *LAKE, *SMALL, "--out", str(tmp_path))
    assert list(again["agents"]) == [str(run), "random"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("random", "random"), "two contenders are called 'random'"),
        (("random", "a=qlearning"), "unknown agent 'qlearning'"),
        (("random", "a=ppo 3"), "A contender is one word, [NAME=]AGENT [--OPTION VALUE ...]"),
        (("random", "--metric", "steps-to"), "steps-to needs the return that is to be reached"),
        (("--metric", "steps-to", "random"), "steps-to needs the return that is to be reached"),
        (("random", "--metric", "fianl"), "Did you mean 'final'?"),
        (("random", "--metric", "area 3"), "area takes no value, got '3'"),
        (("random", "--until-decided", "--max-seeds", "1"), "at least the 2 seeds"),
        (("random", *LAKE), "'FrozenLake-v1' was given twice"),
        (("random", "--env", "CliffWalking-v1", "--env-arg", "a=1"), "env_args (--env-arg) are"),
    ],
)  # fmt: skip
def test_bad_requests_are_one_sentence_and_train_nothing(
    words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    err = output(capsys, "compare", *words, *LAKE, *SMALL, "--out", str(out), code=2)[1]
    assert text in err
    assert err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("form", [("--metric", "steps-to", "-5"), ("--metric=steps-to -5",)])
def test_a_metric_and_its_value_stand_anywhere(
    form: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, _ = output(capsys, "compare", *form, "random", *LAKE, *SMALL, "--out", str(tmp_path))
    assert "steps to a return of -5" in out
    assert "2 of 2, median 0" in out
    assert f"{tmp_path}/steps_to.png" in out
    assert (tmp_path / "steps_to.png").stat().st_size > 5000


def test_several_environments_have_a_table_each_and_one_over_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["compare", "random", "own=" + f"{FILE}:Steady --first 2", *LAKE, "--env"]
    argv += ["CliffWalking-v1", *SMALL, "--out", str(tmp_path)]
    out, _ = output(capsys, *argv)
    for text in ("FrozenLake-v1, stepped", "CliffWalking-v1, stepped", "2 environments together"):
        assert text in out
    assert out.count("too few seeds to tell") == 3
    assert "seeds each, " in out
    for name in ("over_environments.png", "CliffWalking-v1/learning_curves.png", "summary.json"):
        assert str(tmp_path / name) in out
        assert (tmp_path / name).exists()
    summary: Any = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["agents"]) == ["random", "own"]
    assert main(["verify", str(tmp_path)]) == 0
