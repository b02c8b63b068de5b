"""Curves, scores and figures need the folder of a run, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")

SOURCE = """
import gymnasium as gym, numpy as np
class Walk(gym.Env):
    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)
    P = {s: {a: [(1.0, min(s + 1, 2), 1.0, s >= 1)] for a in (0, 1)} for s in range(3)}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return 0, {}
    def step(self, action):
        _, self.state, reward, done = self.P[self.state][int(action)][0]
        return self.state, reward, done, False, {}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_run_whose_file_is_gone_is_drawn_and_compared(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(SOURCE)
    options: dict[str, Any] = {"seeds": 2, "steps": 40, "evaluate_every": 20, "out": tmp_path}
    runs = [rlkit.train(name, f"{file}:Walk", **options) for name in ("random", "q-learning")]
    file.unlink()
    loaded = [rlkit.load(run.folder) for run in runs]
    for run, before in zip(loaded, runs, strict=True):
        np.testing.assert_array_equal(run.curve, before.curve)
        np.testing.assert_array_equal(run.scores, before.scores)
        assert run.optimum == 2.0
        run.plot(tmp_path / f"{run.agent}.png")
        assert run.interval().estimate == 2.0
    compared = rlkit.compare(loaded, out=tmp_path / "compared")
    assert compared.optimum == 2.0
    assert (tmp_path / "compared" / "final_performance.png").stat().st_size > 1000
    with pytest.raises(UsageError, match=r"own\.py"):
        loaded[0].evaluate(3)


def test_a_run_of_a_lambda_is_drawn(tmp_path: Path) -> None:
    run = rlkit.train(
        "random", lambda: gym.make("CartPole-v1"), seeds=2, steps=20, evaluation_episodes=2,
        out=tmp_path,
    )  # fmt: skip
    loaded = rlkit.load(run.folder)
    loaded.plot(tmp_path / "curve.svg")
    with pytest.raises(UsageError, match="env=MyEnv"):
        loaded.evaluate(2)
    assert rlkit.load(run.folder, env=lambda: gym.make("CartPole-v1")).evaluate(2)["mean"] > 5


@pytest.mark.slow
def test_the_command_line_draws_and_compares_what_it_cannot_play(
    tmp_path: Path, forks: Any
) -> None:
    package = tmp_path / "gone"
    package.mkdir()
    (package / "__init__.py").write_text(SOURCE)

    def command(*words: str) -> Any:
        return forks.python("-m", "rlkit", *words, cwd=tmp_path)

    options = ("--seeds", "2", "--steps", "20", "--json")
    folders = [
        json.loads(command("train", agent, "gone:Walk", *options).stdout)["run"]
        for agent in ("random", "q-learning")
    ]
    package.rename(tmp_path / "elsewhere")
    drawn = command("plot", *folders, "--out", "curves.png")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "curves.png").exists()
    compared = command("compare", *folders, "--out", "compared", "--json")
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["optimum"] == 2.0
    played = command("evaluate", folders[0])
    assert played.returncode == 2
    assert played.stderr.count("\n") == 1
    assert "gone" in played.stderr
