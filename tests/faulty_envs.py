"""Small environments for tests: some that count, some that misbehave in one particular way.

All of them are deterministic, so that what a test expects can be written down.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Step = tuple[Any, Any, Any, Any, Any]


class Counter(gym.Env[Any, Any]):
    """Observes [steps of this episode, seed of it mod 1000]; the reward is the step's number.

    Episodes terminate after `length` steps, or are truncated if `cuts`. Counts what is done to it.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own form)
    reward_range = (-float("inf"), float("inf"))

    def __init__(
        self, length: int = 5, *, cuts: bool = False, action_space: spaces.Space[Any] | None = None
    ) -> None:
        self.observation_space: spaces.Space[Any] = spaces.Box(-2.0, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(3) if action_space is None else action_space
        self.length, self.cuts = length, cuts
        self.seeds: list[Any] = []
        self.actions: list[Any] = []
        self.num_steps = self.num_closed = self.violations = 0
        self.t, self.running = 0, False

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        self.seeds.append(seed)
        self.t, self.running = 0, True
        return self.observe(), {}

    def observe(self) -> Any:
        return np.array([self.t, (self.seeds[-1] or 0) % 1000], dtype=np.float32)

    def step(self, action: Any) -> Step:
        self.violations += not self.running  # a step after the end, or before the first reset
        self.actions.append(action)
        self.num_steps += 1
        self.t += 1
        last = self.t >= self.length
        self.running = not last
        return self.observe(), float(self.t), last and not self.cuts, last and self.cuts, {}

    def close(self) -> None:
        self.num_closed += 1


class Recorder:
    """A factory that keeps every environment it made."""

    def __init__(self, make: Callable[..., Counter]) -> None:
        self.make = make
        self.made: list[Any] = []

    def __call__(self, **options: Any) -> Any:
        self.made.append(self.make(**options))
        return self.made[-1]


class Replaced(Counter):
    """Replaces parts of what `step` returns, at step `at` of an episode."""

    def __init__(self, at: int = 3, *, length: int = 5, **parts: Any) -> None:
        super().__init__(length)
        self.at, self.parts = at, parts

    def step(self, action: Any) -> Any:
        names = ("obs", "reward", "terminated", "truncated", "info")
        result = dict(zip(names, super().step(action), strict=True))
        if self.t == self.at:
            result |= self.parts
        return tuple(result.values())


class RaisesWhenRead:
    """Raises when it is converted to an array, measured or shown."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = RuntimeError("unread") if error is None else error

    def _raise(self, *args: Any, **options: Any) -> Any:
        raise self.error

    __array__ = __len__ = __iter__ = __getitem__ = __bool__ = __float__ = _raise

    def __repr__(self) -> str:
        raise RuntimeError("unread")


class NamedError(Exception):
    """An exception that no other environment raises, and that cannot be pickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("the pole broke")
        self.hook = lambda: (first, second)


class RaisesInStep(Counter):
    def __init__(self, at: int = 3, length: int = 5) -> None:
        super().__init__(length)
        self.at = at

    def step(self, action: Any) -> Step:
        if self.t + 1 == self.at:
            raise NamedError(1, 2)
        return super().step(action)


class RaisesInReset(Counter):
    """Raises in the given reset, counted from 0."""

    def __init__(self, at: int = 0, length: int = 2) -> None:
        super().__init__(length)
        self.at = at

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        if len(self.seeds) == self.at:
            raise NamedError(1, 2)
        return super().reset(seed=seed)


class RaisesInInit(Counter):
    def __init__(self) -> None:
        raise NamedError(1, 2)


class HangsInClose(Counter):
    def close(self) -> None:
        time.sleep(100)


class RaisesInClose(Counter):
    def close(self) -> None:
        super().close()
        raise NamedError(1, 2)


class ResetsTo(Counter):
    """Its first observation is given; where it is callable, it makes all that reset returns."""

    def __init__(self, obs: Any, *, at: int = 0, length: int = 2) -> None:
        super().__init__(length)
        self.obs, self.at = obs, at

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        pair = super().reset(seed=seed)
        if len(self.seeds) - 1 < self.at:
            return pair
        return self.obs() if callable(self.obs) else (self.obs, {})


class Unspeakable(BaseException):
    """Is caught by no `except Exception`, and cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


def go_wrong(fault: str) -> None:
    """Raise, end or block this process."""
    if fault == "raise":
        raise ValueError("the pole fell over")
    if fault == "unpicklable":
        raise NamedError(1, 2)
    if fault == "unspeakable":
        raise Unspeakable
    if fault == "interrupt":
        raise KeyboardInterrupt
    if fault == "exit":
        sys.exit(0)
    if fault == "vanish":
        os._exit(0)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "sleep":
        time.sleep(1e6)
    if fault == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        time.sleep(1e6)
    if fault == "spin":
        while True:
            pass
    if fault == "lock":  # compiled code that does not return and keeps the interpreter's lock
        ctypes.PyDLL(None).sleep(1_000_000)


class AlwaysEnds(Counter):
    def step(self, action: Any) -> Step:
        os._exit(0)


class OldGym(Counter):
    """The interface of Gym before 0.26: four values from a step."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


class ResetWithoutSeed(Counter):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset(seed=0)


class ReusesBuffer(Counter):
    """Returns one array for ever and changes it in place."""

    def __init__(self, length: int = 5) -> None:
        super().__init__(length)
        self.buffer = np.zeros(2, dtype=np.float32)

    def observe(self) -> Any:
        self.buffer[:] = super().observe()
        return self.buffer


class NotDeterministic(Counter):
    """Ignores its seed."""

    def observe(self) -> Any:
        return np.frombuffer(os.urandom(2), dtype=np.uint8).astype(np.float32)


class Drifting(Counter):
    """Its state depends on all actions and on the seed, and is not a function of the step."""

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        self.rng = np.random.default_rng(seed)
        self.x = self.rng.standard_normal()
        return super().reset(seed=seed)

    def observe(self) -> Any:
        return np.array([self.t, self.x], dtype=np.float32)

    def step(self, action: Any) -> Step:
        self.x = np.tanh(self.x + float(np.sum(action)) - 1.0 + self.rng.standard_normal())
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(self.x), terminated, truncated, info


class Misbehaves(Drifting):
    """Goes wrong in its constructor, or in a reset or at step 3 with `bad_seed`."""

    def __init__(self, fault: str = "", where: str = "step", bad_seed: int = -1) -> None:
        super().__init__(5)
        self.fault, self.where, self.bad_seed = fault, where, bad_seed
        if where == "constructor":
            go_wrong(fault)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        self.is_bad = seed == self.bad_seed
        if self.is_bad and self.where == "reset":
            go_wrong(self.fault)
        return super().reset(seed=seed)

    def step(self, action: Any) -> Step:
        if self.is_bad and self.where == "step" and self.t + 1 == 3:
            go_wrong(self.fault)
        return super().step(action)


class Shifted(gym.Env[Any, Any]):
    """States `start` .. `start + n - 1` in a ring; action a moves by a, which may be negative."""

    def __init__(self, n: int = 4, start: int = -1, dtype: Any = np.int64) -> None:
        self.observation_space = spaces.Discrete(n, start=start, dtype=dtype)
        self.action_space = spaces.Discrete(3, start=-1, dtype=np.int8)
        self.n, self.start, self.dtype = n, start, dtype
        self.actions: list[Any] = []

    def observe(self) -> Any:
        return self.dtype(self.start + self.x)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        self.x = 0
        return self.observe(), {}

    def step(self, action: Any) -> Step:
        self.actions.append(action)
        self.x = (self.x + action) % self.n
        return self.observe(), float(self.x), False, False, {}


class Noisy(gym.Env[Any, Any]):
    """Ten steps of rewards from self.np_random: everything as it should be."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.elapsed = 0
        return self.observe(), {}

    def observe(self) -> Any:
        return np.array([self.elapsed], np.float32)

    def draw(self) -> float:
        return float(self.np_random.normal())

    def step(self, action: Any) -> Step:
        self.elapsed += 1
        return self.observe(), self.draw(), self.elapsed >= 10, False, {}


class MasksParts(Counter):
    """Offers masks of two parts by a method, and rejects what they forbid."""

    def __init__(self) -> None:
        super().__init__(4, action_space=spaces.MultiDiscrete([3, 2]))

    def action_masks(self) -> Any:
        return [1, self.t % 2, 0, self.t % 2, 1]

    def step(self, action: Any) -> Step:
        assert self.action_masks()[action[0]]
        assert self.action_masks()[3 + action[1]]
        return super().step(action)
