"""Batched environments of users: trained like any other, and every fault named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments.grids.users import UserGrid
from rlkit.environments.resolve import find_environment
from rlkit.errors import EnvironmentFault, RlkitWarning, SeedsError, UsageError
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run

STREAMS = (SeedStreams(0, 3), SeedStreams(0, 4))


class Ramp:
    """Climbs by the action, 0 or 1, and ends at 3; the observation is the height."""

    observation_space = spaces.Box(-1, 10, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(
        self, episode_seed: Any, num_seeds: int, num_envs: int, *, autoreset: bool, fault: str = ""
    ) -> None:
        self.num_seeds, self.num_envs = num_seeds, num_envs
        self.autoreset, self.fault = autoreset, fault
        self.episode_seed = episode_seed
        self.ended = np.zeros((num_seeds, num_envs), bool)

    def first(self, s: int, n: int) -> float:
        return self.episode_seed(s, n, int(self.episode[s, n])) % 2 / 2

    def reset(self) -> Any:
        self.episode = np.zeros((self.num_seeds, self.num_envs), int)
        self.ended = np.zeros_like(self.episode, dtype=bool)
        self.height = np.array(
            [[self.first(s, n) for n in range(self.num_envs)] for s in range(self.num_seeds)]
        )
        return self.observed()

    def observed(self) -> Any:
        return self.height[..., None].astype(np.float32)

    def step(self, actions: Any) -> Any:
        idle = self.ended.copy()
        self.height = self.height + np.where(idle, 0, actions)
        terminated = (self.height >= 3) & ~idle
        next_obs = self.observed()
        reward = np.where(idle, 0.0, self.height)
        if self.autoreset:
            self.episode += terminated
            for s, n in np.argwhere(terminated):
                self.height[s, n] = self.first(s, n)
        else:
            self.ended |= terminated
        parts = {
            "reward": reward,
            "terminated": terminated,
            "truncated": np.zeros_like(idle),
            "next_obs": next_obs,
            "following_obs": self.observed(),
        }
        self.spoil(parts)
        return tuple(parts.values())

    def spoil(self, parts: dict[str, Any]) -> None:
        """Return something wrong for the last copy of the last seed."""
        if self.fault == "nan":
            parts["reward"][-1, -1] = np.nan
        if self.fault == "shape":
            parts["next_obs"] = parts["next_obs"][..., 0]
        if self.fault == "flags":
            parts["terminated"] = parts["terminated"].astype(float)
        if self.fault == "jump":
            parts["following_obs"][-1, -1] += 1
        if self.fault == "four":
            del parts["following_obs"]
        if self.fault == "raise" and (self.height[-1] > 1).any():
            raise ZeroDivisionError("in a kernel")

    def state_dict(self) -> Any:
        return {"height": self.height, "episode": self.episode, "ended": self.ended}

    def load_state_dict(self, state: Any) -> None:
        for name in ("height", "episode", "ended"):
            setattr(self, name, np.array(state[name]))


class Endless(Ramp):
    """Raises in one seed only."""

    def step(self, actions: Any) -> Any:
        for s in range(self.num_seeds):
            if self.fault and self.episode_seed(s, 0, 0) == STREAM_OF_1 and self.episode[s, 0] > 1:
                raise ZeroDivisionError("in a kernel")
        return super().step(actions)


STREAM_OF_1 = SeedStreams(0, 1).episode_seed("env", 0, 0)


def grid(fault: str = "", num_envs: int = 2, **options: Any) -> UserGrid:
    def make(*args: Any, **more: Any) -> Ramp:
        return Ramp(*args, fault=fault, **more)

    return UserGrid(make, STREAMS, num_envs, name="Ramp", **options)


def climb(env: UserGrid, num_steps: int) -> list[Any]:
    env.reset()
    return [env.step(np.ones((2, env.num_envs), int)) for _ in range(num_steps)]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("nan", r"seed 4: .*copy 1, episode 0, step 1, action 1: reward is not finite, got nan"),
        (
            "shape",
            r"next_obs has shape \[2, 2\] and type float32, expected numbers of shape \[2, 2, 1",
        ),
        ("flags", "terminated has shape .* and type float64, expected booleans"),
        ("jump", "seed 4: .*copy 1, .*following_obs differs from next_obs though no episode ended"),
        ("four", r"step returned a tuple of 4, expected \(reward, terminated, truncated, next_obs"),
    ],
)
def test_a_wrong_result_names_the_field_and_the_place(fault: str, text: str) -> None:
    env = grid(fault)
    for _ in range(2):  # a reset begins to count anew
        with pytest.raises(EnvironmentFault, match=text):
            climb(env, 1)


def test_what_raises_for_all_seeds_is_not_blamed_on_one() -> None:
    with pytest.raises(
        SeedsError, match=r"environment Ramp, step 1: step raised ZeroDivisionError"
    ):
        climb(grid("raise"), 5)


def test_what_constructor_and_close_raise_is_named() -> None:
    class Small(Ramp):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if self.num_envs > 2:
                raise SystemExit("too many")

        def close(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(UsageError, match=r"of 2 x 3 copies failed: SystemExit\('too many'\)"):
        UserGrid(Small, STREAMS, 3, name="Small")
    with pytest.warns(RlkitWarning, match=r"the batched environment Small raised ZeroDivision"):
        UserGrid(Small, STREAMS, 2, name="Small").close()


def test_results_belong_to_the_caller_and_places_are_counted() -> None:
    env = grid()
    steps = climb(env, 9)
    assert [bool(step.terminated.any()) for step in steps[:4]] == [False, False, True, False]
    steps[0].next_obs[...] = 99
    again = climb(grid(), 9)
    assert all((a.reward == b.reward).all() for a, b in zip(steps, again, strict=True))
    assert env.state_dict()["episode"].tolist() == [[3, 3], [3, 3]] or env._episode.max() >= 2


def test_the_state_continues_elsewhere() -> None:
    env, other = grid(), grid()
    climb(env, 5)
    other.reset()
    other.load_state_dict(env.state_dict())
    ones = np.ones((2, 2), int)
    for _ in range(5):
        for a, b in zip(env.step(ones), other.step(ones), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["state_dict", "step", "action_space"])
def test_a_missing_part_is_named(name: str) -> None:
    class Lacks(Ramp):
        pass

    setattr(Lacks, name, property(lambda self: 1 / 0 if name != "action_space" else None))
    if name == "action_space":
        Lacks.action_space = spaces.Discrete(2, start=1)
        expected = r"action space Discrete\(2, start=1\), expected a Box or a Discrete that starts"
    else:
        Lacks.__getattribute__ = hides(name)  # type: ignore[method-assign]
        expected = f"has no {name}: see BatchEnv"
    with pytest.raises(UsageError, match=expected):
        find_environment(Lacks)


def hides(name: str) -> Any:
    def get(self: Any, attribute: str) -> Any:
        if attribute == name:
            raise AttributeError(name)
        return object.__getattribute__(self, attribute)

    return get


HERE = f"{Path(__file__)}:"
OPTIONS: dict[str, Any] = {"seeds": 3, "steps": 120, "evaluate_every": 40, "evaluation_episodes": 2}


def test_a_run_is_that_of_single_copies_of_it(small: Callable[..., Run], tmp_path: Path) -> None:
    options = OPTIONS | {"environment": HERE + "Ramp"}
    run = small("random-probe", **options)
    assert run.record["stepped_as"] == "batch"
    singles = small("random-probe", **options, native=False)
    assert singles.record["stepped_as"] == "gymnasium"
    assert run.curve.tolist() == singles.curve.tolist()
    assert len(run.evaluate(episodes=3)) > 0
    longer = small("random-probe", **options | {"steps": 240})
    at_once = small("random-probe", **options | {"steps": 240}, out=tmp_path / "b")
    assert longer.curve.tolist() == at_once.curve.tolist()


def test_only_the_seed_that_raises_fails(small: Callable[..., Run]) -> None:
    with pytest.warns(RlkitWarning, match="1 of 3 seeds"):
        run = small(
            "random-probe", environment=HERE + "Endless", env_args={"fault": "x"}, **OPTIONS
        )
    assert list(run.failures) == [1]
    assert "step raised ZeroDivisionError('in a kernel')" in run.failures[1]
