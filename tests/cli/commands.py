"""Small helpers of the tests of the command line."""

import json
from typing import Any

import pytest

from rlkit.cli import main

GRID = """
import gymnasium as gym
import numpy as np

class Corridor(gym.Env):
    observation_space = gym.spaces.Discrete(5)
    action_space = gym.spaces.Discrete(2, start=1)

    def __init__(self, reward=1.0):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        self.steps = 0
        return self.at, {}

    def step(self, action):
        assert action in (1, 2)
        self.at = max(0, self.at + (1 if action == 2 else -1))
        self.steps += 1
        return self.at, self.reward * (self.at == 4), self.at == 4, self.steps >= 50, {}
"""


def output(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """What --json printed, which must be one JSON object and nothing else."""
    return json.loads(output(capsys, *argv, "--json")[0])
