"""Environments with one planted fault each, and the code by which the doctor finds it."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import NormalizeObservation, TimeLimit

from tests.faulty_envs import RaisesWhenRead

Step = tuple[Any, Any, Any, Any, Any]


class Walk(gym.Env[Any, Any]):
    """A sound environment: a noisy walk of at most 40 steps to one of two ends.

    Each method below is one that a faulty environment replaces.
    """

    observation_space: spaces.Space[Any] = spaces.Box(-20.0, 20.0, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    limit = 40

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.t = self.start(), 0
        return self.observe(), self.info()

    def start(self) -> float:
        return float(self.np_random.uniform(-1.0, 1.0))

    def noise(self) -> float:
        return float(self.np_random.uniform(-0.5, 0.5))

    def observe(self) -> Any:
        return np.array([self.x, self.noise_seen()], np.float32)

    def noise_seen(self) -> float:
        return self.t / self.limit

    def info(self) -> Any:
        return {}

    def push(self, action: Any) -> float:
        return 2.0 * float(action) - 1.0

    def reward(self) -> Any:
        return 1.0 if self.x > 0 else -0.1

    def terminated(self) -> Any:
        return abs(self.x) > 5.0

    def truncated(self) -> Any:
        return self.t >= self.limit

    def step(self, action: Any) -> Any:
        self.x += self.push(action) + self.noise()
        self.t += 1
        return self.observe(), self.reward(), self.terminated(), self.truncated(), self.info()


PLANTED: dict[str, list[Callable[..., Any]]] = {}


def planted(code: str) -> Callable[[Any], Any]:
    def add(make: Any) -> Any:
        PLANTED.setdefault(code, []).append(make)
        return make

    return add


# --- it cannot be played --------------------------------------------------------------------------


@planted("constructor-raises")
class Raising(Walk):
    def __init__(self) -> None:
        raise OSError("no display")


@planted("not-an-environment")
def no_environment() -> Any:
    return "CartPole-v1"


@planted("space-missing")
class WithoutSpace(gym.Env[Any, Any]):
    action_space = spaces.Discrete(2)


@planted("space-unsupported")
class OfText(Walk):
    observation_space = spaces.Text(5)


@planted("running-statistics")
def normalised() -> Any:
    return NormalizeObservation(Walk())


@planted("reset-signature")
class OldReset(Walk):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


@planted("reset-raises")
class RaisingInReset(Walk):
    def start(self) -> float:
        raise ZeroDivisionError


@planted("reset-without-seed")
class NeedsSeed(Walk):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed + 1)


@planted("reset-result")
class OldResult(Walk):
    def reset(self, **options: Any) -> Any:
        return super().reset(**options)[0]


@planted("step-raises")
class RaisingInStep(Walk):
    def noise(self) -> float:
        if self.t == 3:
            raise KeyError("wheel")
        return 0.0


@planted("step-result")
class OldStep(Walk):
    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


@planted("hangs")
class Hanging(Walk):
    def noise(self) -> float:
        if self.t == 3:
            time.sleep(1000.0)
        return 0.0


@planted("hangs")
class HangingInClose(Walk):
    def close(self) -> None:
        time.sleep(1000.0)


@planted("info-type")
class WithoutInfo(Walk):
    def info(self) -> Any:
        return None


@planted("reward-type")
class RewardOfText(Walk):
    def reward(self) -> Any:
        return "1"


@planted("reward-type")
class RewardOfArray(Walk):
    def reward(self) -> Any:
        return np.ones(1)


@planted("flag-type")
class FlagOfNone(Walk):
    def truncated(self) -> Any:
        return None


@planted("unreadable")
class ObservationThatRaises(Walk):
    def observe(self) -> Any:
        return RaisesWhenRead()


@planted("unreadable")
class PropertyThatRaises(Walk):
    @property
    def get_state(self) -> Any:
        raise KeyError("get_state")


@planted("observation-invalid")
class OtherShape(Walk):
    def observe(self) -> Any:
        return np.zeros((2, 1), np.float32)


@planted("observation-invalid")
class OutOfRange(Walk):
    observation_space = spaces.Discrete(10)

    def observe(self) -> Any:
        return 10 if self.t == 7 else 3 + self.t % 2


@planted("observation-invalid")
class OfObjects(Walk):
    def observe(self) -> Any:
        return np.array([self.x, None], dtype=object)


@planted("observation-not-finite")
class NotANumber(Walk):
    def noise_seen(self) -> float:
        return float("nan") if self.t == 5 else 0.1 * self.t


@planted("reward-not-finite")
class Infinite(Walk):
    def reward(self) -> Any:
        return float("inf") if self.t == 5 else 0.0


@planted("mask-invalid")
class ShortMask(Walk):
    def info(self) -> Any:
        return {"action_mask": [1]}


@planted("mask-invalid")
class NothingAllowed(Walk):
    def action_masks(self) -> Any:
        return np.zeros(2, bool)


# --- it is not what it seems ----------------------------------------------------------------------


_ONE = Walk()


@planted("copies-are-one")
def always_one() -> Any:
    return _ONE


@planted("spaces-differ")
class RandomSize(Walk):
    sizes = iter(range(2, 10_000))

    def __init__(self) -> None:
        self.size = next(self.sizes)
        self.observation_space = spaces.Box(-20.0, 20.0, (self.size,), np.float32)

    def observe(self) -> Any:
        return np.full(self.size, self.x, np.float32)


@planted("reset-ignores-seed")
class UnseededReset(Walk):
    def start(self) -> float:
        return float(np.random.default_rng().uniform())


@planted("reset-ignores-seed")
class OfTheClock(Walk):
    def start(self) -> float:
        return time.perf_counter() % 1.0


@planted("step-ignores-seed")
class UnseededStep(Walk):
    def noise(self) -> float:
        return int.from_bytes(os.urandom(2)) / 65536


@planted("leaks-between-episodes")
class GrowsHarder(Walk):
    episodes = 0

    def start(self) -> float:
        self.episodes += 1
        return float(self.np_random.uniform()) + 0.01 * self.episodes


@planted("leaks-between-episodes")
class KeepsLast(Walk):
    """Its first reset is as it should be."""

    x = 0.0

    def start(self) -> float:
        return 0.1 * self.x + float(self.np_random.uniform())


@planted("copies-differ")
class OwnMap(Walk):
    def __init__(self) -> None:
        self.map = np.random.default_rng().uniform(size=8)

    def noise(self) -> float:
        return float(self.map[self.t % 8])


@planted("copies-disturb-each-other")
class SharesPosition(Walk):
    shared: list[float] = [0.0]  # noqa: RUF012  the fault

    def start(self) -> float:
        self.shared[0] = float(self.np_random.uniform())
        return self.shared[0]

    def noise(self) -> float:
        self.shared[0] += 0.1
        return self.shared[0] % 0.3


@planted("global-generator")
class OfNumpy(Walk):
    def noise(self) -> float:
        return float(np.random.uniform())  # noqa: NPY002  the fault


@planted("global-generator")
class SeedsPython(Walk):
    """Repeats itself, because its reset seeds the generator of all."""

    def start(self) -> float:
        random.seed(int(self.np_random.integers(1000)))
        return random.random()


@planted("step-calls-reset")
class ResetsItself(Walk):
    def step(self, action: Any) -> Any:
        _, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            self.reset()
        return self.observe(), reward, terminated, truncated, info


@planted("table-not-followed")
class FalseTable(gym.Env[Any, Any]):
    """Its table says that both actions go on; action 1 stays."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.P = {
            s: {a: [(1.0, min(s + 1, 4), float(s == 3), s >= 3)] for a in range(2)}
            for s in range(5)
        }
        self.initial_state_distrib = np.eye(5)[0]

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.s = 0
        return 0, {}

    def step(self, action: Any) -> Step:
        before, self.s = self.s, self.s + int(action == 0)
        return self.s, float(self.s == 4 and before == 3), self.s == 4, False, {}


@planted("gymnasium-checker")
class WithoutOptions(Walk):
    def reset(self, *, seed: Any = None) -> Any:  # type: ignore[override]
        return super().reset(seed=seed)


# --- learning or speed suffers --------------------------------------------------------------------


@planted("close-raises")
class RaisingInClose(Walk):
    def close(self) -> None:
        raise RuntimeError("closed already")


@planted("observation-type")
class OfList(Walk):
    def observe(self) -> Any:
        return [self.x, 0.1 * self.t]


@planted("observation-dtype")
class Double(Walk):
    def observe(self) -> Any:
        return np.array([self.x, 0.1 * self.t])


@planted("observation-outside-space")
class Beyond(Walk):
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)


@planted("arrays-change-later")
class ReusesBuffer(Walk):
    def __init__(self) -> None:
        self.buffer = np.zeros(2, np.float32)

    def observe(self) -> Any:
        self.buffer[:] = self.x, 0.1 * self.t
        return self.buffer


class Continuous(Walk):
    action_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def push(self, action: Any) -> float:
        return float(action[0] - 0.5 * action[1])


@planted("action-modified")
class ChangesAction(Continuous):
    def push(self, action: Any) -> float:
        action *= 0.5
        return float(action[0] + action[1])


@planted("reset-repeats")
class SeedsItself(Walk):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed or 0)


@planted("unseeded-copies-alike")
class SeededByConstructor(Walk):
    def __init__(self) -> None:
        self.np_random = np.random.default_rng(0)


@planted("reset-forgets-seed")
class NewGenerator(Walk):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def start(self) -> float:
        return float(self.rng.uniform())


@planted("observation-constant")
class Blind(Walk):
    def observe(self) -> Any:
        return np.ones(2, np.float32)


@planted("observation-badly-scaled")
class InMillimetres(Walk):
    observation_space = spaces.Box(-20_000.0, 20_000.0, (2,), np.float32)

    def observe(self) -> Any:
        return np.array([1000.0 * self.x, 0.1 * self.t], np.float32)


@planted("observation-badly-scaled")
class InKilometres(Walk):
    def observe(self) -> Any:
        return np.array([1e-5 * self.x, 0.1 * self.t], np.float32)


@planted("reward-always-zero")
class NoReward(Walk):
    def reward(self) -> Any:
        return 0.0


@planted("return-never-varies")
class FarGoal(Walk):
    def terminated(self) -> Any:
        return False

    def reward(self) -> Any:
        return -1.0


@planted("reward-sparse")
class RareReward(Walk):
    def reward(self) -> Any:
        return float(self.x > 5.9)


@planted("reward-large")
class LargeReward(Walk):
    def reward(self) -> Any:
        return 1e4 * self.x


@planted("reward-tiny")
class TinyReward(Walk):
    def reward(self) -> Any:
        return 1e-6 * self.x


@planted("never-ends")
class Endless(Walk):
    def terminated(self) -> Any:
        self.x = float(np.clip(self.x, -5, 5))
        return False

    def truncated(self) -> Any:
        return False


@planted("time-limit-as-termination")
class EndsAtLimit(Walk):
    def terminated(self) -> Any:
        return self.t >= self.limit

    def truncated(self) -> Any:
        return False


@planted("action-without-effect")
class IgnoresAction(Walk):
    def push(self, action: Any) -> float:
        return 0.0


@planted("action-without-effect")
class IgnoresPart(Continuous):
    def push(self, action: Any) -> float:
        return float(action[0])


@planted("action-clipped")
class ClipsAction(Continuous):
    def push(self, action: Any) -> float:
        return float(np.clip(action, -0.4, 0.4).sum())


@planted("action-range")
class LargeActions(Continuous):
    action_space = spaces.Box(-300.0, 300.0, (2,), np.float32)

    def push(self, action: Any) -> float:
        return float(action[0] - action[1]) / 300


@planted("info-huge")
class TellsAll(Walk):
    def info(self) -> Any:
        return {"image": np.zeros(200_000, np.uint8)}


@planted("changes-process")
class ChangesNumpy(Walk):
    def __init__(self) -> None:
        np.seterr(over="raise")


@planted("slow-steps")
class Slow(Walk):
    limit = 5

    def noise(self) -> float:
        time.sleep(0.002)
        return super().noise()


@planted("slow-resets")
class SlowReset(Walk):
    limit = 3

    def start(self) -> float:
        time.sleep(0.006)
        return super().start()


# --- worth knowing --------------------------------------------------------------------------------


@planted("gymnasium-advice")
class OldSeed(Walk):
    def seed(self, seed: int | None = None) -> None:
        """The old way, which Gymnasium's checker remarks on."""


@planted("only-length-varies")
class SameReturn(Walk):
    def terminated(self) -> Any:
        return abs(self.x) > 2.0

    def truncated(self) -> Any:
        return False

    def reward(self) -> Any:
        return float(self.terminated())


@planted("no-choice")
class OneAction(Walk):
    action_space = spaces.Discrete(1)

    def push(self, action: Any) -> float:
        return 0.0


@planted("seed-without-effect")
class NotRandom(Walk):
    def start(self) -> float:
        return 0.0

    def noise(self) -> float:
        return 0.0


@planted("observation-unbounded")
class Unbounded(Walk):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@planted("observation-part-constant")
class OnePart(Walk):
    def noise_seen(self) -> float:
        return 1.0


@planted("no-time-limit")
class WithoutLimit(Walk):
    def truncated(self) -> Any:
        return False


@planted("actions-unbounded")
class UnboundedActions(Continuous):
    action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@planted("actions-alike")
class TwoAlike(Walk):
    action_space = spaces.Discrete(3)

    def push(self, action: Any) -> float:
        return (-1.0, 1.0, 1.0)[action]


@planted("step-after-end")
class GoesOn(Walk):
    def terminated(self) -> Any:
        return self.t == 12

    def truncated(self) -> Any:
        return False


@planted("cannot-be-sent")
def make_local() -> Any:
    """Is replaced by a lambda in the test."""
    return Walk()


@planted("offers-masks")
class Masked(Walk):
    def info(self) -> Any:
        return {"action_mask": np.array([True, self.t % 2 == 0])}


@planted("known-model")
def with_table() -> Any:
    return gym.make("CliffWalking-v1", disable_env_checker=True)


@planted("prints")
class Prints(Walk):
    def noise(self) -> float:
        print("step", self.t)
        return super().noise()


class BeyondTheEnd(Walk):
    """A sound environment, but for observations after the end."""

    def start(self) -> float:
        x = super().start()
        self.last = 12 if x > 0 else 14
        return x

    def noise_seen(self) -> float:
        return float("nan") if self.t > self.last else self.t / self.limit

    def terminated(self) -> Any:
        return self.t == self.last

    def truncated(self) -> Any:
        return False


class BigImages(Walk):
    """Takes long to keep and to compare."""

    observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)

    def observe(self) -> Any:
        return self.np_random.integers(0, 256, (210, 160, 3), dtype=np.uint8)


def limited() -> Any:
    """A sound environment that a function makes."""
    return TimeLimit(Walk(), 30)


# --- what needs a process of its own --------------------------------------------------------------


class OfHashes(Walk):
    """Depends on the seed of Python's hashes, which each process has its own of."""

    def noise(self) -> float:
        return hash(f"step {self.t}") % 100 / 100


class Exits(Walk):
    def noise(self) -> float:
        if self.t == 3:
            os._exit(7)
        return 0.0


class Locks(Walk):
    """Hangs in compiled code that keeps the interpreter's lock."""

    def noise(self) -> float:
        if self.t == 3:
            ctypes.PyDLL(None).sleep(1_000_000)
        return 0.0
