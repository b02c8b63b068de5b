"""Gymnasium environments as a grid [S, N]: what is passed on, what is refused, what is resumed."""

from __future__ import annotations

import ctypes
import random
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from rlkit.agent import Task
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.agents.random import Random, RandomConfig
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment
from rlkit.errors import EnvironmentFault, RlkitWarning, SeedError, UsageError
from rlkit.loop import interact
from rlkit.runs.restore import join_states
from rlkit.seeding import SeedStreams
from tests.faulty_envs import (
    Counter,
    Drifting,
    NamedError,
    NotDeterministic,
    OldGym,
    RaisesInClose,
    RaisesInInit,
    RaisesInReset,
    RaisesInStep,
    Recorder,
    Replaced,
    ResetsTo,
    ResetWithoutSeed,
    ReusesBuffer,
    Shifted,
)

NAN, INF = float("nan"), float("inf")


def streams(*indices: int, experiment: int = 0) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(experiment, index) for index in indices)


def grid(
    make: Callable[[], Any], num_seeds: int = 2, num_envs: int = 3, **options: Any
) -> GymBatchEnv:
    return GymBatchEnv(make, streams(*range(num_seeds)), num_envs, **options)


def zeros(env: GymBatchEnv) -> Any:
    return np.zeros((env.num_seeds, env.num_envs), dtype=np.int64)


def run(env: GymBatchEnv, num_steps: int) -> list[Any]:
    env.reset()
    return [env.step(zeros(env)) for _ in range(num_steps)]


def failure(make: Callable[[], Any], num_steps: int = 4, **options: Any) -> SeedError:
    """The error of the first seed, which is number 7 of its experiment."""
    env = GymBatchEnv(make, streams(7), 1, **options)
    with pytest.raises(SeedError) as caught:
        run(env, num_steps)
    env.close()
    return caught.value


# --- transitions ----------------------------------------------------------------------------------


@pytest.mark.trap("T3")
@pytest.mark.parametrize("cuts", [False, True])
def test_every_transition_is_a_real_step_and_shows_the_true_successor(cuts: bool) -> None:
    made = Recorder(lambda: Counter(3, cuts=cuts))
    env = grid(made)
    obs = env.reset()
    assert (obs[..., 0] == 0).all()
    for t in range(1, 10):
        reward, terminated, truncated, next_obs, obs = env.step(zeros(env))
        number = (t - 1) % 3 + 1
        last = number == 3
        assert (reward == number).all()
        assert (next_obs[..., 0] == number).all()
        assert (obs[..., 0] == (0 if last else number)).all()
        assert (terminated == (last and not cuts)).all()
        assert (truncated == (last and cuts)).all()
    for single in made.made:
        assert single.num_steps == 9  # with a reset step of its own it would be 7
        assert single.violations == 0


@pytest.mark.trap("T12")
def test_the_same_grid_with_a_reset_step_of_its_own_would_lose_transitions() -> None:
    # Gymnasium's default for vector environments, the mode that is avoided here.
    made = Recorder(lambda: Counter(3))
    envs = gym.vector.SyncVectorEnv([made])
    envs.reset(seed=[0])
    for _ in range(9):
        envs.step(np.array([0]))
    assert made.made[-1].num_steps == 7
    envs.close()


@pytest.mark.trap("T4")
def test_both_flags_at_once_are_passed_on() -> None:
    step = run(grid(lambda: Replaced(2, terminated=True, truncated=True)), 2)[-1]
    assert step.terminated.all()
    assert step.truncated.all()
    assert (step.next_obs[..., 0] == 2).all()
    assert (step.following_obs[..., 0] == 0).all()


def test_arrays_handed_out_do_not_change_later() -> None:
    env = grid(lambda: ReusesBuffer(4))
    handed = [env.reset()]
    copies = [handed[0].copy()]
    for _ in range(9):
        step = env.step(zeros(env))
        handed += list(step)
        copies += [part.copy() for part in step]
    for now, then in zip(handed, copies, strict=True):
        assert now.tobytes() == then.tobytes()


@pytest.mark.trap("T75", "F46")
def test_an_environment_with_one_buffer_gives_the_transitions_of_one_without() -> None:
    for a, b in zip(
        run(grid(lambda: ReusesBuffer(4)), 9), run(grid(lambda: Counter(4)), 9), strict=True
    ):
        assert all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.mark.trap("F42")
@pytest.mark.parametrize("length", [1, 2])
def test_episodes_of_one_step_work(length: int) -> None:
    made = Recorder(lambda: Counter(length, cuts=True))
    steps = run(grid(made), 6)
    assert sum(step.truncated.all() for step in steps) == 6 // length
    assert all(single.violations == 0 for single in made.made)


@pytest.mark.trap("T74")
def test_without_autoreset_an_ended_environment_stays_as_it_is() -> None:
    lengths = iter([2, 4, 3, 2, 4, 3])
    made = Recorder(lambda: Counter(next(lengths)))
    env = grid(made, autoreset=False)
    env.reset()
    assert not env.ended.any()
    length = np.array([[2, 4, 3], [2, 4, 3]])
    for t in range(1, 6):
        reward, terminated, truncated, next_obs, obs = env.step(zeros(env))
        assert (reward == np.where(t <= length, t, 0)).all()
        assert (terminated == (t == length)).all()
        assert not truncated.any()
        assert (next_obs[..., 0] == np.minimum(t, length)).all()
        assert (obs == next_obs).all()
        assert (env.ended == (t >= length)).all()
    for single in made.made:
        assert single.num_steps == single.length
        assert single.violations == 0
        assert len(single.seeds) == 1


# --- seeds ----------------------------------------------------------------------------------------


@pytest.mark.trap("T20")
def test_every_reset_gets_a_python_integer_of_its_own() -> None:
    made = Recorder(lambda: Counter(2))
    run(grid(made, 3, 4), 6)
    seeds = [seed for single in made.made for seed in single.seeds]
    assert len(seeds) == 3 * 4 * 4
    assert len(set(seeds)) == len(seeds)
    assert all(type(seed) is int and seed >= 0 for seed in seeds)


def test_resets_take_the_seeds_that_other_generators_take() -> None:
    class SeedsEverything(Counter):
        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
            np.random.seed(seed)  # noqa: NPY002 (what simulators do)
            random.seed(seed)
            assert ctypes.c_int32(seed).value == np.int32(seed) == seed
            return super().reset(seed=seed)

    state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        run(grid(lambda: SeedsEverything(2), 5, 4), 20)
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(python_state)


def test_with_an_offset_copies_play_the_episodes_of_later_copies() -> None:
    """What the eight copies of one grid play, two copies play in four parts."""

    def played(env: GymBatchEnv, env_offset: int) -> Any:
        parts = [env.reset(env_offset=env_offset)]
        parts += [env.step(zeros(env)).next_obs for _ in range(7)]  # over the end of episode 0
        return np.stack(parts)

    whole, few = grid(lambda: Drifting(5), 2, 8), grid(lambda: Drifting(5), 2, 2)
    together = played(whole, 0)
    for first in (4, 0, 2, 6):
        assert played(few, first).tobytes() == together[:, :, first : first + 2].tobytes()
    assert len({together[:, s, n].tobytes() for s in range(2) for n in range(8)}) == 16


@pytest.mark.trap("T18")
def test_first_observations_of_the_environments_of_a_seed_differ() -> None:
    env = grid(lambda: gym.make("CartPole-v1", disable_env_checker=True), 1, 4)
    assert len({obs.tobytes() for obs in env.reset()[0]}) == 4
    env.close()


def test_a_seed_sees_the_same_alone_and_among_others() -> None:
    alone = GymBatchEnv(lambda: Drifting(4), streams(5), 3)
    among = GymBatchEnv(lambda: Drifting(4), streams(0, 5, 9), 3)
    assert alone.reset()[0].tobytes() == among.reset()[1].tobytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.integers(3, size=(3, 3))
        for a, b in zip(alone.step(actions[1:2]), among.step(actions), strict=True):
            assert a[0].tobytes() == b[1].tobytes()


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.trap("T72")
def test_discrete_actions_arrive_as_python_integers() -> None:
    made = Recorder(lambda: Counter(3))
    run(grid(made), 3)
    assert all(type(action) is int for single in made.made for action in single.actions)


def test_frozen_lake_takes_the_actions_of_the_grid() -> None:
    env = grid(lambda: gym.make("FrozenLake-v1", disable_env_checker=True))
    run(env, 20)
    env.close()


@pytest.mark.trap("T70", "F43")
def test_a_space_that_starts_elsewhere_is_shifted_both_ways() -> None:
    made = Recorder(lambda: Shifted(4, -1))
    env = grid(made, 1, 3)
    assert (env.reset() == 0).all()
    obs = env.step(np.array([[0, 1, 2]])).following_obs
    assert [single.actions for single in made.made] == [[-1], [0], [1]]
    assert obs.tolist() == [[3, 0, 1]]


@pytest.mark.trap("T73")
@pytest.mark.parametrize(("n", "start"), [(120, -100), (1, 0), (1, -5), (3, 125)])
def test_observations_of_a_small_type_do_not_overflow_when_shifted(n: int, start: int) -> None:
    env = grid(lambda: Shifted(n, start, np.int8), 1, 1)
    seen = [int(env.reset()[0, 0])]
    for _ in range(n + 1):
        seen.append(
            int(env.step(np.array([[0]])).following_obs[0, 0])
        )  # one step backwards round the ring
    assert seen == [-k % n for k in range(n + 2)]


@pytest.mark.trap("F43")
def test_an_unsigned_discrete_space_works() -> None:
    env = grid(lambda: Shifted(4, 0, np.uint8), 1, 1)
    env.reset()
    assert env.step(np.array([[0]])).following_obs.tolist() == [[3]]


@pytest.mark.trap("T27")
def test_box_actions_are_clipped_and_of_the_spaces_type() -> None:
    space = spaces.Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32))
    made = Recorder(lambda: Counter(3, action_space=space))
    env = grid(made, 1, 2)
    env.reset()
    actions = np.array([[[-3.0, -3.0], [0.5, 1e6]]])
    given = actions.copy()
    env.step(actions)
    assert [single.actions[0].tolist() for single in made.made] == [[-1, 0], [0.5, 1e6]]
    assert all(single.actions[0].dtype == np.float32 for single in made.made)
    assert actions.tobytes() == given.tobytes()  # what the agent stored is the raw action


# --- values that are converted, and values that are refused ---------------------------------------

GOOD_REWARDS = [2, True, np.float32(2.5), np.array(2.5), np.int8(-3), 1e30]
BAD_REWARDS = [
    np.array([1.0]),
    None,
    "1",
    {},
    [1.0],
    [[1.0], [1.0, 2.0]],
    object(),
    1j,
]


@pytest.mark.trap("T69", "F37")
@pytest.mark.parametrize("reward", GOOD_REWARDS, ids=repr)
def test_numbers_are_taken_as_rewards(reward: Any) -> None:
    step = run(grid(lambda: Replaced(1, reward=reward)), 1)[0]
    assert step.reward.dtype == np.float64
    assert (step.reward == float(reward)).all()


@pytest.mark.trap("F37")
@pytest.mark.parametrize("reward", BAD_REWARDS)
def test_anything_else_is_rejected_as_reward_naming_its_type(reward: Any) -> None:
    error = failure(lambda: Replaced(3, reward=reward))
    assert isinstance(error, EnvironmentFault)
    assert "reward" in str(error)
    kind = "array of shape (1,)" if isinstance(reward, np.ndarray) else type(reward).__name__
    assert kind in str(error)
    assert "expected a number" in str(error)


GOOD_OBS = [
    np.array([1.0, 2.0]),  # float64
    np.array([1, 2], dtype=np.int16),
    [1.0, 2.0],
    (1, 2),
    [np.float64(1), True],
]


@pytest.mark.trap("T69", "F38")
@pytest.mark.parametrize("obs", GOOD_OBS, ids=repr)
def test_observations_are_converted_to_the_type_of_the_space(obs: Any) -> None:
    step = run(grid(lambda: Replaced(1, obs=obs)), 1)[0]
    assert step.following_obs.dtype == np.float32
    assert (step.following_obs == np.asarray(obs, dtype=np.float32)).all()


BAD_OBS = [
    3.0,
    np.zeros(3),
    np.zeros((1, 2)),
    None,
    "ab",
    {"a": 1},
    [[1.0], [1.0, 2.0]],
    np.array(["a", "b"]),
    np.array([1j, 2j]),
]


@pytest.mark.trap("F38")
@pytest.mark.parametrize("obs", BAD_OBS, ids=repr)
def test_observations_of_another_form_are_rejected(obs: Any) -> None:
    for make, step in (
        (lambda: Replaced(3, obs=obs), "step 3"),
        (lambda: ResetsTo(obs), "step 0"),
        (lambda: ResetsTo(obs, at=1), "episode 1, step 0"),
    ):
        error = failure(make)
        assert isinstance(error, EnvironmentFault)
        assert "observation" in str(error)
        assert step in str(error)


@pytest.mark.trap("F38")
@pytest.mark.parametrize("obs", [-2, 3, 1.5, NAN, INF, None, np.array([1])], ids=repr)
def test_discrete_observations_outside_of_the_space_are_rejected(obs: Any) -> None:
    class Wrong(Shifted):
        def observe(self) -> Any:
            return obs if self.x else -1

    error = failure(lambda: Wrong(4, -1))
    assert isinstance(error, EnvironmentFault)
    assert "observation" in str(error)


class Image(gym.Env[Any, Any]):
    observation_space = spaces.Box(0, 255, (2,), np.uint8)
    action_space = spaces.Discrete(2)

    def __init__(self, obs: Any) -> None:
        self.obs = obs

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros(2, np.uint8), {}

    def step(self, action: Any) -> Any:
        return self.obs, 0.0, False, False, {}


def test_whole_numbers_are_converted_to_an_integer_space() -> None:
    for obs in ([3, 255], np.array([3.0, 255.0]), np.array([3, 255], dtype=np.uint8)):
        step = run(grid(lambda obs=obs: Image(obs)), 1)[0]
        assert step.following_obs.dtype == np.uint8
        assert (step.following_obs == [3, 255]).all()


@pytest.mark.parametrize("obs", [[0, 256], [-1, 0], [0.5, 1.0], [NAN, 0.0], [INF, 0.0]], ids=repr)
def test_numbers_that_an_integer_space_cannot_hold_are_rejected(obs: Any) -> None:
    error = failure(lambda: Image(np.array(obs)))
    assert isinstance(error, EnvironmentFault)
    assert "uint8" in str(error)


FLAGS = [
    *((np.bool_(True), True), (np.False_, False), (1, True), (0, False)),
    *((dtype(value), bool(value)) for dtype in (np.int64, np.int8, np.uint8) for value in (0, 1)),
    *((np.array(value), bool(value)) for value in (True, False, 0, 1)),
    *((torch.tensor(value), bool(value)) for value in (True, False, 1)),
]


@pytest.mark.trap("T69", "F39")
@pytest.mark.parametrize(("flag", "expected"), FLAGS)
def test_flags_are_converted_to_bool(flag: Any, expected: bool) -> None:
    for name in ("terminated", "truncated"):
        step = run(grid(lambda name=name: Replaced(2, **{name: flag})), 2)[-1]
        assert getattr(step, name).dtype == bool
        assert (getattr(step, name) == expected).all()


@pytest.mark.trap("F39")
@pytest.mark.parametrize(
    "flag",
    [
        *(None, "no", "", 1.0, 0.0, np.float32(1), np.array(1.0), np.array([True]), np.zeros(2)),
        *([], [True], (), {}, [[1], [1, 2]], np.array(None), np.str_("True"), 1j, object()),
    ],
    ids=lambda flag: f"{type(flag).__name__}-{flag!r}"[:20],
)
@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_other_flags_are_rejected_by_name(name: str, flag: Any) -> None:
    error = failure(lambda: Replaced(3, **{name: flag}))
    assert isinstance(error, EnvironmentFault)
    assert f"`{name}`" in str(error)
    assert "expected a bool" in str(error)


@pytest.mark.trap("F40")
@pytest.mark.parametrize(
    "info", [None, "text", {"a": np.zeros(1000)}], ids=lambda i: type(i).__name__
)
def test_info_is_ignored(info: Any) -> None:
    assert (run(grid(lambda: Replaced(1, info=info)), 1)[0].reward == 1).all()


# --- NaN and infinity -----------------------------------------------------------------------------


@pytest.mark.trap("T68")
@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float64(NAN), np.float32(INF), np.array(NAN)])
def test_a_reward_that_is_not_finite_is_rejected_with_its_place(value: float) -> None:
    text = str(failure(lambda: Replaced(3, reward=value)))
    assert "reward" in text
    for part in ("seed 7", "Replaced", "copy 0", "episode 0", "step 3", "action 0", str(value)):
        assert part in text, text


@pytest.mark.trap("F36")
@pytest.mark.parametrize("value", [NAN, INF])
def test_an_observation_that_is_not_finite_is_rejected_with_its_entry(value: float) -> None:
    bad = np.array([1.0, value])
    for make, place in (
        (lambda: Replaced(3, obs=bad), "step 3, action 0"),
        (lambda: Replaced(3, obs=bad, terminated=True), "step 3, action 0"),  # the final one
        (lambda: Replaced(3, obs=bad, truncated=True), "step 3, action 0"),
        (lambda: ResetsTo(bad), "episode 0, step 0"),
        (lambda: ResetsTo(bad, at=1), "episode 1, step 0"),
    ):
        error = failure(make)
        assert isinstance(error, EnvironmentFault)
        assert place in str(error)
        assert "entry [1]" in str(error)


@pytest.mark.trap("F36")
def test_the_one_faulty_environment_of_a_grid_is_named() -> None:
    makes = iter([Counter] * 5 + [lambda: Replaced(2, reward=NAN)] + [Counter] * 2)
    env = GymBatchEnv(lambda: next(makes)(), streams(3, 8), 4)
    env.reset()
    env.step(np.full((2, 4), 2))
    with pytest.raises(EnvironmentFault) as caught:
        env.step(np.full((2, 4), 2))
    assert caught.value.seed == 8
    assert "copy 1" in str(caught.value)
    assert "step 2, action 2" in str(caught.value)


@pytest.mark.trap("T68", "F36")
def test_nan_reaches_neither_weights_nor_statistics() -> None:
    env = grid(lambda: Replaced(3, obs=np.array([NAN, 1.0])), 1, 2)
    task = Task(env.observation_space, env.action_space, streams(0), 2, 1000)
    agent = PPO(task, PPOConfig(rollout_length=2, normalise_observations=True))
    before: dict[str, Any] = {}

    def learn() -> None:
        for _ in interact(agent, env, 100):
            before.update(agent.state_dict())

    with pytest.raises(EnvironmentFault):
        learn()
    after = agent.state_dict()
    # The action of the failing step was chosen; what can be learned from is as it was.
    for name in ("parameters", "adam_m", "adam_v"):
        assert after[name].tobytes() == before[name].tobytes()
    assert all(np.isfinite(after[name]).all() for name in after)


# --- exceptions and old interfaces ----------------------------------------------------------------


@pytest.mark.trap("F31")
def test_an_exception_in_step_names_the_place_and_keeps_its_cause() -> None:
    env = GymBatchEnv(lambda: RaisesInStep(3), streams(7), 2)
    env.reset()
    env.step(np.array([[1, 2]]))
    env.step(np.array([[1, 2]]))
    with pytest.raises(SeedError) as caught:
        env.step(np.array([[1, 2]]))
    assert isinstance(caught.value.__cause__, NamedError)
    assert caught.value.seed == 7
    for part in ("seed 7", "RaisesInStep", "copy 0", "episode 0", "step 3", "action 1", "broke"):
        assert part in str(caught.value)


@pytest.mark.trap("F35")
def test_an_exception_in_a_later_reset_names_the_episode() -> None:
    error = failure(lambda: RaisesInReset(1))
    assert isinstance(error.__cause__, NamedError)
    assert "episode 1, step 0" in str(error)
    assert "reset(seed=" in str(error)


@pytest.mark.trap("F35")
def test_an_exception_in_a_constructor_names_the_environment() -> None:
    with pytest.raises(UsageError, match=r"RaisesInInit.*broke") as caught:
        find_environment(RaisesInInit)
    assert isinstance(caught.value.__cause__, NamedError)


@pytest.mark.trap("F41")
def test_the_old_gym_interface_is_named_with_its_remedy() -> None:
    assert "terminated" in str(failure(OldGym))
    assert "four values" in str(failure(OldGym))
    assert "`seed`" in str(failure(ResetWithoutSeed))
    assert "(observation, info)" in str(failure(lambda: ResetsTo(lambda: np.zeros(2))))


UNSUPPORTED = [
    spaces.Text(4),
    spaces.Graph(spaces.Discrete(2), None),
    spaces.Sequence(spaces.Discrete(2)),
    spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))),
    spaces.MultiDiscrete([10**9, 2]),
    spaces.Tuple(()),
    spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple((spaces.Text(4),))),
]


@pytest.mark.trap("T71", "F44")
@pytest.mark.parametrize(
    ("role", "space"),
    [
        *(("action", space) for space in UNSUPPORTED),
        *(("observation", space) for space in UNSUPPORTED),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_unsupported_spaces_are_rejected_by_name_with_a_remedy(role: str, space: Any) -> None:
    def make() -> Any:
        env = Counter()
        setattr(env, f"{role}_space", space)
        return env

    made = Recorder(make)
    with pytest.raises(UsageError) as caught:
        grid(made)
    assert type(space).__name__ in str(caught.value)
    assert f"{role} space" in str(caught.value)
    assert "Wrap it" in str(caught.value)
    assert all(single.num_closed == 1 for single in made.made)


@pytest.mark.trap("F45")
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(2.0, 2.0, (3,), np.float32),
        spaces.Box(-1, 1, (3,), np.float16),
        spaces.Box(-1, 1, (2, 3), np.float64),
        spaces.Box(0, 255, (3,), np.uint8),
        spaces.Box(np.array([-1, -np.inf]), np.array([1, np.inf]), dtype=np.float64),
    ],
    ids=str,
)
def test_unusual_boxes_give_finite_actions(space: Any) -> None:
    made = Recorder(lambda: Counter(3, action_space=space))
    env = grid(made, 1, 2)
    task = Task(env.observation_space, env.action_space, streams(0), 2, 100)
    for agent in (Random(task, RandomConfig()), PPO(task, PPOConfig(rollout_length=4))):
        for _ in interact(agent, env, 8):
            pass
    for single in made.made:
        assert all(action in space for action in single.actions)


# --- close ----------------------------------------------------------------------------------------


@pytest.mark.trap("T77", "F52")
def test_close_reaches_every_environment_once_however_often_it_is_called() -> None:
    made = Recorder(Counter)
    env = grid(made)
    run(env, 3)
    env.close()
    env.close()
    assert [single.num_closed for single in made.made] == [1] * 6


def test_close_before_the_first_reset_works() -> None:
    made = Recorder(Counter)
    grid(made).close()
    assert [single.num_closed for single in made.made] == [1] * 6


@pytest.mark.trap("T77", "F52")
def test_close_after_an_exception_reaches_every_environment_once() -> None:
    made = Recorder(lambda: RaisesInStep(2))
    env = grid(made)
    with pytest.raises(SeedError):
        run(env, 5)
    env.close()
    env.close()
    assert [single.num_closed for single in made.made] == [1] * 6


@pytest.mark.trap("F35")
def test_an_exception_in_close_is_reported_and_stops_nothing() -> None:
    made = Recorder(RaisesInClose)
    env = grid(made, 1, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env.close()
        env.close()
    assert [single.num_closed for single in made.made] == [1, 1, 1]
    assert len(caught) == 3
    assert all(warning.category is RlkitWarning for warning in caught)
    assert "RaisesInClose" in str(caught[1].message)
    assert "broke" in str(caught[1].message)


# --- states ---------------------------------------------------------------------------------------

BUILT_IN = {"CartPole", "Acrobot", "MountainCar", "Pendulum", "FrozenLake", "Taxi", "CliffWalking"}
ENVIRONMENTS: dict[str, Callable[[], Any]] = {
    "drifting": lambda: TimeLimit(Drifting(7), 5),
    "drifting-box": lambda: Drifting(7, action_space=spaces.Box(-1, 1, (2,), np.float32)),
    "shifted": lambda: TimeLimit(Shifted(), 6),
    **{
        env_id: lambda env_id=env_id: gym.make(env_id, disable_env_checker=True)
        for env_id in gym.registry
        if env_id.split("-v")[0] in BUILT_IN and env_id != "CartPole-v0"  # out of date
    },
}


def random_actions(env: GymBatchEnv, rng: np.random.Generator) -> Any:
    shape = (env.num_seeds, env.num_envs)
    if isinstance(env.action_space, spaces.Discrete):
        return rng.integers(int(env.action_space.n), size=shape)
    return rng.standard_normal((*shape, *(env.action_space.shape or ()))).astype(np.float32)


@pytest.mark.trap("T76", "F48")
@pytest.mark.slow
@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_state_from_the_middle_of_an_episode_continues_bit_for_bit(
    name: str, autoreset: bool
) -> None:
    first = grid(ENVIRONMENTS[name], autoreset=autoreset)
    rng = np.random.default_rng(0)
    first.reset()
    for _ in range(13):
        first.step(random_actions(first, rng))
    state = first.state_dict()
    second = grid(ENVIRONMENTS[name], autoreset=autoreset)
    second.load_state_dict(state)
    assert second.exact_resume
    assert (second.ended == first.ended).all()
    for _ in range(25):
        actions = random_actions(first, rng)
        for a, b in zip(first.step(actions), second.step(actions), strict=True):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes()
    for key, value in first.state_dict().items():
        for a, b in zip(value, second.state_dict()[key], strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), key
    first.close()
    second.close()


def test_a_state_right_after_reset_continues() -> None:
    first, second = grid(lambda: Drifting(7)), grid(lambda: Drifting(7))
    first.reset()
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.step(zeros(first)), second.step(zeros(first)), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["episode", "num_actions", "actions"])
def test_each_entry_of_the_state_is_needed(name: str) -> None:
    first, second = grid(lambda: Drifting(4)), grid(lambda: Drifting(4))
    first.reset()
    for _ in range(6):
        first.step(zeros(first) + 2)
    state = first.state_dict()
    state[name] = [np.zeros_like(part) for part in state[name]]
    second.load_state_dict(state)
    # Either it is noticed at once, or what comes next differs.
    assert not second.exact_resume


@pytest.mark.parametrize("name", ["drifting", "drifting-box"])
def test_states_of_seeds_from_different_groups_can_be_joined(name: str) -> None:
    rng = np.random.default_rng(1)
    whole = GymBatchEnv(ENVIRONMENTS[name], streams(0, 1, 2), 2)
    parts = [
        GymBatchEnv(ENVIRONMENTS[name], streams(0, 2), 2),
        GymBatchEnv(ENVIRONMENTS[name], streams(1), 2),
    ]
    for env in (whole, *parts):
        env.reset()
    for _ in range(5):
        actions = random_actions(whole, rng)
        whole.step(actions)
        parts[0].step(actions[[0, 2]])
        parts[1].step(actions[1:2])
    states = [env.state_dict() for env in parts]
    # The length that actions are padded to may differ from seed to seed.
    states[0] |= {"actions": [np.concatenate([part] * 2, axis=1) for part in states[0]["actions"]]}
    own = [
        {key: np.asarray(value[row]) for key, value in states[part].items()}
        for part, row in ((0, 0), (1, 0), (0, 1))
    ]
    joined = GymBatchEnv(ENVIRONMENTS[name], streams(0, 1, 2), 2)
    joined.load_state_dict(join_states(own))  # type: ignore[arg-type]
    assert joined.exact_resume
    for _ in range(10):
        actions = random_actions(whole, rng)
        for a, b in zip(whole.step(actions), joined.step(actions), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.trap("F47")
def test_an_environment_that_ignores_its_seed_is_detected_on_loading() -> None:
    first, second = (
        grid(lambda: NotDeterministic(50), 2, 8),
        grid(lambda: NotDeterministic(50), 2, 8),
    )
    run(first, 3)
    assert first.exact_resume
    second.load_state_dict(first.state_dict())
    assert not second.exact_resume


# --- twins ----------------------------------------------------------------------------------------


@pytest.mark.trap("T15")
@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_training_on_a_native_twin_gives_the_bytes_of_gymnasiums_own(env_id: str) -> None:
    environment = find_environment(env_id)
    assert environment.kind == "native"
    results = []
    for kind in ("native", "gymnasium"):
        env = environment.grid(streams(0, 3), 2, kind=kind)
        task = Task(env.observation_space, env.action_space, streams(0, 3), 2, 600)
        config = PPOConfig(rollout_length=32, hidden_sizes=(8,), normalise_observations=True)
        agent = PPO(task, config)
        record = []
        for transition, _ in interact(agent, env, 300):
            record += [np.asarray(part).tobytes() for part in transition]
        results.append((record, agent.state_dict()["parameters"].tobytes()))
        env.close()
    assert results[0] == results[1]


# --- action masks ---------------------------------------------------------------------------------


class OffersMasks(Counter):
    """Offers masks of 3 actions; that of step `at` is given, or left out if it is ...."""

    def __init__(self, at: int, mask: Any, length: int = 5, *, cuts: bool = False) -> None:
        super().__init__(length, cuts=cuts)
        self.at, self.mask = at, mask

    def info(self) -> dict[str, Any]:
        mask = self.mask if self.t == self.at else [True, self.t % 2 == 0, False]
        return {} if mask is ... else {"action_mask": mask}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0], self.info()

    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], self.info()


def masked(make: Callable[[], Any], **options: Any) -> GymBatchEnv:
    return GymBatchEnv(make, streams(0, 1), 1, action_masks=True, **options)


def test_masks_belong_to_the_observations_beside_them() -> None:
    even, odd, both = [True, True, False], [True, False, False], [True, True, True]
    env = masked(lambda: OffersMasks(-1, None, 3))
    env.reset()
    seen = [(None, env.action_masks.tolist())]
    for _ in range(4):
        env.step(np.zeros((2, 1), int))
        seen.append((env.next_action_masks.tolist(), env.action_masks.tolist()))
    of = [(a and a[0][0], b[1][0]) for a, b in seen]
    # After a termination everything counts as allowed, and a new episode has its own first mask.
    assert of == [(None, even), (odd, odd), (even, even), (both, even), (odd, odd)]
    cut = masked(lambda: OffersMasks(-1, None, 1, cuts=True))
    cut.reset()
    cut.step(np.zeros((2, 1), int))
    assert cut.next_action_masks[0, 0].tolist() == odd  # a truncated episode has a mask at its end
    assert cut.action_masks[0, 0].tolist() == even
    assert GymBatchEnv(Counter, streams(0), 1).action_masks is None


@pytest.mark.parametrize("autoreset", [True, False])
def test_masks_are_there_again_after_resuming(autoreset: bool) -> None:
    env = masked(lambda: OffersMasks(-1, None, 3), autoreset=autoreset)
    env.reset()
    for _ in range(5):
        state, masks = env.state_dict(), env.action_masks
        other = masked(lambda: OffersMasks(-1, None, 3), autoreset=autoreset)
        other.load_state_dict(state)
        assert np.array_equal(other.action_masks, masks)
        env.step(np.zeros((2, 1), int))


@pytest.mark.parametrize(
    ("at", "mask", "place", "problem"),
    [
        (0, [1, 1], "episode 0, step 0: the action mask: info", "expected 3 booleans"),
        (2, [0, 0, 0], "episode 0, step 2, action 0: the action mask: info", "allows no action"),
        (2, ..., "episode 0, step 2, action 0: the action mask: there is no info", "every observ"),
        (5, [0, 0, 0], "", ""),  # nothing follows a termination
        (5, ..., "", ""),
    ],
)
def test_a_wrong_mask_is_a_fault_with_its_place(
    at: int, mask: Any, place: str, problem: str
) -> None:
    if not place:
        run(masked(lambda: OffersMasks(at, mask)), 5)
        return
    with pytest.raises(EnvironmentFault) as caught:
        run(masked(lambda: OffersMasks(at, mask)), 5)
    assert f"environment OffersMasks, copy 0, {place}" in str(caught.value)
    assert problem in str(caught.value)


def test_a_method_of_masks_that_raises_is_named_with_its_place() -> None:
    class Raises(Counter):
        def action_masks(self) -> Any:
            raise ZeroDivisionError("on purpose")

    with pytest.raises(
        SeedError, match=r"step 0: action_masks\(\) raised .*on purpose.* at test_gym"
    ):
        masked(Raises).reset()
