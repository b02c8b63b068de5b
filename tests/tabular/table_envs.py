"""Environments that publish a transition table, true or false."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.spaces import Discrete


class Corridor(gym.Env[Any, Any]):
    """Cells 0..3: action 0 goes left, 1 right; leaving cell 3 to the right ends with reward 1."""

    def __init__(self, first_state: int = 0, first_action: int = 0, starts: tuple[int, ...] = (0,)):
        self.observation_space = Discrete(4, start=first_state)
        self.action_space = Discrete(2, start=first_action)
        self.starts = starts
        self.P: Any = {
            first_state + s: {
                first_action: [(1.0, first_state + max(s - 1, 0), 0.0, False)],
                first_action + 1: [(1.0, first_state + min(s + 1, 3), float(s == 3), s == 3)],
            }
            for s in range(4)
        }
        self.closed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.observation_space.start + self.np_random.choice(self.starts))
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        first, s = int(self.observation_space.start), self.state - int(self.observation_space.start)
        right = action - int(self.action_space.start) == 1
        self.state = first + (min(s + 1, 3) if right else max(s - 1, 0))
        ends = right and s == 3
        return self.state, float(ends), ends, False, {}

    def close(self) -> None:
        self.closed += 1


def changed(change: Callable[[Corridor], None], **options: Any) -> Callable[[], Corridor]:
    def make() -> Corridor:
        env = Corridor(**options)
        change(env)
        return env

    return make


class SlipperyLake(FrozenLakeEnv):
    """Slips with other chances than its table says, perhaps only after some steps or resets."""

    def __init__(
        self,
        slip: tuple[float, float, float],
        *,
        after: int = 0,
        resets: int = 0,
        memory: bool = False,
    ) -> None:
        super().__init__()
        self.slip, self.after, self.resets, self.memory = slip, after, resets, memory
        self.num_resets = 0

    def reset(self, **options: Any) -> Any:
        self.elapsed, self.last = 0, None
        self.num_resets += 1
        return super().reset(**options)

    def step(self, a: int) -> Any:
        successors = self.P[self.s][a]
        k = 0
        if len(successors) == 3:
            true = self.elapsed >= self.after and self.num_resets > self.resets
            true &= self.last is not None or not self.memory
            slip = self.slip if true else (1 / 3, 1 / 3, 1 / 3)
            turn = self.last if self.memory and self.last is not None else 0
            k = int(self.np_random.choice(3, p=np.roll(slip, turn)))
            self.last = k
        _, self.s, reward, terminated = successors[k]
        self.elapsed += 1
        return int(self.s), reward, terminated, False, {}


def lake_slipping(*slip: float, **options: Any) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: wrappers.TimeLimit(SlipperyLake(slip, **options), 100)  # type: ignore[arg-type]


class Starts(Corridor):
    """Says with what chances it starts where, and starts with others."""

    def __init__(self, stated: Any, true: Any, other: Any = None, resets: int = 0) -> None:
        super().__init__()
        self.initial_state_distrib = stated
        self.true, self.other, self.resets, self.num_resets = true, other, resets, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.num_resets += 1
        late = self.other is not None and self.num_resets > self.resets
        self.state = int(self.np_random.choice(4, p=self.other if late else self.true))
        return self.state, {}


class Grid(gym.Env[Any, Any]):
    """Square of cells; moves slip aside with chance 0.2 by the table; the last cell ends it."""

    side = 300

    def __init__(self, slip: float = 0.2) -> None:
        self.observation_space, self.action_space = Discrete(self.side**2), Discrete(4)
        self.slip = slip
        self.P = self.table(self.side)

    @classmethod
    @functools.cache
    def table(cls, side: int) -> Any:
        end = side**2 - 1
        return [
            [
                [
                    (p, to, -1.0, to == end)
                    for turn, p in ((0, 0.8), (1, 0.1), (3, 0.1))
                    for to in [cls.move(side, s, (a + turn) % 4)]
                ]
                for a in range(4)
            ]
            for s in range(side**2)
        ]

    @staticmethod
    def move(side: int, s: int, a: int) -> int:
        row, column = divmod(s, side)
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[a]
        row, column = row + down, column + right
        return s if min(row, column) < 0 or max(row, column) >= side else row * side + column

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.s = self.side**2 // 2 + self.side // 2
        return self.s, {}

    def step(self, action: int) -> Any:
        turn = int(self.np_random.choice(3, p=[1 - self.slip, self.slip / 2, self.slip / 2]))
        self.s = self.move(self.side, self.s, (action + (0, 1, 3)[turn]) % 4)
        return self.s, -1.0, self.s == self.side**2 - 1, False, {}
