"""Each planted fault is found by its own code, and sound environments have no error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics

from rlkit.diagnosis.catalogue import KINDS
from rlkit.diagnosis.examination import UNTRAINABLE, Examination, examine
from rlkit.diagnosis.parts import observed
from rlkit.environments.resolve import locate
from tests.diagnosis.planted import (
    PLANTED,
    BeyondTheEnd,
    BigImages,
    Hanging,
    HangingInClose,
    NoReward,
    RaisingInStep,
    Slow,
    SlowReset,
    Walk,
    limited,
    make_local,
)

# Those that need a process of their own, see test_doctor.py, or training.
ELSEWHERE = {"ends-process", "processes-differ", "training-fails", "not-learned", "too-slow"}
CASES = [(code, make) for code, makes in PLANTED.items() for make in makes]
SLOW, HANGING = (Slow, SlowReset), (Hanging, HangingInClose)


def look(make: Callable[..., Any] | str) -> Examination:
    seconds = 0.4 if make in (*SLOW, BigImages) else 20.0
    timeout = 0.4 if make in HANGING else 5.0
    with np.errstate():
        return examine(locate(make), seconds=seconds, timeout=timeout, steps=1000)


def codes(examination: Examination, *severities: str) -> list[str]:
    return [
        one.code for one in examination.findings if not severities or one.severity in severities
    ]


@pytest.mark.parametrize(("code", "make"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_a_planted_fault_is_found_by_its_code(code: str, make: Callable[..., Any]) -> None:
    examination = look((lambda: Walk()) if make is make_local else make)
    assert code in codes(examination), examination.findings
    assert (examination.plan is None) == bool(UNTRAINABLE & set(codes(examination)))


def test_a_part_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(patient: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(observed, "check_observations", fail)
    examination = look(NoReward)
    assert examination.facts["failed"] == {"observations": "ZeroDivisionError('odd')"}
    assert codes(examination) == ["reward-always-zero"]


def test_every_code_has_a_planted_fault() -> None:
    assert set(PLANTED) | ELSEWHERE == set(KINDS)
    assert len(PLANTED) > 30


def test_times_in_info_are_no_error() -> None:
    make = lambda: RecordEpisodeStatistics(gym.make("Blackjack-v1", disable_env_checker=True))  # noqa: E731
    assert codes(look(make), "error") == []


def test_what_a_step_after_the_end_returns_is_no_fault() -> None:
    examination = look(BeyondTheEnd)
    assert "step-after-end" in codes(examination)
    assert codes(examination, "error", "warning") == []


def test_a_fault_names_seed_step_and_action() -> None:
    (one,) = (one for one in look(RaisingInStep).findings if one.code == "step-raises")
    assert re.match(
        r"Step 4 after reset\(seed=0\), with the action [01], raised KeyError", one.seen
    )
    assert "planted.py" in one.seen


def test_too_little_time_is_no_finding() -> None:
    """Comparisons go as far as both sides do, and what has no time is said to be omitted."""
    examination = look(BigImages)
    assert set(codes(examination, "error", "warning")) <= {"observation-badly-scaled"}
    examination = examine(locate(Slow), seconds=0.005, timeout=5.0)
    assert codes(examination) == ["slow-steps"]
    assert "effects of actions" in examination.facts["omitted"]


@pytest.mark.parametrize("make", [Walk, limited])
def test_a_sound_environment_has_no_finding(make: Callable[..., Any]) -> None:
    examination = look(make)
    assert examination.findings == []
    assert examination.plan is not None
    assert "failed" not in examination.facts


IDS = sorted(
    env_id
    for env_id, spec in gym.registry.items()
    if str(spec.entry_point).startswith(
        ("gymnasium.envs.classic_control", "gymnasium.envs.toy_text")
    )
)


@pytest.mark.long
@pytest.mark.parametrize("env_id", IDS)
def test_environments_of_gymnasium_have_no_error(env_id: str) -> None:
    examination = look(env_id)
    assert codes(examination, "error") == []
    assert examination.plan is not None
    assert "failed" not in examination.facts
