"""States that environments offer, as bytes and back."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments import gymnasium_adapter
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.repeatability import check_repeatability
from rlkit.environments.resolve import find_environment
from rlkit.environments.stepping.local import LocalCopies
from rlkit.environments.stepping.pool import Pool
from rlkit.environments.stepping.states import packed, unpacked, with_state
from rlkit.errors import EnvironmentFault
from rlkit.seeding import SeedStreams
from rlkit.training.train import train


class Endless(gym.Env[Any, Any]):
    """Walks at random and never ends; the actions push it."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.steps = 0.0, 0
        return np.array([self.x]), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.x += int(action) - 1 + self.np_random.normal()
        return np.array([self.x]), self.x, False, False, {}

    def get_state(self) -> Any:
        return {"x": self.x, "random": self.np_random.bit_generator.state}

    def set_state(self, state: Any) -> None:
        self.x = state["x"]
        self.np_random.bit_generator.state = state["random"]


class Forgetful(Endless):
    """Its state lacks the random generator."""

    def get_state(self) -> Any:
        return {"x": self.x}

    def set_state(self, state: Any) -> None:
        self.x = state["x"]


class Ignoring(Endless):
    """It does not set its state."""

    def set_state(self, state: Any) -> None:
        pass


class Live(Endless):
    """Its state is no data."""

    def get_state(self) -> Any:
        return {"x": self.x, "generators": [self.np_random]}


STREAMS = (SeedStreams(0, 0), SeedStreams(0, 1))


def grid(make: Any = Endless, **options: Any) -> GymBatchEnv:
    made = GymBatchEnv(make, STREAMS, 2, **options)
    made.long_episode = 20
    made.reset()
    return made


def played(env: GymBatchEnv, num_steps: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return np.array([env.step(rng.integers(3, size=(2, 2))).next_obs for _ in range(num_steps)])


@pytest.mark.parametrize(
    "state",
    [
        {"a": 1, "b": [2.5, (None, True, "é")], 3: b"\x00\xff", (1, 2): {}},
        np.random.default_rng(3).bit_generator.state,
        [np.arange(6.0).reshape(2, 3), np.array(["a", "bc"]), np.float32(1.5), np.zeros((0, 2))],
        float("inf"),
    ],
)
def test_data_comes_back_as_it_was(state: Any) -> None:
    again = unpacked(packed(state))
    assert packed(again) == packed(state)
    np.testing.assert_equal(again, state)
    assert type(again) is type(state)


def test_only_wrappers_without_a_state_are_looked_through() -> None:
    wrapped = gym.wrappers.OrderEnforcing(gym.wrappers.PassiveEnvChecker(Endless()))
    assert isinstance(with_state(wrapped), Endless)
    assert with_state(gym.wrappers.TimeLimit(Endless(), 5)) is None
    assert with_state(gym.make("CartPole-v1")) is None


@pytest.mark.parametrize("steps", [20, 21, 50])
def test_a_long_episode_resumes_from_its_state_without_its_actions(steps: int) -> None:
    env = grid()
    played(env, steps)
    state = env.state_dict()
    long = steps > 20
    assert np.array_equal(state["steps_before"], np.full((2, 2), steps * long))
    assert np.array_equal(state["num_actions"], np.full((2, 2), steps * (not long)))
    other = grid()
    steps_of_others = []
    step = Endless.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Endless, "step", lambda self, a: steps_of_others.append(a) or step(self, a))
        other.load_state_dict(state)
    assert len(steps_of_others) == (0 if long else 4 * steps)
    assert other.exact_resume
    for one in (env, other):
        assert one.state_dict()["steps_before"].tolist() == state["steps_before"].tolist()
    assert played(env, 30, 1).tobytes() == played(other, 30, 1).tobytes()
    assert f"step {steps + 30}" in env._place(0, 0)


def test_a_state_does_not_depend_on_when_others_were_kept() -> None:
    often, once = grid(), grid()
    for k in range(6):
        played(often, 10, k)
        often.state_dict()
        played(once, 10, k)
    a, b = often.state_dict(), once.state_dict()
    for name in a:
        np.testing.assert_equal(a[name], b[name])


def test_workers_keep_the_same_states() -> None:
    here = grid()
    pool = Pool(find_environment(f"{__file__}:Endless"), 2, 60.0)
    try:
        there = grid(make_copies=pool.copies)
        for env in (here, there):
            played(env, 30)
        state, of_workers = here.state_dict(), there.state_dict()
        for name in state:
            np.testing.assert_equal(of_workers[name], state[name])
        there.load_state_dict(state)
        assert there.exact_resume
        assert played(here, 5, 1).tobytes() == played(there, 5, 1).tobytes()
    finally:
        pool.close()


def test_a_checkpoint_without_states_is_played_again() -> None:
    env = grid()
    env._keeps_states = False  # as an older rlkit
    played(env, 30)
    state = env.state_dict()
    assert "states" not in state
    other = grid()
    other.load_state_dict(state)
    assert other.exact_resume
    assert other.state_dict().keys() == state.keys()
    assert played(env, 5, 1).tobytes() == played(other, 5, 1).tobytes()


def test_a_state_that_is_no_data_is_a_fault_with_its_place() -> None:
    env = grid(Live)
    played(env, 30)
    with pytest.raises(
        EnvironmentFault, match=r"step 30.*get_state: the state\['generators'\]\[0\]"
    ):
        env.state_dict()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Endless, None),
        (Forgetful, "the reward at step 1 was"),
        (Ignoring, "get_state returned another state"),
    ],
)
def test_a_state_that_does_not_bring_the_episode_back_is_not_reproducible(
    make: Any, problem: str | None
) -> None:
    found = check_repeatability(make, "Walk").problem
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem in found
        assert "set_state does not bring it back" in found


def test_masks_are_read_from_steps_so_that_no_state_is_kept() -> None:
    assert not GymBatchEnv(Endless, STREAMS, 2, action_masks=True).keeps_states


def test_a_run_of_one_endless_episode_is_continued_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gymnasium_adapter, "LONG_EPISODE", 30)
    options: Any = {"seeds": 2, "evaluate_every": 20, "evaluation_episodes": 0}
    whole = train("random", Endless, steps=120, out=tmp_path / "whole", **options)
    train("random", Endless, steps=80, out=tmp_path / "parts", **options)
    given: list[list[int]] = []
    restore = LocalCopies.restore

    def spied(self: LocalCopies, states: Any, ask: Any) -> Any:
        given.append(list(states))
        return restore(self, states, ask)

    monkeypatch.setattr(LocalCopies, "restore", spied)
    parts = train("random", Endless, steps=120, out=tmp_path / "parts", **options)
    assert parts.folder.name == whole.folder.name
    assert np.array_equal(parts.curve, whole.curve, equal_nan=True)
    assert [0, 1] in given
