"""What outlives an episode, or is shared by copies, is noticed before training."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

import rlkit
from rlkit.environments.repeatability import check_repeatability
from rlkit.errors import RlkitWarning
from tests.faulty_envs import Noisy, Step


class FromNumpy(Noisy):
    def draw(self) -> float:
        return float(np.random.normal())  # noqa: NPY002


class FromPython(Noisy):
    def draw(self) -> float:
        return random.random()


class FromTorch(Noisy):
    def draw(self) -> float:
        import torch

        return float(torch.rand(()))


class SeedsNumpy(Noisy):
    """Seeds the global generator in reset and draws from it in step."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        np.random.seed(seed)  # noqa: NPY002
        return super().reset(seed=seed)

    def draw(self) -> float:
        return float(np.random.normal())  # noqa: NPY002


class RarelyGlobal(Noisy):
    """Draws from the global generator, though nothing comes of it so soon."""

    def draw(self) -> float:
        return float(np.random.random() < 1e-9)  # noqa: NPY002


class IgnoresSeed(Noisy):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return super().reset()


class CountsResets(gym.Wrapper[Any, Any, Any, Any]):
    count = 0

    def reset(self, **kwargs: Any) -> Any:
        self.count += 1
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, float(reward) - self.count, *rest


class Curriculum(Noisy):
    """Starts further away after each success."""

    level = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed)
        return obs + self.level, info

    def step(self, action: Any) -> Step:
        result = super().step(action)
        self.level += result[2]
        return result


class OwnStatistics(gym.Wrapper[Any, Any, Any, Any]):
    """Divides rewards by their running mean, written by hand."""

    total, number = 0.0, 0

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        self.total, self.number = self.total + abs(float(reward)), self.number + 1
        return obs, float(reward) / (self.total / self.number), *rest


class MapInConstructor(Noisy):
    def __init__(self) -> None:
        self.slope = np.random.default_rng().normal()

    def draw(self) -> float:
        return float(self.slope)


class Shared:
    total = 0.0


def sharing() -> Callable[[], Noisy]:
    shared = Shared()

    class Sharing(Noisy):
        """Copies write into one object, which each of them resets."""

        def reset(
            self, *, seed: int | None = None, options: Any = None
        ) -> tuple[Any, dict[str, Any]]:
            shared.total = 0.0
            return super().reset(seed=seed)

        def draw(self) -> float:
            shared.total += super().draw()
            return shared.total

    return Sharing


class Clock(Noisy):
    def draw(self) -> float:
        return time.perf_counter()


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "numpy's global generator": (FromNumpy, r"global generator of numpy\.random"),
    "python's global generator": (FromPython, "global generator of random"),
    "torch's global generator": (FromTorch, "global generator of torch"),
    "a global generator, seeded in reset": (SeedsNumpy, "disturb each other.*numpy"),
    "a global generator without visible effect": (RarelyGlobal, "global generator of numpy"),
    "a reset that ignores its seed": (IgnoresSeed, "not determined by reset"),
    "a counter of resets": (lambda: CountsResets(Noisy()), "not determined by reset"),
    "a curriculum": (Curriculum, "the first observation was"),
    "hand-made statistics": (lambda: OwnStatistics(Noisy()), "running statistics"),
    "a map drawn in the constructor": (MapInConstructor, "differs from copy to copy"),
    "an object that copies share": (sharing(), "disturb each other.*an object"),
    "the clock": (Clock, "not determined by reset"),
}


@pytest.mark.trap("F47")
@pytest.mark.parametrize("fault", FAULTS)
def test_state_outside_the_episode_is_noticed(fault: str) -> None:
    make, expected = FAULTS[fault]
    problem = check_repeatability(make, "Env").problem
    assert problem is not None
    assert problem.startswith("Env ")
    assert re.search(expected, problem), problem


GYMNASIUM: dict[str, dict[str, Any]] = {
    "CartPole-v1": {},
    "MountainCar-v0": {},
    "MountainCarContinuous-v0": {},
    "Pendulum-v1": {},
    "Acrobot-v1": {},
    "FrozenLake-v1": {},
    "FrozenLake8x8-v1": {"is_slippery": False},
    "CliffWalking-v1": {},
    "Taxi-v4": {},
}
WRAPPERS: dict[str, Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = {
    "none": lambda env: env,
    "statistics of episodes": wrappers.RecordEpisodeStatistics,
    "flattened": wrappers.FlattenObservation,
    "time limit": lambda env: wrappers.TimeLimit(env, 30),
    "reward": lambda env: wrappers.TransformReward(env, lambda reward: 0.5 * float(reward)),
    "time aware": wrappers.TimeAwareObservation,
}


@pytest.mark.long
@pytest.mark.parametrize("name", GYMNASIUM)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_gymnasiums_own_environments_give_no_warning(name: str, wrapper: str) -> None:
    if (name, wrapper) == ("CliffWalking-v1", "time aware"):
        pytest.skip("the wrapper needs a time limit")

    def make() -> gym.Env[Any, Any]:
        return WRAPPERS[wrapper](gym.make(name, **GYMNASIUM[name]))

    if isinstance(make().observation_space, (spaces.Box, spaces.Discrete)):
        assert check_repeatability(make, name).problem is None


@pytest.mark.slow
def test_a_caveat_reaches_python_the_record_and_the_figure(tmp_path: Path) -> None:
    with pytest.warns(RlkitWarning, match="not reproducible"):
        run = rlkit.train(
            "random", FromNumpy, seeds=2, steps=20, evaluation_episodes=2, out=tmp_path
        )
    assert run.record["reproducible"] is False
    assert "numpy.random" in run.caveats[0]
    texts = [axes.get_title(loc="left") for axes in run.plot().axes]
    assert "not reproducible" in " ".join(texts).replace("\n", " ")
    with pytest.warns(RlkitWarning, match="not reproducible"):  # also when nothing is trained
        rlkit.train("random", FromNumpy, seeds=2, steps=20, evaluation_episodes=2, out=tmp_path)


def test_a_map_drawn_in_the_constructor_is_not_taken_for_one_map(tmp_path: Path) -> None:
    def make() -> gym.Env[Any, Any]:
        seed = int(np.random.default_rng().integers(2**31))
        return gym.make("FrozenLake-v1", desc=generate_random_map(8, seed=seed))

    with pytest.warns(RlkitWarning) as caught:
        run = rlkit.train("random", make, seeds=2, steps=40, evaluation_episodes=2, out=tmp_path)
    texts = " ".join(str(warning.message) for warning in caught)
    assert "not reproducible" in texts
    assert run.record["stepped_as"] == "gymnasium"
    assert run.record["reproducible"] is False
    assert run.optimum is None


def test_a_fault_while_checking_is_left_to_training(tmp_path: Path) -> None:
    class Breaks(Noisy):
        def step(self, action: Any) -> Step:
            raise ZeroDivisionError("on purpose")

    problem = check_repeatability(Breaks, "Env").problem
    assert problem is not None
    assert "could not be checked" in problem
    with (
        pytest.warns(RlkitWarning, match="could not be checked"),
        pytest.raises(rlkit.RlkitError, match="on purpose"),
    ):
        rlkit.train("random", Breaks, seeds=1, steps=5, out=tmp_path)


def test_slow_environments_are_not_checked_for_long() -> None:
    taken = 0

    class Slow(Noisy):
        def step(self, action: Any) -> Step:
            nonlocal taken
            taken += 1
            time.sleep(0.1)
            return super().step(action)

    assert check_repeatability(Slow, "Env").problem is None
    assert taken < 30


@pytest.mark.long
@pytest.mark.parametrize(("draw", "moved"), [("", "set()"), ("torch.rand(1)", "{'torch'}")])
def test_draws_of_a_torch_that_was_imported_meanwhile_are_noticed(draw: str, moved: str) -> None:
    lines = [
        "from rlkit.environments.repeatability import GlobalGenerators",
        "generators = GlobalGenerators()",
        "import torch",
        draw,
        f"assert generators.moved() == {moved}",
        "assert generators.moved() == set()",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
