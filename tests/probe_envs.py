"""Environments that go wrong, or disturb their surroundings, exactly where they are told to."""

import os
import signal
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tests.settings import SETTINGS


class Unpicklable(Exception):
    """Holds something that cannot be sent to another process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.held = lambda: None


class Fatal(BaseException):
    """Is caught by no `except Exception`, and cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Probe(gym.Env[Any, Any]):
    """A random walk that ends after `length` steps.

    Args:
        fault: what happens at step `at` of the episode that is reset with `bad_seed`.
        side_effect: what every step does to the process.
        start: of the action space.
    """

    def __init__(
        self,
        fault: str = "",
        bad_seed: int = -1,
        at: int = 5,
        side_effect: str = "",
        start: int = 0,
        length: int = 13,
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(3, start=start)
        self.fault, self.bad_seed, self.at = fault, bad_seed, at
        self.side_effect, self.length = side_effect, length
        # Seconds that a step takes. No argument, and no variable that is named here, because a
        # quick run shall be the same run, and rlkit would see either.
        self.pause = float(os.environ.get("_".join(("PROBE", "PAUSE")), "0"))

    def _obs(self) -> Any:
        return np.array([self.place, self.elapsed / self.length], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.is_bad = seed == self.bad_seed
        self.place, self.elapsed = 0.0, 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.elapsed += 1
        self.place += (action - self.action_space.start - 1) + self.np_random.normal()
        if self.is_bad and self.elapsed == self.at:
            self._go_wrong()
        if self.side_effect:
            self._disturb()
        if self.pause:
            time.sleep(self.pause)
        reward = float("nan") if self.fault == "nan" and self._is_now() else self.place
        return self._obs(), reward, False, self.elapsed >= self.length, {}

    def _is_now(self) -> bool:
        return self.is_bad and self.elapsed == self.at

    def _go_wrong(self) -> None:
        if self.fault == "raise":
            raise ValueError("the walk fell over")
        if self.fault == "unpicklable":
            raise Unpicklable("the walk fell over")
        if self.fault == "fatal":
            raise Fatal
        if self.fault == "die":
            os._exit(3)
        if self.fault == "abort":
            os.abort()
        if self.fault == "vanish":
            os._exit(0)
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "hang":
            time.sleep(1e6)
        if self.fault == "exit":
            sys.exit(3)

    def _disturb(self) -> None:
        if self.side_effect == "chdir":
            os.chdir("/")
        elif self.side_effect == "print":
            print("x" * 200)
        else:
            SETTINGS[self.side_effect]()


class Bounded(gym.Env[Any, Any]):
    """Keeps to its bounds: refuses an action outside of its Box."""

    def __init__(self) -> None:
        self.observation_space = spaces.Discrete(4, start=2)
        self.action_space = spaces.Box(-0.5, 0.25, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.elapsed = 0
        return 2, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.elapsed += 1
        return 2 + self.elapsed % 4, float(action.sum()), False, self.elapsed == 5, {}
