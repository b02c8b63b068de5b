"""The batched twins against Gymnasium's own environments, bit for bit.

The oracle is `GymnasiumGrid`: one `gym.make` environment for every place of the grid, stepped in
a plain loop. `assert_equal_to_gymnasium` is the one checker; planted faults show what it catches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from rlkit_envs.acrobot import BatchedAcrobot
from rlkit_envs.batched import BatchedEnv
from rlkit_envs.cartpole import TIME_STEP, BatchedCartPole
from rlkit_envs.mountain_car import BatchedMountainCar
from rlkit_envs.pendulum import BatchedPendulum

Array = NDArray[Any]


def episode_seed(seed_index: int, env_index: int, episode: int) -> int:
    """Different for every episode of every place; some are wider than 64 bits."""
    return (seed_index * 1000 + env_index) * 100_000 + episode + (env_index % 2) * 2**70


# Policies under which episodes end by termination, or for CartPole by the time limit.


def balance(obs: Array) -> Array:
    return (obs[..., 2] + obs[..., 3] > 0).astype(np.int64)


def swing(obs: Array) -> Array:
    return np.where(obs[..., 5] > 0, 2, 0)


def climb(obs: Array) -> Array:
    return np.where(obs[..., 1] >= 0, 2, 0)


def pump(obs: Array) -> Array:
    return 2.0 * np.sign(obs[..., 2:3])


@dataclass(frozen=True)
class Case:
    env_id: str
    twin: Callable[..., BatchedEnv]
    policy: Callable[[Array], Array]
    kwargs: dict[str, Any] = field(default_factory=dict)


CARTPOLE = Case("CartPole-v1", BatchedCartPole, balance)
ACROBOT = Case("Acrobot-v1", BatchedAcrobot, swing)
MOUNTAIN_CAR = Case("MountainCar-v0", BatchedMountainCar, climb)
PENDULUM = Case("Pendulum-v1", BatchedPendulum, pump)
CASES = [CARTPOLE, ACROBOT, MOUNTAIN_CAR, PENDULUM]
WITH_OPTIONS = [
    Case("CartPole-v1", BatchedCartPole, balance, {"sutton_barto_reward": True}),
    Case("MountainCar-v0", BatchedMountainCar, climb, {"goal_velocity": 0.04}),
    Case("Pendulum-v1", BatchedPendulum, pump, {"g": 9.81}),
]

each_env = pytest.mark.parametrize("case", CASES, ids=lambda case: case.env_id)


class GymnasiumGrid:
    """The same contract as a twin, kept by Gymnasium's own environments in a loop."""

    def __init__(
        self, case: Case, num_seeds: int, num_envs: int, limit: int | None, autoreset: bool = True
    ) -> None:
        options = {} if limit is None else {"max_episode_steps": limit}
        self.grid = (num_seeds, num_envs)
        self.autoreset = autoreset
        self.envs = {
            place: gym.make(case.env_id, disable_env_checker=True, **options, **case.kwargs)
            for place in np.ndindex(*self.grid)
        }
        self.episode = np.zeros(self.grid, dtype=int)
        self.ended = np.zeros(self.grid, dtype=bool)

    def start(self, place: tuple[int, ...]) -> Array:
        seed = episode_seed(place[0], place[1], int(self.episode[place]))
        return self.envs[place].reset(seed=seed)[0]

    def reset(self) -> Array:
        self.obs = np.stack([self.start(place) for place in np.ndindex(*self.grid)])
        self.obs = self.obs.reshape(*self.grid, *self.obs.shape[1:])
        return self.obs

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Array]:
        reward = np.zeros(self.grid)
        terminated = np.zeros(self.grid, dtype=bool)
        truncated = np.zeros(self.grid, dtype=bool)
        next_obs = self.obs.copy()
        obs = self.obs.copy()
        for place, env in self.envs.items():
            if self.ended[place]:
                continue
            result = env.step(actions[place])
            next_obs[place], reward[place], terminated[place], truncated[place], _ = result
            obs[place] = next_obs[place]
            if terminated[place] or truncated[place]:
                self.episode[place] += 1
                if self.autoreset:
                    obs[place] = self.start(place)
                else:
                    self.ended[place] = True
        self.obs = obs
        return reward, terminated, truncated, next_obs, obs


NAMES = ("reward", "terminated", "truncated", "next_obs", "obs")


def assert_same_bits(actual: Array, expected: Array, what: str) -> None:
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} is not {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: {actual.shape} is not {expected.shape}"
    assert actual.tobytes() == expected.tobytes(), f"{what} differs"


def random_actions(case: Case, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if case.env_id == "Pendulum-v1":
        return rng.uniform(-2.0, 2.0, (*shape, 1)).astype(np.float32)
    return rng.integers(0, 2 if case.env_id == "CartPole-v1" else 3, shape)


def assert_equal_to_gymnasium(
    case: Case,
    num_transitions: int,
    *,
    twin: Callable[..., BatchedEnv] | None = None,
    limit: int | None = None,
    autoreset: bool = True,
) -> dict[str, int]:
    """Step a 5 x 4 grid of both with the same actions; return how many episodes ended in each way.

    The policy chooses none, half, most and nearly all actions of a seed's four environments.
    """
    num_seeds, num_envs = 5, 4
    options = {} if limit is None else {"max_episode_steps": limit}
    actual = (twin or case.twin)(
        episode_seed, num_seeds, num_envs, autoreset=autoreset, **options, **case.kwargs
    )
    expected = GymnasiumGrid(case, num_seeds, num_envs, limit, autoreset)
    rng = np.random.default_rng(0)
    obs = expected.reset()
    assert_same_bits(actual.reset(), obs, "first observation")
    ends = {"terminated": 0, "truncated": 0, "both": 0}
    for t in range(num_transitions // (num_seeds * num_envs)):
        by_policy = rng.random((num_seeds, num_envs)) < np.array([0.0, 0.5, 0.9, 0.98])
        actions = random_actions(case, rng, (num_seeds, num_envs))
        by_policy = by_policy.reshape(by_policy.shape + (1,) * (actions.ndim - 2))
        actions = np.where(by_policy, case.policy(obs), actions).astype(actions.dtype)
        expected_step = expected.step(actions)
        actual_step = actual.step(actions)
        for name, a, e in zip(NAMES, actual_step, expected_step, strict=True):
            assert_same_bits(a, e, f"step {t}: {name}")
        assert_same_bits(actual.ended, expected.ended, f"step {t}: ended")
        _, terminated, truncated, _, obs = expected_step
        ends["terminated"] += int((terminated & ~truncated).sum())
        ends["truncated"] += int((truncated & ~terminated).sum())
        ends["both"] += int((terminated & truncated).sum())
    return ends


# Equality


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_transitions", [20_000, pytest.param(100_000, marks=pytest.mark.torture)]
)
@each_env
def test_twin_equals_gymnasium_over_many_transitions(case: Case, num_transitions: int) -> None:
    ends = assert_equal_to_gymnasium(case, num_transitions)
    assert ends["truncated"] > 0
    assert case is PENDULUM or ends["terminated"] > 0


@pytest.mark.parametrize("case", WITH_OPTIONS, ids=lambda case: str(case.kwargs))
def test_twin_with_options_equals_gymnasium_with_the_same_options(case: Case) -> None:
    assert_equal_to_gymnasium(case, 10_000)


@pytest.mark.long
@pytest.mark.parametrize(("case", "limit"), [(CARTPOLE, 15), (ACROBOT, 80), (MOUNTAIN_CAR, 120)])
def test_episode_terminating_on_the_last_allowed_step_has_both_flags(
    case: Case, limit: int
) -> None:
    ends = assert_equal_to_gymnasium(case, 24_000, limit=limit)
    assert min(ends.values()) > 0


@each_env
def test_without_autoreset_each_environment_plays_one_episode_and_stays_idle(case: Case) -> None:
    ends = assert_equal_to_gymnasium(case, 20 * 150, limit=120, autoreset=False)
    assert sum(ends.values()) == 20


@each_env
def test_no_time_limit_means_no_truncation(case: Case) -> None:
    twin = case.twin(episode_seed, 2, 2, max_episode_steps=None)
    twin.reset()
    rng = np.random.default_rng(0)
    for _ in range(600):
        _, _, truncated, _, _ = twin.step(random_actions(case, rng, (2, 2)))
        assert not truncated.any()


# The farthest states: beyond what episodes from the start reach.
EXTENT = {
    "CartPole-v1": [2.4, 10.0, 0.21, 10.0],
    "Acrobot-v1": [np.pi, np.pi, 4 * np.pi, 9 * np.pi],
    "MountainCar-v0": [1.2, 0.07],
    "Pendulum-v1": [100.0, 8.0],
}


@each_env
def test_twin_equals_gymnasium_from_any_state(case: Case) -> None:
    shape = (40, 50)
    extent = np.array(EXTENT[case.env_id])
    twin = case.twin(episode_seed, *shape, autoreset=False)
    twin.reset()
    rng = np.random.default_rng(1)
    state = rng.uniform(-extent, extent, (*shape, len(extent)))
    actions = random_actions(case, rng, shape)
    twin.load_state_dict(twin.state_dict() | {"state": state})
    env = gym.make(case.env_id, disable_env_checker=True)
    steps = []
    for place in np.ndindex(*shape):
        env.reset(seed=0)
        env.unwrapped.state = state[place].copy()  # type: ignore[attr-defined]
        steps.append(env.step(actions[place])[:3])
    next_obs, reward, terminated = (np.stack(column) for column in zip(*steps, strict=True))
    actual = twin.step(actions)
    assert_same_bits(actual[0], reward.astype(np.float64).reshape(shape), "reward")
    assert_same_bits(actual[1], terminated.reshape(shape), "terminated")
    assert_same_bits(actual[3], next_obs.reshape(*shape, -1), "next_obs")


@each_env
def test_spaces_equal_the_originals(case: Case) -> None:
    env = gym.make(case.env_id)
    twin = case.twin(episode_seed, 2, 3)
    assert twin.observation_space == env.observation_space
    assert twin.action_space == env.action_space
    assert (twin.num_seeds, twin.num_envs) == (2, 3)
    twin.close()
    twin.close()


@each_env
def test_time_limit_is_the_registrys(case: Case) -> None:
    twin = case.twin(episode_seed, 1, 1)
    assert twin.max_episode_steps == gym.spec(case.env_id).max_episode_steps


# Planted faults, each caught by the same checker


class SemiImplicitCartPole(BatchedCartPole):
    def _advance(self, state: Array, actions: Array) -> tuple[Array, Array, Array]:
        next_state, reward, terminated = super()._advance(state, actions)
        next_state[0] = state[0] + TIME_STEP * next_state[1]
        return next_state, reward, terminated


class OneStepMore(BatchedCartPole):
    def __init__(self, *args: Any, max_episode_steps: int, **kwargs: Any) -> None:
        super().__init__(*args, max_episode_steps=max_episode_steps + 1, **kwargs)


class OneSeedForAllEpisodes(BatchedCartPole):
    def _start(self, seed_index: int, env_index: int, episode: int) -> Any:
        return super()._start(seed_index, env_index, 0)


class SameSeedInEveryEnvironment(BatchedCartPole):
    def _start(self, seed_index: int, env_index: int, episode: int) -> Any:
        return super()._start(seed_index, 0, episode)


class TerminationHidesTruncation(BatchedCartPole):
    def step(self, actions: Any) -> Any:
        reward, terminated, truncated, next_obs, obs = super().step(actions)
        return reward, terminated, truncated & ~terminated, next_obs, obs


class FinalObservationLost(BatchedCartPole):
    def step(self, actions: Any) -> Any:
        reward, terminated, truncated, _, obs = super().step(actions)
        return reward, terminated, truncated, obs, obs


class DoublePrecisionStart(BatchedAcrobot):
    def _first(self, rng: np.random.Generator) -> Any:
        state = rng.uniform(low=-0.1, high=0.1, size=(4,))
        return state, self._observe(state)


class DoublePrecisionTorque(BatchedPendulum):
    def _advance(self, state: Array, actions: Array) -> tuple[Array, Array, Array]:
        return super()._advance(state, actions.astype(np.float64))


class NoWall(BatchedMountainCar):
    def _advance(self, state: Array, actions: Array) -> tuple[Array, Array, Array]:
        next_state, reward, terminated = super()._advance(state, actions)
        at_wall = next_state[0] == -1.2
        next_state[1][at_wall] = np.minimum(state[1], 0.0)[at_wall]
        return next_state, reward, terminated


@pytest.mark.parametrize(
    ("case", "mutant", "limit"),
    [
        (CARTPOLE, SemiImplicitCartPole, 30),
        (CARTPOLE, OneStepMore, 30),
        (CARTPOLE, OneSeedForAllEpisodes, 30),
        (CARTPOLE, SameSeedInEveryEnvironment, 30),
        (CARTPOLE, TerminationHidesTruncation, 15),
        (CARTPOLE, FinalObservationLost, 30),
        (ACROBOT, DoublePrecisionStart, 30),
        (PENDULUM, DoublePrecisionTorque, 30),
        (MOUNTAIN_CAR, NoWall, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_planted_fault_is_caught(
    case: Case, mutant: Callable[..., BatchedEnv], limit: int | None
) -> None:
    with pytest.raises(AssertionError, match="differs"):
        assert_equal_to_gymnasium(case, 10_000, twin=mutant, limit=limit)


@pytest.mark.slow
@pytest.mark.parametrize("case", [ACROBOT, PENDULUM], ids=lambda case: case.env_id)
def test_squaring_by_multiplication_is_caught(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float_power", lambda x, exponent: x * x)
    with pytest.raises(AssertionError, match="differs"):
        assert_equal_to_gymnasium(case, 20_000)


# Grouping


@pytest.mark.slow
@each_env
def test_an_environment_gives_the_same_bytes_in_any_grid(case: Case) -> None:
    num_steps = 150
    actions = random_actions(case, np.random.default_rng(2), (num_steps, 37, 8))

    def play(seeds: list[int], envs: list[int]) -> list[tuple[Array, ...]]:
        twin = case.twin(
            lambda s, n, k: episode_seed(seeds[s], envs[n], k),
            len(seeds),
            len(envs),
            max_episode_steps=60,
        )
        twin.reset()
        return [twin.step(a[np.ix_(seeds, envs)]) for a in actions]

    grids = [(list(range(10)), list(range(8))), (list(range(37)), [5, 1, 2])]
    alone = [(0, 0), (3, 5), (9, 2), (36, 1)]
    whole = play(list(range(37)), list(range(8)))
    for seeds, envs in [*grids, *(([s], [n]) for s, n in alone)]:
        part = play(seeds, envs)
        for step, whole_step in zip(part, whole, strict=True):
            for name, a, b in zip(NAMES, step, whole_step, strict=True):
                assert_same_bits(a, b[np.ix_(seeds, envs)], f"{name} of seeds {seeds}")


# Saving


def play(twin: BatchedEnv, actions: Array) -> list[bytes]:
    return [b"".join(array.tobytes() for array in twin.step(a)) for a in actions]


def half_played(case: Case, autoreset: bool) -> tuple[BatchedEnv, Array]:
    """A 4 x 3 grid in mid-episode, some episodes over, and the actions to come."""
    actions = random_actions(case, np.random.default_rng(3), (100, 4, 3))
    twin = case.twin(episode_seed, 4, 3, autoreset=autoreset, max_episode_steps=30)
    twin.reset()
    if not autoreset:  # let the environments of the grid end at different times
        elapsed = np.arange(12).reshape(4, 3) * 2
        twin.load_state_dict(twin.state_dict() | {"elapsed_steps": elapsed})
    play(twin, actions[:20])
    return twin, actions[20:]


@each_env
@pytest.mark.parametrize("autoreset", [True, False])
def test_loaded_state_continues_bit_for_bit(case: Case, autoreset: bool) -> None:
    twin, actions = half_played(case, autoreset)
    saved = twin.state_dict()
    assert all(len(entry) == 4 for entry in saved.values())
    fresh = case.twin(episode_seed, 4, 3, autoreset=autoreset, max_episode_steps=30)
    fresh.load_state_dict(saved)
    assert play(fresh, actions) == play(twin, actions)


@each_env
@pytest.mark.parametrize(
    ("entry", "autoreset"),
    [("state", True), ("elapsed_steps", True), ("episode", True), ("ended", False)],
)
def test_every_entry_of_the_state_is_needed(case: Case, entry: str, autoreset: bool) -> None:
    twin, actions = half_played(case, autoreset)
    play(twin, actions[:15])
    fresh = case.twin(episode_seed, 4, 3, autoreset=autoreset, max_episode_steps=30)
    fresh.reset()
    fresh.load_state_dict(twin.state_dict() | {entry: fresh.state_dict()[entry]})
    assert play(fresh, actions[15:]) != play(twin, actions[15:])


@each_env
def test_a_seed_cut_out_of_the_state_continues_alone(case: Case) -> None:
    twin, actions = half_played(case, autoreset=True)
    alone = case.twin(lambda s, n, k: episode_seed(2, n, k), 1, 3, max_episode_steps=30)
    alone.load_state_dict({name: entry[2:3] for name, entry in twin.state_dict().items()})
    for a in actions:
        for part, whole in zip(alone.step(a[2:3]), twin.step(a), strict=True):
            assert_same_bits(part, whole[2:3], "step")


@each_env
def test_reset_starts_again_from_episode_0(case: Case) -> None:
    twin, actions = half_played(case, autoreset=False)
    fresh = case.twin(episode_seed, 4, 3, autoreset=False, max_episode_steps=30)
    assert_same_bits(twin.reset(), fresh.reset(), "first observation")
    assert play(twin, actions) == play(fresh, actions)


@each_env
@pytest.mark.parametrize("autoreset", [True, False])
def test_nothing_returned_or_given_shares_memory_with_the_twin(case: Case, autoreset: bool) -> None:
    clean, actions = half_played(case, autoreset)
    spoilt, _ = half_played(case, autoreset)
    saved = spoilt.state_dict()
    spoilt.load_state_dict(saved)
    for array in saved.values():
        array[...] = 1
    for a in actions:
        given = a.copy()
        expected = clean.step(a)
        step = spoilt.step(given)
        for name, x, y in zip(NAMES, step, expected, strict=True):
            assert_same_bits(x, y, name)
        for array in (*step, given):
            array[...] = 1
        assert not np.shares_memory(step[3], step[4])


@each_env
def test_first_observations_belong_to_the_caller(case: Case) -> None:
    twins = [case.twin(episode_seed, 2, 2) for _ in range(2)]
    obs = [twin.reset() for twin in twins]
    obs[0][...] = np.nan
    actions = random_actions(case, np.random.default_rng(0), (2, 2))
    for a, b in zip(twins[0].step(actions), twins[1].step(actions), strict=True):
        assert_same_bits(a, b, "step")


# Wrong input


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (
            np.zeros((3, 2), int),
            r"CartPole-v1: step: .* \[2, 3\], got int64 of shape \[3, 2\]",
        ),
        (np.zeros((2, 3)), r"CartPole-v1: step: expected actions as integers.*got float64"),
        (np.zeros((2, 3), bool), r"got bool"),
        ([[0, 1, 0], [1, 2, 0]], r"an integer from 0 to 1 as the action at \[1, 1\], got 2"),
        ([[0, 1, -1], [1, 0, 0]], r"as the action at \[0, 2\], got -1"),
    ],
)
def test_wrong_discrete_action_is_rejected_with_its_place(actions: Any, message: str) -> None:
    twin = BatchedCartPole(episode_seed, 2, 3)
    twin.reset()
    with pytest.raises(ValueError, match=message):
        twin.step(actions)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 3)), r"Pendulum-v1: step: expected actions as numbers of shape \[2, 3, 1\]"),
        (np.full((2, 3, 1), None), r"got object"),
        (
            np.where(np.arange(6) == 4, np.nan, 0).reshape(2, 3, 1),
            r"action at \[1, 1, 0\], got nan",
        ),
    ],
)
def test_wrong_box_action_is_rejected_with_its_place(actions: Any, message: str) -> None:
    twin = BatchedPendulum(episode_seed, 2, 3)
    twin.reset()
    with pytest.raises(ValueError, match=message):
        twin.step(actions)


def test_unsigned_actions_act_as_signed_ones() -> None:
    signed, unsigned = (BatchedMountainCar(episode_seed, 2, 2) for _ in range(2))
    signed.reset()
    unsigned.reset()
    actions = np.array([[0, 1], [2, 0]])
    for a, b in zip(signed.step(actions), unsigned.step(actions.astype(np.uint8)), strict=True):
        assert_same_bits(a, b, "step")


@pytest.mark.parametrize("method", ["step", "state_dict"])
def test_use_before_reset_is_rejected(method: str) -> None:
    twin = BatchedCartPole(episode_seed, 1, 1)
    arguments = [np.zeros((1, 1), int)] if method == "step" else []
    with pytest.raises(RuntimeError, match=rf"CartPole-v1: {method} before reset: call reset\(\)"):
        getattr(twin, method)(*arguments)


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 1)])
def test_an_empty_grid_is_rejected(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="to be at least 1"):
        BatchedCartPole(episode_seed, *size)


def test_a_time_limit_below_one_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected max_episode_steps to be at least 1, got 0"):
        BatchedCartPole(episode_seed, 1, 1, max_episode_steps=0)


@each_env
def test_an_unknown_option_is_rejected(case: Case) -> None:
    with pytest.raises(TypeError, match="gravty"):
        case.twin(episode_seed, 1, 1, gravty=1.0)


@pytest.mark.parametrize("seed", [-1, None, 1.0, np.int64(3)])
def test_a_seed_that_is_not_a_natural_number_is_rejected(seed: Any) -> None:
    twin = BatchedCartPole(lambda s, n, k: seed if (s, n) == (0, 1) else 0, 1, 2)
    with pytest.raises(ValueError, match=r"episode 0 of environment \[0, 1\]: expected a Python"):
        twin.reset()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": np.zeros(2)}, "expected the entries"),
        ({"state": np.zeros((2, 2, 4), np.float32)}, r"expected state as float64 \[2, 2, 4\]"),
        ({"episode": np.zeros((2, 3), np.int64)}, r"got int64 \[2, 3\]"),
    ],
)
def test_a_state_that_does_not_fit_is_rejected(change: dict[str, Array], message: str) -> None:
    twin = BatchedCartPole(episode_seed, 2, 2)
    twin.reset()
    with pytest.raises(ValueError, match=message):
        twin.load_state_dict(twin.state_dict() | change)
