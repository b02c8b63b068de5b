"""Calls of an environment in this process that do not return."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment
from rlkit.environments.stepping import watchdog
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import PlayStopped, RlkitWarning, SeedError, UsageError
from rlkit.processes.calls import CALLS
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run
from tests.faulty_envs import Counter, Misbehaves

STREAMS = (SeedStreams(0, 7),)
BAD = STREAMS[0].episode_seed("env", 0, 0)


def three_steps(fault: str, where: str = "step") -> None:
    env = GymBatchEnv(lambda: Misbehaves(fault, where, BAD), STREAMS, 1)
    env.reset()
    for action in (0, 1, 2):
        env.step(np.array([[action]]))


@pytest.mark.trap("F34")
@pytest.mark.parametrize(
    ("fault", "where"), [("sleep", "step"), ("spin", "step"), ("sleep", "reset")]
)
def test_a_call_that_does_not_return_is_a_failure_of_its_seed(fault: str, where: str) -> None:
    began = time.monotonic()
    with watched(0.2), pytest.raises(SeedError) as caught:
        three_steps(fault, where)
    assert time.monotonic() - began < 5
    call = r"step 3, action 2: step\(2\)" if where == "step" else r"step 0: reset\(seed=\d+\)"
    caught.match(
        f"^seed 7: environment Misbehaves, copy 0, episode 0, {call} did not return within "
        r"0.2 s \(--env-timeout\) at faulty_envs.py:\d+ in go_wrong"
    )
    assert "go_wrong" in caught.value.trace


def test_a_constructor_that_does_not_return_is_named() -> None:
    here = Path(__file__).parents[2] / "faulty_envs.py"
    args = {"fault": "sleep", "where": "constructor"}
    with watched(0.2), pytest.raises(UsageError, match=r"building .* failed: it did not return"):
        find_environment(f"{here}:Misbehaves", args)


def test_many_short_calls_may_take_long_together() -> None:
    class Slow(Counter):
        def step(self, action: Any) -> Any:
            time.sleep(0.02)
            return super().step(action)

    env = GymBatchEnv(Slow, STREAMS, 1)
    env.reset()
    with watched(0.1):
        for _ in range(30):
            env.step(np.array([[0]]))
        time.sleep(0.3)  # and nobody but environments is watched


def test_a_call_is_given_up_when_the_run_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STOP_PATIENCE", 0.1)
    with watched(60, lambda: True), pytest.raises(PlayStopped, match="after the run was asked to"):
        three_steps("sleep")


def test_the_signal_and_its_handler_are_given_back() -> None:
    before = signal.getsignal(watchdog._SIGNAL)
    threads = threading.active_count()
    with watched(1.0):
        assert signal.getsignal(watchdog._SIGNAL) != before
    assert signal.getsignal(watchdog._SIGNAL) == before
    assert threading.active_count() == threads


def test_another_thread_is_not_watched() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with watched(0.1):
                time.sleep(0.3)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.parametrize(("stop", "code"), [(0, 1), (True, 143), (signal.SIGINT, 130)])
def test_compiled_code_that_does_not_return_ends_the_process(stop: int, code: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            watchdog.STOP_PATIENCE = watchdog.LAST_PATIENCE = 0.1
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with watched(60.0 if stop else 0.2, lambda: stop):
                # Compiled code does not notice the signal either.
                signal.pthread_sigmask(signal.SIG_BLOCK, {watchdog._SIGNAL})
                three_steps("sleep")
        finally:
            os._exit(77)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code


def test_a_seed_whose_environment_hangs_fails_in_training_and_in_evaluation(
    small: Callable[..., Run],
) -> None:
    here = Path(__file__).parents[2] / "faulty_envs.py"
    for purpose, place in (("env", "copy 1"), ("evaluation", "evaluation copy 1")):
        bad = SeedStreams(0, 1).episode_seed(purpose, 1, 0)
        with pytest.warns(RlkitWarning, match="1 of 2 seeds"):
            run = small(
                "random-probe",
                environment=f"{here}:Misbehaves",
                env_args={"fault": "sleep", "bad_seed": bad},
                seeds=2,
                steps=40,
                evaluate_every=20,
                evaluation_episodes=2,
                env_timeout=0.3,
            )
        assert f"environment Misbehaves, {place}, episode 0, step 3, action" in run.failures[1]
        assert "did not return within 0.3 s" in run.failures[1]


def test_a_run_is_stopped_though_its_environment_hangs(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "STOP_PATIENCE", 0.1)
    here = Path(__file__).parents[2] / "faulty_envs.py"
    bad = SeedStreams(0, 0).episode_seed("env", 0, 60)  # which the checks do not reach
    seen = [0, 0.0]

    def hangs() -> bool:
        if CALLS.entries[0] != seen[0]:
            seen[:] = [CALLS.entries[0], time.monotonic()]
        return time.monotonic() - seen[1] > 0.5

    with pytest.raises(KeyboardInterrupt, match="steps since the last checkpoint are lost; what"):
        small(
            "random-probe",
            environment=f"{here}:Misbehaves",
            env_args={"fault": "sleep", "bad_seed": bad},
            seeds=1,
            steps=2000,
            evaluation_episodes=0,
            env_timeout=20,
            reports=Reports(stop=hangs),
        )
