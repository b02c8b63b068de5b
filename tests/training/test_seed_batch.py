"""Seeds that are trained together: what is saved while training goes on."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.agent import Transition
from rlkit.errors import RlkitError
from rlkit.runs import checkpoints
from rlkit.training import seed_batch
from rlkit.training.train import train
from tests.faulty_envs import Counter


class LiveState:
    """An agent whose `state_dict` returns the arrays that it goes on changing."""

    name = "live"
    Config = None
    metrics = ("total",)

    def __init__(self, task: Any, config: Any = None) -> None:
        self.total = np.zeros((task.num_seeds, 1))

    def act(self, obs: Any) -> Any:
        return np.zeros(obs.shape[:2], dtype=np.int64)

    def learn(self, transition: Transition) -> Any:
        self.total += transition.reward.sum(axis=1, keepdims=True)
        return {"total": self.total[:, 0].copy()}

    def actor(self, *, greedy: bool = True) -> Any:
        return self

    def state_dict(self) -> Any:
        return {"total": self.total}

    def load_state_dict(self, state: Any) -> None:
        self.total[...] = state["total"]


OPTIONS: Any = {"seeds": 2, "steps": 60, "evaluate_every": 20, "evaluation_episodes": 0}


def test_a_checkpoint_is_of_its_step_however_slow_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoints.save_checkpoint

    def slow(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.05)
        save(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "save_checkpoint", slow)
    run = train(LiveState, Counter, out=tmp_path, **OPTIONS)
    for seed in run.seeds:
        kept = checkpoints.list_checkpoints(run.folder, seed)
        assert [steps for steps, _ in kept] == [60, 40]
        for steps, path in kept:
            state = checkpoints.read_checkpoint(path)
            assert state["agent/total"] == 3.0 * steps  # rewards of 1 to 5
            assert state["tracker/num_env_steps"] == steps


def test_what_saving_raised_is_raised_by_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise RlkitError("writing failed: No space left on device")

    monkeypatch.setattr(checkpoints, "save_checkpoint", full)
    with pytest.raises(RlkitError, match="No space left on device"):
        train("random", Counter, out=tmp_path, **OPTIONS)


@pytest.mark.parametrize(
    ("waited", "worked", "pause"),
    [(0.0, 0.0, 1.0), (0.1, 0.001, 1.0), (2.0, 0.001, 18.0), (0.1, 0.02, 4.0), (0.1, 3.0, 10.0)],
)
def test_saves_take_at_most_a_tenth_of_the_time_and_half_a_percent_of_a_processor(
    waited: float, worked: float, pause: float
) -> None:
    assert seed_batch._pause_after(waited, worked) == pytest.approx(pause)


def test_the_work_of_all_seeds_decides_when_to_save_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []

    def pause_after(waited: float, worked: float) -> float:
        asked.append((waited, worked))
        return 1.0

    save = checkpoints.save_checkpoint

    def slow(*args: Any, **kwargs: Any) -> None:
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            pass
        save(*args, **kwargs)

    monkeypatch.setattr(seed_batch, "_pause_after", pause_after)
    monkeypatch.setattr(checkpoints, "save_checkpoint", slow)
    train("random", "FrozenLake-v1", steps=200, seeds=5, evaluation_episodes=0, out=tmp_path)
    assert asked
    assert all(worked >= 5 * 0.03 for _, worked in asked)
