"""`rlkit doctor`: its output, its exit codes, and who names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.cli import main
from rlkit.diagnosis import doctor as module
from tests.cli.commands import answer, output

PLANTED = Path(__file__).parents[2] / "diagnosis" / "planted.py"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of their own are tested beside what starts them."""

    def unfindable(*args: object) -> None:
        raise module.Unfindable

    monkeypatch.setattr(module, "helper_process", unfindable)


def test_errors_exit_with_1_and_others_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = output(capsys, "doctor", f"{PLANTED}:OldStep", code=1)
    assert "error: step-result" in text
    assert "Start with" not in text
    text, _ = output(capsys, "doctor", f"{PLANTED}:NoReward", "--no-probe", "--seconds", "1")
    assert "warning: reward-always-zero" in text
    assert f"rlkit train ppo {PLANTED}:NoReward" in text


def test_json_is_one_object_although_the_environment_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = answer(capsys, "doctor", f"{PLANTED}:Prints", "--no-probe", "--seconds", "1")
    assert [one["code"] for one in report["findings"]] == ["prints"]
    assert report["errors"] == 0


@pytest.mark.parametrize(
    "words", [["Nothing-v0"], ["CartPole-v1", "--seconds", "0"], ["CartPole-v1", "--env-arg", "x"]]
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert capsys.readouterr().err


def test_train_names_the_doctor_where_nothing_was_learned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    corridor = f"{PLANTED.parent / 'test_learnability.py'}:Corridor"
    words = ["train", "q-learning", corridor, "--seeds", "1", "--steps", "5000"]
    words += ["--evaluate-every", "2500", "--out", str(tmp_path)]
    _, remarks = output(capsys, *words, "--env-arg", 'pays="noise"')
    assert "rlkit: q-learning learned nothing: after 5,000 steps no seed" in remarks
    assert f"`rlkit doctor {corridor}`" in remarks
    _, remarks = output(capsys, *words)  # the end of the corridor pays
    assert "learned nothing" not in remarks
