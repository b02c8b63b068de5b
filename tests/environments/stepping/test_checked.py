"""What goes wrong in one environment, as a sentence."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit.environments.stepping.checked import CheckedEnv, Problem
from tests.faulty_envs import Counter, OldGym, RaisesWhenRead, Replaced, ResetWithoutSeed
from tests.probe_envs import Fatal, Unpicklable


class Raises(Counter):
    def __init__(self, make: Callable[[], BaseException]) -> None:
        super().__init__()
        self.make = make

    def step(self, action: Any) -> Any:
        raise self.make()


def problem(env: Any) -> Problem:
    checked = CheckedEnv(env, "Named")
    try:
        checked.reset(3)
        for _ in range(4):
            checked.step(np.int64(1))
    except Problem as error:
        return error
    raise AssertionError("nothing went wrong")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ValueError("over"), "ValueError('over')"),
        (lambda: Unpicklable("over"), "Unpicklable('over')"),
        (Fatal, "an object of type Fatal"),
        (lambda: SystemExit(0), "SystemExit(0)"),
        (GeneratorExit, "GeneratorExit()"),
        (asyncio.CancelledError, "CancelledError()"),
        (lambda: ValueError("two\nlines" + "x" * 10_000), "ValueError('two\\nlines"),
    ],
)
def test_whatever_step_raises_is_a_problem_with_its_innermost_frame(
    make: Callable[[], BaseException], text: str
) -> None:
    caught = problem(Raises(make))
    assert str(caught).startswith(f"step(1) raised {text}")
    assert " at test_checked.py:" in str(caught)
    assert str(caught).endswith("in step")
    assert "raise self.make()" in caught.trace
    assert len(str(caught)) < 400
    assert not caught.is_fault
    again = pickle.loads(pickle.dumps(caught))
    assert (str(again), again.is_fault, again.trace) == (str(caught), False, caught.trace)


def test_ctrl_c_is_no_problem_of_the_environment() -> None:
    env = CheckedEnv(Raises(KeyboardInterrupt), "Named")
    env.reset(0)
    with pytest.raises(KeyboardInterrupt):
        env.step(0)


@pytest.mark.parametrize(
    ("env", "text", "is_fault"),
    [
        (OldGym(), "returned a tuple of 4", True),
        (Replaced(2, reward="1"), "the reward is '1' of type str", True),
        (ResetWithoutSeed(), "must accept the keyword `seed`", False),
    ],
)
def test_a_wrong_result_is_told_from_an_exception(env: Any, text: str, is_fault: bool) -> None:
    caught = problem(env)
    assert text in str(caught)
    assert caught.is_fault == is_fault


class TupleThatRaises(tuple[Any, ...]):
    def __len__(self) -> int:
        raise RuntimeError("unread")


class DictThatRaises(dict[str, Any]):
    def _raise(self, *args: Any) -> Any:
        raise RuntimeError("unread")

    __getitem__ = __contains__ = __iter__ = keys = _raise  # type: ignore[assignment]


TENSOR = torch.ones(2, requires_grad=True)
IN_DICT = spaces.Dict(x=spaces.Box(-1.0, 1.0, (2,)))
IN_TUPLE = spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)])


@pytest.mark.trap("F49")
@pytest.mark.parametrize(
    ("space", "parts"),
    [
        (None, {"obs": TENSOR}),
        (None, {"obs": RaisesWhenRead()}),
        (None, {"obs": RaisesWhenRead(MemoryError("unread"))}),
        (None, {"obs": RaisesWhenRead(SystemExit("unread"))}),
        (None, {"info": DictThatRaises()}),
        (None, {"info": {"action_mask": RaisesWhenRead()}}),
        (None, {"info": {"action_mask": (RaisesWhenRead(), RaisesWhenRead())}}),
        (IN_DICT, {"obs": DictThatRaises(x=np.zeros(2))}),
        (IN_DICT, {"obs": {"x": TENSOR}}),
        (IN_TUPLE, {"obs": (TENSOR, 0)}),
        (IN_TUPLE, {"obs": TupleThatRaises((np.zeros(2), 0))}),
        (spaces.Discrete(2), {"obs": TENSOR[0]}),
        (spaces.MultiDiscrete([2, 2]), {"obs": TENSOR}),
    ],
)
def test_a_result_that_raises_when_it_is_read_is_a_problem_that_says_so(
    space: spaces.Space[Any] | None, parts: dict[str, Any]
) -> None:
    env = Replaced(1, **parts)
    if space is not None:
        env.observation_space = space
        env.observe = space.sample  # type: ignore[method-assign]
    env.reset = lambda **options: (Counter.reset(env)[0], {"action_mask": [1, 1, 1]})  # type: ignore
    checked = CheckedEnv(env, "Named", action_masks="info" in parts)
    checked.reset(0)
    with pytest.raises(
        Problem, match=r"^(reading what step\(1\) returned|action_masks\(\)) raised .* at .*py"
    ) as caught:
        checked.step(np.int64(1))
    assert ("unread" in str(caught.value)) != ("requires grad" in str(caught.value))
    assert not caught.value.is_fault
    assert caught.value.trace


@pytest.mark.trap("F49")
@pytest.mark.parametrize("part", ["reward", "terminated", "truncated"])
def test_a_number_that_raises_when_it_is_read_or_shown_is_a_fault(part: str) -> None:
    caught = problem(Replaced(2, **{part: RaisesWhenRead()}))
    assert f"{part}" in str(caught)
    assert "an object of type RaisesWhenRead" in str(caught)
    assert caught.is_fault


@pytest.mark.trap("F49")
def test_a_reset_whose_result_raises_when_it_is_read_is_a_problem() -> None:
    env = Counter()
    env.reset = lambda **options: (TENSOR, {})  # type: ignore
    with pytest.raises(
        Problem, match=r"^reading what reset\(seed=3\) returned raised Runtime.*grad"
    ):
        CheckedEnv(env, "Named").reset(3)


def test_a_step_is_converted_to_plain_values() -> None:
    env = CheckedEnv(Replaced(1, obs=[1, 2], reward=np.float32(0.5), terminated=1), "Named")
    env.reset(0)
    obs, reward, terminated, truncated, mask = env.step(np.int64(2))
    assert mask is None
    assert (obs.dtype, obs.tolist()) == (np.float32, [1.0, 2.0])
    assert (reward, terminated, truncated) == (0.5, True, False)
    assert (type(reward), type(terminated)) == (float, bool)


class ChangesSpaces(Counter):
    """A reset replaces a space, or makes an equal one."""

    def __init__(self, name: str, space: spaces.Space[Any] | None) -> None:
        super().__init__()
        self.name, self.space = name, space

    def reset(self, **options: Any) -> Any:
        setattr(self, self.name, self.space)
        return super().reset(**options)


@pytest.mark.trap("F49")
@pytest.mark.parametrize(
    ("name", "space", "text"),
    [
        ("action_space", spaces.Discrete(4), r"from Discrete\(3\) to Discrete\(4\)"),
        ("action_space", spaces.Discrete(3, start=1), "reset changed the action space"),
        ("observation_space", spaces.Box(-1.0, 1e6, (2,)), "reset changed the observation space"),
        ("observation_space", None, "which is not a gymnasium space"),
    ],
)
def test_a_reset_that_changes_a_space_is_a_fault(
    name: str, space: spaces.Space[Any] | None, text: str
) -> None:
    env = CheckedEnv(ChangesSpaces(name, space), "Named")
    with pytest.raises(Problem, match=text) as caught:
        env.reset(0)
    assert caught.value.is_fault


def test_a_space_that_is_made_anew_each_time_is_the_same() -> None:
    CheckedEnv(ChangesSpaces("action_space", spaces.Discrete(3)), "Named").reset(0)


class Places(gym.Env[Any, Any]):
    """Returns its observations one after another, in the type given."""

    def __init__(self, own_type: Callable[[int], Any]) -> None:
        self.observation_space = spaces.Discrete(3, start=-1)
        self.action_space = spaces.Discrete(2)
        self._own_type, self._next = own_type, -1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._next = -1
        return self._own_type(-1), {}

    def step(self, action: Any) -> Any:
        self._next += 1
        return self._own_type(self._next), 0.0, False, False, {}


@pytest.mark.parametrize("own_type", [int, np.int64, np.int8, np.array])
def test_discrete_observations_are_counted_from_zero_at_reset_and_step(own_type: Any) -> None:
    env = CheckedEnv(Places(own_type), "Places")
    assert [int(env.reset(0).obs), int(env.step(0).obs), int(env.step(0).obs)] == [0, 1, 2]
    with pytest.raises(Problem, match=r"the observation 2 is not in Discrete\(3, start=-1\)"):
        env.step(0)
