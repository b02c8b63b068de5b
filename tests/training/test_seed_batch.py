"""Seeds that are trained together: what is saved while training goes on."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.agent import Transition
from rlkit.errors import RlkitError
from rlkit.runs import checkpoints
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
