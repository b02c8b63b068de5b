"""The model: what is accepted, and what is read from an environment."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.spaces import Box, Discrete

from rlkit.tabular.from_env import UnknownModel, find_mdp, mdp_from_env
from rlkit.tabular.mdp import TabularMDP


def frozen_lake(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("FrozenLake-v1", **options)


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


# --- the arrays ---------------------------------------------------------------------------------


def valid() -> dict[str, Any]:
    return {
        "probability": np.array([[[0.5, 0.5]], [[1.0, 0.0]]]),
        "next_state": np.array([[[0, 1]], [[1, 1]]]),
        "reward": np.zeros((2, 1, 2)),
        "terminated": np.zeros((2, 1, 2), dtype=bool),
        "initial_distribution": np.array([1.0, 0.0]),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("probability", np.array([[[0.5, 0.6]], [[1.0, 0.0]]]), r"sum to 1, got 1.1 at state 0"),
        ("probability", np.array([[[1.5, -0.5]], [[1.0, 0.0]]]), "must be >= 0, got -0.5"),
        ("probability", np.full((2, 1, 2), np.nan), "must be >= 0, got nan"),
        ("probability", np.ones((2, 2)), r"\[n_states, n_actions, K\]"),
        ("next_state", np.array([[[0, 1]], [[2, 1]]]), r"in \[0, 2\), got 2 at state 1, action 0"),
        ("next_state", np.array([[[0, 1]], [[-1, 1]]]), r"got -1 at state 1"),
        ("next_state", np.zeros((2, 1, 2)), "must hold integers, got dtype float64"),
        ("reward", np.full((2, 1, 2), np.inf), "rewards must be finite, got inf"),
        ("reward", np.zeros((2, 1)), "reward must have the shape"),
        ("initial_distribution", np.array([0.5, 0.4]), "initial_distribution must be >= 0 and sum"),
        ("initial_distribution", np.array([1.0]), r"must have shape \(2,\)"),
        ("time_limit", 0, "whole number of steps >= 1, got 0"),
        ("time_limit", 2.5, "whole number of steps >= 1, got 2.5"),
    ],
)
def test_arrays_that_are_no_mdp_are_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(**{**valid(), name: value})


def test_the_arrays_are_copies_and_cannot_be_written() -> None:
    arrays = valid()
    mdp = TabularMDP(**arrays)
    arrays["reward"][:] = 9
    assert (mdp.reward == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        mdp.reward[0, 0, 0] = 1


def test_equal_successors_are_summed_not_overwritten() -> None:
    both = [(0.5, 0, 1.0, False), (0.25, 0, 3.0, False), (0.25, 1, 0.0, True)]
    mdp = TabularMDP.from_successors([[both], [both[:1] * 2]], initial_distribution=[1, 0])
    assert mdp.continuation.toarray().tolist() == [[0.75, 0.0], [1.0, 0.0]]
    assert mdp.expected_reward.tolist() == [[1.25], [1.0]]


def test_padding_repeats_the_last_successor_with_probability_zero() -> None:
    rows = [[[(0.5, 0, 1.0, False), (0.5, 1, 2.0, True)]], [[(1.0, 1, 5.0, True)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1, 0])
    assert mdp.probability[1, 0].tolist() == [1.0, 0.0]
    assert mdp.next_state[1, 0].tolist() == [1, 1]
    assert mdp.reward[1, 0].tolist() == [5.0, 5.0]
    assert mdp.terminated[1, 0].tolist() == [True, True]


def test_single_precision_tables_are_rescaled_and_wrong_ones_refused() -> None:
    third = float(np.float32(1 / 3))
    successors = [(third, 0, 0.0, False)] * 3
    mdp = TabularMDP.from_successors([[successors]], initial_distribution=[1.0])
    np.testing.assert_allclose(mdp.probability.sum(), 1, rtol=1e-15)  # one rounding
    with pytest.raises(ValueError, match=r"sum to 1, got 0\.99"):
        TabularMDP.from_successors([[[(0.33, 0, 0.0, False)] * 3]], initial_distribution=[1.0])


def test_an_action_without_successors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(state, action\) \[\(0, 1\)\]"):
        TabularMDP.from_successors([[[(1.0, 0, 0.0, True)], []]], initial_distribution=[1.0])


def test_dense_arrays_survive_the_way_into_successor_lists() -> None:
    rng = np.random.default_rng(3)
    transition = rng.dirichlet(np.ones(5), size=(5, 3)) * (rng.random((5, 3, 5)) < 0.6)
    transition[..., 2] += 1e-3
    transition /= transition.sum(axis=-1, keepdims=True)
    reward = rng.normal(size=(5, 3, 5))
    mdp = TabularMDP.from_arrays(transition, reward)
    # The same numbers, moved: only the sums over successors round, in another order.
    dense = mdp.continuation.toarray().reshape(5, 3, 5)
    np.testing.assert_array_equal(dense, transition)
    expected = (transition * reward).sum(axis=-1)
    np.testing.assert_allclose(mdp.expected_reward, expected, atol=1e-14)
    for shape in ((5,), (5, 3)):
        less = TabularMDP.from_arrays(
            transition, reward[..., 0] if len(shape) == 2 else reward[:, 0, 0]
        )
        wanted = reward[..., 0] if len(shape) == 2 else np.repeat(reward[:, :1, 0], 3, axis=1)
        np.testing.assert_allclose(less.expected_reward, wanted, atol=1e-14)


def test_dense_arrays_in_the_other_order_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="swapaxes"):
        TabularMDP.from_arrays(np.ones((2, 3, 3)) / 3, np.zeros(3))
    with pytest.raises(ValueError, match="reward must have shape"):
        TabularMDP.from_arrays(np.ones((3, 2, 3)) / 3, np.zeros((2, 3)))


def test_terminal_states_end_the_episode_and_are_not_started_in() -> None:
    walk = np.zeros((3, 1, 3))
    walk[0, 0, 1] = walk[1, 0, 2] = walk[2, 0, 2] = 1
    mdp = TabularMDP.from_arrays(walk, np.zeros(3), terminal_states=[2])
    assert mdp.terminated[:, 0, 0].tolist() == [False, True, True]
    assert mdp.initial_distribution.tolist() == [0.5, 0.5, 0]


# --- environments -------------------------------------------------------------------------------


def test_frozen_lakes_table_is_kept_entry_by_entry_in_its_order() -> None:
    mdp = mdp_from_env(frozen_lake)
    table = FrozenLakeEnv().P
    assert mdp.probability.shape == (16, 4, 3)
    for s in range(16):
        for a in range(4):
            for k, (probability, next_state, reward, terminated) in enumerate(table[s][a]):
                assert mdp.probability[s, a, k] == probability
                assert mdp.next_state[s, a, k] == next_state
                assert mdp.reward[s, a, k] == reward
                assert mdp.terminated[s, a, k] == terminated
    # Sums of three rounded thirds.
    np.testing.assert_allclose(mdp.probability.sum(axis=-1), 1, atol=1e-15)
    assert mdp.initial_distribution.tolist() == [1.0] + [0.0] * 15


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (frozen_lake, 100),
        (lambda: frozen_lake(map_name="8x8"), 100),
        (lambda: gym.make("FrozenLake8x8-v1"), 200),
        (lambda: frozen_lake(max_episode_steps=7), 7),
        (lambda: frozen_lake(max_episode_steps=-1), None),
        (lambda: gym.make("CliffWalking-v1"), None),
        (lambda: gym.make("CliffWalking-v1", max_episode_steps=30), 30),
        (FrozenLakeEnv, None),
        (lambda: wrappers.TimeLimit(FrozenLakeEnv(), 12), 12),
        (lambda: wrappers.TimeLimit(frozen_lake(), 12), 12),
        (lambda: wrappers.TimeLimit(frozen_lake(max_episode_steps=5), 12), 5),
        (lambda: wrappers.RecordEpisodeStatistics(frozen_lake()), 100),
        (lambda: wrappers.Autoreset(frozen_lake()), 100),
    ],
)
def test_the_time_limit_is_that_of_the_wrapper_around_the_environment(
    make: Callable[[], gym.Env[Any, Any]], limit: int | None
) -> None:
    assert mdp_from_env(make).time_limit == limit


@pytest.mark.parametrize("first_state", [-2, 0, 5])
@pytest.mark.parametrize("first_action", [-1, 0, 3])
def test_spaces_may_start_anywhere(first_state: int, first_action: int) -> None:
    here = mdp_from_env(lambda: Corridor(first_state, first_action))
    reference = mdp_from_env(Corridor)
    for name in ("probability", "next_state", "reward", "terminated", "initial_distribution"):
        np.testing.assert_array_equal(getattr(here, name), getattr(reference, name))


def test_tables_may_be_lists_counted_from_zero_whatever_the_space() -> None:
    def relist(env: Corridor) -> None:
        env.P = [[env.P[s][a] for a in range(2)] for s in range(4)]
        env.observation_space = Discrete(4, start=1)

    mdp = mdp_from_env(changed(relist))
    np.testing.assert_array_equal(mdp.next_state, mdp_from_env(Corridor).next_state)


def test_a_state_without_successors_is_one_where_nothing_happens_any_more() -> None:
    def empty(env: Corridor) -> None:
        env.observation_space = Discrete(5)
        env.P = {**env.P, 4: {0: [], 1: []}}

    mdp = mdp_from_env(changed(empty))
    assert mdp.terminated[4].all()
    assert (mdp.next_state[4] == 4).all()
    assert (mdp.reward[4] == 0).all()


def test_a_random_start_needs_a_stated_distribution() -> None:
    with pytest.raises(UnknownModel, match=r"2 different states.*attribute initial_state_distrib"):
        mdp_from_env(lambda: Corridor(starts=(0, 2)))

    def state(env: Corridor) -> None:
        env.initial_state_distrib = [0.5, 0, 0.5, 0]

    mdp = mdp_from_env(changed(state, starts=(0, 2)))
    assert mdp.initial_distribution.tolist() == [0.5, 0, 0.5, 0]
    with pytest.raises(UnknownModel, match="started in state 3, which the initial distribution"):
        mdp_from_env(changed(state, starts=(0, 2, 3)))


def _wrong_reward(env: Corridor) -> None:
    env.P[3][1] = [(1.0, 3, 2.0, True)]


def _wrong_successor(env: Corridor) -> None:
    env.P[1][0] = [(1.0, 1, 0.0, False)]


def _wrong_end(env: Corridor) -> None:
    env.P[3][1] = [(1.0, 3, 1.0, False)]


def _impossible(env: Corridor) -> None:
    env.P[1][0] = [(0.0, 0, 0.0, False), (1.0, 1, 0.0, False)]


@pytest.mark.parametrize("lie", [_wrong_reward, _wrong_successor, _wrong_end, _impossible])
def test_a_table_that_does_not_describe_the_environment_is_refused(
    lie: Callable[[Corridor], None],
) -> None:
    with pytest.raises(UnknownModel, match=r"model of Corridor.*P does not describe it.*correct P"):
        mdp_from_env(changed(lie))


def test_taxi_with_a_fickle_passenger_has_no_known_model_but_plain_and_rainy_taxi_have() -> None:
    assert find_mdp(lambda: gym.make("Taxi-v4", fickle_passenger=True)) is None
    for options in ({}, {"is_rainy": True}):
        mdp = find_mdp(lambda options=options: gym.make("Taxi-v4", **options))
        assert mdp is not None
        assert (mdp.n_states, mdp.n_actions, mdp.time_limit) == (500, 6, 200)


class OwnLimit(Corridor):
    """Cuts its episodes off by itself."""

    def reset(self, **options: Any) -> tuple[int, dict[str, Any]]:
        self.steps = 0
        return super().reset(**options)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.steps >= 9, info


def _no_table(env: Corridor) -> None:
    del env.P


def _more_observations(env: Corridor) -> None:
    env.observation_space = Discrete(6)


def _missing_action(env: Corridor) -> None:
    del env.P[2][1]


def _three_columns(env: Corridor) -> None:
    env.P[2][1] = [(1.0, 3, 0.0)]


def _bad_sum(env: Corridor) -> None:
    env.P[2][1] = [(0.5, 3, 0.0, False)]


def _matrix(env: Corridor) -> None:
    env.P = np.ones((4, 2, 4)) / 4


def _box(env: Corridor) -> None:
    env.observation_space = Box(0, 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: gym.make("CartPole-v1"), "expected Discrete observation and action spaces"),
        (lambda: gym.make("Blackjack-v1"), "expected Discrete"),
        (changed(_box), "got Box and Discrete"),
        (changed(_no_table), "has no attribute P; give it"),
        (changed(_more_observations), "states of P to be 0 to 5"),
        (changed(_missing_action), r"actions of P\[2\] to be 0 to 1"),
        (changed(_three_columns), r"P\[2\]\[1\].*got an entry"),
        (changed(_bad_sum), "sum to 1, got 0.5 at state 2, action 1"),
        (changed(_matrix), "expected a list of"),
        (
            OwnLimit,
            "step 9 of an episode returned truncated=True, with a TimeLimit wrapper of None",
        ),
        (lambda: wrappers.TransformReward(frozen_lake(), lambda r: 2 * r), "TransformReward may"),
    ],
)
def test_environments_without_a_known_model_say_why(
    make: Callable[[], gym.Env[Any, Any]], reason: str
) -> None:
    assert find_mdp(make) is None
    with pytest.raises(UnknownModel, match=reason):
        mdp_from_env(make)


@pytest.mark.parametrize("lie", [lambda env: None, _wrong_reward])
def test_one_environment_is_made_for_reading_and_closed_again(
    lie: Callable[[Corridor], None],
) -> None:
    made = []

    def make() -> Corridor:
        made.append(changed(lie)())
        return made[-1]

    find_mdp(make)
    assert [env.closed for env in made] == [1]


def test_faults_of_the_environment_itself_are_not_swallowed() -> None:
    def broken() -> gym.Env[Any, Any]:
        raise RuntimeError("no licence")

    with pytest.raises(RuntimeError, match="no licence"):
        find_mdp(broken)
