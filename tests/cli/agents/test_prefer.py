"""`rlkit prefer`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlkit.cli import main
from tests.cli.commands import output
from tests.training.small_preferences import SMALL_PREFERENCES


def flags() -> list[str]:
    words = []
    for name, value in SMALL_PREFERENCES.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [str(each) for each in (value if isinstance(value, tuple) else (value,))]
    return words


def test_it_trains_writes_the_preferences_and_compares_with_the_ceiling(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["prefer", "CartPole-v1", "--seeds", "2", "--out", str(tmp_path), *flags()]
    text, _ = output(capsys, *argv)
    assert "of 40 held-out preferences, 0." in text
    assert "the best reward predicts 0." in text
    assert "learned return" in text
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("preference-ppo-CartPole-v1-")
    lines = (folder / "preferences-001.jsonl").read_text().splitlines()
    assert len(lines) == 40
    assert set(json.loads(lines[0])) >= {"preferred", "probability", "segments", "held_out"}
    out, err = output(capsys, *argv, "--json")
    assert "already finished" in err
    answer = json.loads(out)
    assert [row["held_out"] for row in answer["seeds"]] == [20, 20]
    assert answer["status"] == "finished"
    text, _ = output(capsys, "evaluate", str(folder), "--episodes", "2")
    assert text.count("in the learned reward") == 2
    code = main(["verify", str(folder)])
    assert code == 0


def test_without_held_out_preferences_it_says_that_the_accuracy_is_unknown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["prefer", "CartPole-v1", "--seeds", "1", "--out", str(tmp_path), *flags()]
    text, _ = output(capsys, *argv, "--held-out-share", "0", "--steps", "500", "--num-rounds", "1")
    assert "no preference was held out, so the accuracy of the reward is not known" in text


def test_the_help_has_the_presets_of_ppo(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prefer", "CartPole-v1", "--help"])
    text = capsys.readouterr().out
    assert "--labeller" in text
    assert "--rollout-length" in text
    assert "32" in text


def test_a_wrong_labeller_is_rejected_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prefer", "CartPole-v1", "--labeller", "nobody", "--out", str(tmp_path)])
    text = " ".join(capsys.readouterr().err.split())
    assert "option labeller (--labeller): expected truth, person or" in text
    assert list(tmp_path.iterdir()) == []
