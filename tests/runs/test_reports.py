"""Signals let a run save, the second one ends it at once, and the same call continues."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import RlkitWarning
from rlkit.runs import checkpoints
from rlkit.runs.reports import STOP_SIGNALS, Interrupted, StopSignals
from rlkit.training.run import Run
from rlkit.training.tracker import Tracker

SAVED, AT_ONCE = "everything is saved in", "stopped at once; the last checkpoints are intact"


def kill_at(patch: pytest.MonkeyPatch, call: int, numbers: tuple[int, ...]) -> None:
    """Let this process be signalled when the n-th transition is counted."""
    original, calls = Tracker.observe, [0]

    def observe(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        original(*arguments)

    patch.setattr(Tracker, "observe", observe)


@pytest.mark.trap("F8")
@pytest.mark.parametrize(
    ("numbers", "code", "env_workers"),
    [
        ((signal.SIGHUP,), 129, 0),
        ((signal.SIGINT,), 130, 0),
        ((signal.SIGTERM,), 143, 0),
        ((signal.SIGHUP, signal.SIGHUP), 129, 0),
        ((signal.SIGTERM, signal.SIGINT), 130, 0),
        ((signal.SIGINT, signal.SIGTERM), 143, 0),
        pytest.param((signal.SIGHUP,), 129, 2, marks=pytest.mark.torture),
        pytest.param((signal.SIGTERM, signal.SIGINT), 130, 2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_second_ends_at_once_and_the_same_call_continues(
    numbers: tuple[int, ...],
    code: int,
    env_workers: int,
    small: Callable[..., Run],
    results: Any,
    reference: Any,
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
) -> None:
    """In the middle between rows, where everything saved at once would be one checkpoint more."""
    monkeypatch.setattr("rlkit.training.seed_batch.SECONDS_BETWEEN_SAVES", 0.0)
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with monkeypatch.context() as patch:
        kill_at(patch, 130, numbers)
        with pytest.raises(Interrupted, match=SAVED if len(numbers) == 1 else AT_ONCE) as stopped:
            small("random-probe", seeds=2, env_workers=env_workers)
    assert stopped.value.exit_code == code
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    (folder,) = out.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    steps, _, problems = checkpoints.newest_checkpoint(folder, 0)
    assert (steps, problems) == (260 if len(numbers) == 1 else 200, [])
    assert results(small("random-probe", seeds=2).folder) == reference("random-probe", seeds=2)


@pytest.mark.trap("T99")
def test_a_signal_after_the_last_step_is_not_lost(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is finished; whatever follows it, such as the next one of a comparison, is not."""
    with monkeypatch.context() as patch:
        kill_at(patch, 300, (signal.SIGTERM,))
        with pytest.raises(Interrupted, match=f"the seeds were trained; {SAVED}") as stopped:
            small("random-probe", seeds=1, evaluation_episodes=0)
    assert stopped.value.exit_code == 143
    with pytest.warns(RlkitWarning, match="already finished"):
        small("random-probe", seeds=1, evaluation_episodes=0)


def test_a_signal_that_the_parent_hands_on_is_no_second_one() -> None:
    with StopSignals(again_after=60.0).watched() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    with StopSignals(again_after=0.05).watched():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_process_started_by_nohup_goes_on_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals().watched() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
