"""`rlkit clone`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit.cli import main
from tests.cli.commands import output

QUICK = ["--seeds", "2", "--steps", "3", "--evaluate-every", "1", "--updates-per-step", "50",
         "--hidden-sizes", "8", "--evaluation-episodes", "1"]  # fmt: skip


def test_it_imitates_a_run_and_prints_the_return_of_the_demonstrations(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained_folder: Callable[..., Path]
) -> None:
    expert = trained_folder("value-iteration", seeds=1)
    clones = tmp_path / "clones"
    argv = ["clone", str(expert), "FrozenLake-v1", *QUICK, "--out", str(clones)]
    text, err = output(capsys, *argv)
    assert "the demonstrations are 100 episodes" in err
    assert "its exact return is 0.7" in err
    assert "the expert returns 0.7" in text
    (folder,) = clones.iterdir()
    out, err = output(capsys, *argv, "--json")
    assert "already finished" in err
    answer = json.loads(out)
    assert answer["expert_return"] > 0.7
    output(capsys, *argv, "--name", "mine")
    text, _ = output(capsys, "evaluate", str(clones / "mine"), "--episodes", "2")
    assert text.count("exact 0.") == 2
    assert len(answer["held_out_loss"]) == 2
    text, _ = output(capsys, "evaluate", str(folder), "--episodes", "2")
    assert text.count("exact 0.") == 2
    assert main(["verify", str(folder)]) == 0
    figure = tmp_path / "curve.png"
    output(capsys, "plot", str(folder), str(expert), "--out", str(figure))
    assert figure.stat().st_size > 1000


def test_a_csv_is_imitated_and_its_faults_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, out = tmp_path / "demos.csv", ["--out", str(tmp_path / "runs")]
    header = "observation_0,observation_1,observation_2,action\n"
    path.write_text(header + "".join(f"{k},1,0,{k / 10}\n" for k in range(20)))
    text, err = output(capsys, "clone", str(path), "Pendulum-v1", *QUICK, *out)
    assert "20 decisions of 1 episode from" in err
    assert "none is held out" in err
    assert "the expert returns" not in text
    path.write_text(header + "1,1,0,0.5\n1,1,0,left\n")
    _, err = output(capsys, "clone", str(path), "Pendulum-v1", *QUICK, *out, code=2)
    assert f"{path}, line 3, column action: expected a number, got 'left'" in err
    _, err = output(capsys, "clone", str(path), "Pendulum-v1", "--method", "classes", *out, code=2)
    assert "line 3" in err or "it needs discrete actions" in err


def test_the_help_has_the_columns_and_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["clone", "--help"])
    text = capsys.readouterr().out
    for part in ("observation_0", "--method", "diffusion", "minari:NAME", "--episodes"):
        assert part in text
