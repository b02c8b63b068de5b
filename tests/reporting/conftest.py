"""Comparisons that many tests of reports look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import rlkit

HOSTILE = '<img src=x onerror="alert(1)">&\'"'

ENV = '''
import gymnasium as gym
import numpy as np


class Words(gym.Env):
    """Two actions, of which the second pays; it cannot be drawn."""

    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, text=""):
        self.text = text

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return 0, {}

    def step(self, action):
        self.left -= 1
        return int(action), float(action), self.left == 0, False, {}
'''


@pytest.fixture(scope="session")
def _compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two contenders on a table with pictures, compared with three seeds each."""
    out = tmp_path_factory.mktemp("compared")
    rlkit.compare(
        [
            {"agent": "q-learning", "name": "learner", "epsilon_steps": 500},
            {"agent": "random", "name": "chance"},
        ],
        "FrozenLake-v1",
        seeds=4,
        steps=1000,
        evaluate_every=250,
        compiled=False,
        env_args={"is_slippery": False},
        out=out,
    )
    return out


@pytest.fixture
def compared(_compared: Path, tmp_path: Path) -> Path:
    """A copy of the comparison, which tests may change."""
    return Path(shutil.copytree(_compared, tmp_path / "compared"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison whose names are HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "words.py").write_text(ENV)
    rlkit.compare(
        [
            {"agent": "random", "name": HOSTILE},
            {"agent": "random", "name": "</script><script>alert(2)</script>"},
        ],
        f"{folder / 'words.py'}:Words",
        seeds=1,
        steps=10,
        evaluation_episodes=1,
        env_args={"text": HOSTILE},
        out=folder,
    )
    return folder
