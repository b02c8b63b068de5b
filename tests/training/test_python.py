"""What a run reports to Python: warnings, errors, KeyboardInterrupt."""

from __future__ import annotations

import re
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import AllSeedsFailed, RlkitError, RlkitWarning
from rlkit.runs.execution import Interrupted


class Endless(gym.Env[Any, Any]):
    """Never ends an episode."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Late(Endless):
    """Ends its episodes by itself, after 3,000 steps."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.elapsed = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.elapsed += 1
        return np.zeros(1, np.float32), 1.0, False, self.elapsed >= 3000, {}


class Breaks(Endless):
    """Raises for odd seeds of episodes, or for all."""

    def __init__(self, always: bool = True) -> None:
        self.always = always

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.bad = self.always or bool((seed or 0) % 2)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.bad:
            raise RuntimeError("broken on purpose")
        return super().step(action)


SMALL: dict[str, Any] = {"steps": 20, "evaluation_episodes": 0}


def test_notes_are_warnings_of_one_class_that_name_the_callers_line(tmp_path: Path) -> None:
    rlkit.train("random", "CartPole-v1", seeds=1, out=tmp_path, **SMALL)
    with pytest.warns(RlkitWarning, match="already finished") as caught:
        rlkit.train("random", "CartPole-v1", seeds=1, out=tmp_path, **SMALL)
    assert {warning.filename for warning in caught} == {__file__}
    assert rlkit.RlkitWarning is RlkitWarning


def test_warnings_as_errors_lose_no_work(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RlkitWarning, match="no time limit"):
            rlkit.train("random", Endless, seeds=1, steps=20, evaluation_episodes=1, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert rlkit.load(folder).status == "finished"


def test_all_seeds_failed_raises_with_the_reason_and_the_run(tmp_path: Path) -> None:
    with (
        pytest.warns(RlkitWarning, match="could not be checked"),
        pytest.raises(AllSeedsFailed, match=r"2 of 2 seeds.*broken on purpose") as caught,
    ):
        rlkit.train("random", Breaks, seeds=2, out=tmp_path, **SMALL)
    assert isinstance(caught.value, RlkitError)
    run: Any = caught.value.run
    assert set(run.failures) == {0, 1}


def test_some_failed_seeds_are_a_warning(tmp_path: Path) -> None:
    with pytest.warns(RlkitWarning, match=r"seeds of random.*failed \(seed .*broken on purpose"):
        run = rlkit.train(
            "random", Breaks, env_args={"always": False}, seeds=8, out=tmp_path, **SMALL
        )
    assert 0 < len(run.failures) < 8
    assert np.isfinite(run.curve).any() or run.status == "failed"


def test_an_agent_that_never_learned_says_so_and_why(tmp_path: Path) -> None:
    with pytest.warns(RlkitWarning, match="reinforce made no update.*whole episodes"):
        rlkit.train("reinforce", Endless, seeds=1, out=tmp_path, **SMALL)
    with pytest.warns(RlkitWarning, match="ppo made no update.*rollout"):
        rlkit.train("ppo", "CartPole-v1", seeds=1, envs=2, out=tmp_path, **SMALL)
    prefer: dict[str, Any] = {"num_preferences": 4, "num_rounds": 1, "collect_steps": 64}
    with pytest.warns(RlkitWarning, match="preference-ppo made no update.*after 64 .*rollout"):
        rlkit.train(
            "preference-ppo",
            "CartPole-v1",
            seeds=1,
            envs=2,
            out=tmp_path,
            **{**SMALL, "steps": 100, **prefer},
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rlkit.train("ppo", "CartPole-v1", seeds=1, out=tmp_path, steps=64, envs=2,
                    rollout_length=16, evaluation_episodes=0)  # fmt: skip
        rlkit.train("random", "CartPole-v1", seeds=1, out=tmp_path, **SMALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")
def test_episodes_that_end_late_are_evaluated_whole(tmp_path: Path) -> None:
    run = rlkit.train(
        "random", Late, seeds=2, steps=6400, evaluate_every=3200, evaluation_episodes=1,
        out=tmp_path,
    )  # fmt: skip
    assert set(run.columns[0]["train_return"][1:]) == {3000.0}
    assert list(run.curve[0]) == [1000.0, 3000.0, 3000.0]
    assert run.evaluate(2)["mean"] == 3000.0
    assert run.caveats == []  # only the row at step 0 was stopped early
    assert "This is so in the row at 0 steps" in " ".join(run.record["notes"])


def test_a_stopped_evaluation_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.warns(
        RlkitWarning, match=r"stopped episodes after 1,000 steps.*TimeLimit.*final row, at 20"
    ):
        rlkit.train("random", Endless, seeds=1, steps=20, evaluation_episodes=1, out=tmp_path)


def test_an_interruption_passes_through_except_exception() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


SWEEP = """
import sys, time, gymnasium as gym, numpy as np, rlkit, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {here!r})
from tests.training.test_python import Late
class Slow(Late):
    pause = 0.0
    def step(self, action):
        time.sleep(self.pause)
        return super().step(action)
def make():
    return gym.wrappers.TimeLimit(Slow(), {limit})
Slow.pause = {pause}
for seed in range(3):
    try:
        print("start", seed, flush=True)
        rlkit.train("random", make, seed=seed, seeds=2, steps={steps}, evaluate_every={every},
                    evaluation_episodes={episodes}, out="runs")
        print("end", seed, flush=True)
    except Exception as error:
        print("swallowed", error, flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_ctrl_c_ends_a_sweep_at_once_and_everything_is_saved(
    where: str, number: signal.Signals, tmp_path: Path, forks: Any, wait_for: Any
) -> None:
    """With 20 ms a step, in training or in an evaluation that takes a minute."""
    numbers = {
        "training": {"steps": 2000, "every": 2000, "episodes": 0, "limit": 50},
        "evaluation": {"steps": 2000, "every": 20, "episodes": 20, "limit": 100},
    }[where]
    script = SWEEP.format(here=str(Path(__file__).parents[2]), pause=0.02, **numbers)
    child = forks.start_python("-c", script, cwd=tmp_path, env={"PYTHONUNBUFFERED": "1"})
    wait_for(lambda: list(tmp_path.glob("runs/*/seed-001.csv")))
    time.sleep(0.5)  # some steps of the training, or of the evaluation at step 0
    assert child.poll() is None
    signalled = time.monotonic()
    child.kill(number)
    assert child.wait(30) != 0
    assert time.monotonic() - signalled < 2.5
    assert child.output.split() == ["start", "0"]
    assert "everything is saved" in child.errors
    if where == "training":
        assert list(tmp_path.glob("runs/*/checkpoints/seed-001/*.npz"))


SAME = """
import sys, rlkit, warnings, gymnasium as gym
warnings.simplefilter("ignore")
from rlkit.training.seed_trainer import Reports
asked = [int(word) for word in sys.argv[1:]]
calls = 0
def stop():
    global calls
    calls += 1
    return calls in asked
import rlkit.runs.execution as execution
try:
    make = lambda: gym.make("CartPole-v1", max_episode_steps=20)
    rlkit.train("ppo", make, seeds=2, steps=300, evaluate_every=100, envs=2, rollout_length=10,
        evaluation_episodes=2, hidden_sizes=(4,), out="runs", reports=Reports(stop=stop))
except execution.Interrupted as error:
    print("stopped", error)
print("calls", calls)
"""


@pytest.mark.trap("F6")
@pytest.mark.slow
def test_a_run_that_is_stopped_during_evaluations_ends_in_the_same_bytes(
    tmp_path: Path, forks: Any
) -> None:
    def go(folder: Path, *stops: int) -> str:
        folder.mkdir(exist_ok=True)
        done = forks.python("-c", SAME, *map(str, stops), cwd=folder)
        assert done.returncode == 0, done.stderr
        output: str = done.stdout
        return output

    def files(folder: Path) -> dict[str, bytes]:
        kept = [*folder.rglob("*.csv"), *folder.rglob("step-000000000300-*.npz")]
        return {str(path.relative_to(folder)): path.read_bytes() for path in kept}

    calls = int(go(tmp_path / "whole").split()[-1])
    stopped: list[str] = []
    for share in (0.4, 0.3, 0.2, 0.05, 0.15, 0.1, 0.01, 0.05):
        stopped += re.findall(r"stopped at (\d+)", go(tmp_path / "parts", int(share * calls)))
    go(tmp_path / "parts")
    # Rows are at 100, 200 and 300 steps: stopped there, it was in the middle of an evaluation.
    assert {"100", "200", "300"} & set(stopped)
    assert len(set(stopped)) >= 3
    whole = files(tmp_path / "whole")
    assert len(whole) == 4
    assert files(tmp_path / "parts") == whole
