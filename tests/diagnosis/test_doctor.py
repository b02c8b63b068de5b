"""`rlkit.doctor`, whole."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import rlkit
from rlkit.diagnosis import doctor as module
from rlkit.diagnosis import examination, learnability
from rlkit.diagnosis.advice import Plan
from rlkit.errors import UsageError
from tests.diagnosis.planted import RewardOfText, Walk
from tests.diagnosis.test_learnability import Corridor

PLANTED = Path(__file__).parent / "planted.py"


@pytest.fixture
def little_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps and not seconds limit the learnability probe."""
    plan = Plan("q-learning", {"steps": 2000})
    monkeypatch.setattr(examination, "choose_plan", lambda *args: plan)
    monkeypatch.setattr(learnability, "_MOST_EPISODES", 100)


def test_another_process_and_another_folder_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = rlkit.doctor(f"{PLANTED}:OfHashes", probe=False, seconds=2.0)
    assert [one.code for one in report.errors] == ["processes-differ"]
    assert report.command == f"rlkit train ppo {PLANTED}:OfHashes"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("little_training")
def test_a_lambda_is_looked_at_in_this_process() -> None:
    report = rlkit.doctor(lambda pays: Corridor(pays), env_args={"pays": "noise"})
    assert {"cannot-be-sent", "not-learned"} <= {one.code for one in report.findings}
    assert report.errors == []
    assert report.learnability is not None
    assert report.command.startswith('rlkit.train("q-learning", env, env_args=')


@pytest.mark.usefixtures("little_training")
def test_training_that_fails_is_an_error() -> None:
    report = rlkit.doctor(lambda: Corridor("raise"))
    assert [one.code for one in report.errors] == ["training-fails"]


def test_what_cannot_be_played_is_not_trained_on() -> None:
    report = rlkit.doctor(lambda: RewardOfText())
    assert [one.code for one in report.errors] == ["reward-type"]
    assert (report.learnability, report.command) == (None, "")


def test_a_sound_environment_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfindable(*args: object) -> None:
        raise module.Unfindable

    monkeypatch.setattr(module, "helper_process", unfindable)
    report = rlkit.doctor(Walk, probe=False)
    assert report.findings == ()
    assert "nothing is wrong with it" in str(report)


@pytest.mark.parametrize(
    "arguments", [{"seconds": 0}, {"env_timeout": -1}, {"probe": "no"}, {"env_args": 3}]
)
def test_arguments_are_checked(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        rlkit.doctor(Walk, **arguments)  # type: ignore[arg-type]


def test_a_function_of_num_envs_that_does_not_return_is_named() -> None:
    def waits(num_envs: int) -> None:
        time.sleep(60)

    with pytest.raises(UsageError, match=r"num_envs=1 failed: it did not return within 0\.3 s"):
        rlkit.doctor(waits, env_timeout=0.3)


def test_an_unknown_environment_is_named() -> None:
    with pytest.raises(UsageError, match="CartPole-v1"):
        rlkit.doctor("CartPol-v1")
