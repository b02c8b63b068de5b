"""Reading the table that an environment publishes."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.spaces import Box, Discrete

from rlkit.tabular.reading.model import UnknownModel, find_mdp, mdp_from_env
from tests.tabular.table_envs import Corridor, changed


def frozen_lake(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("FrozenLake-v1", **options)


@pytest.mark.slow
def test_frozen_lakes_table_is_kept_entry_by_entry_in_its_order() -> None:
    mdp = mdp_from_env(frozen_lake)
    table = FrozenLakeEnv().P
    assert mdp.padded().probability.shape == (16, 4, 3)
    for s in range(16):
        for a in range(4):
            for k, (probability, next_state, reward, terminated) in enumerate(table[s][a]):
                assert mdp.padded().probability[s, a, k] == probability
                assert mdp.padded().next_state[s, a, k] == next_state
                assert mdp.padded().reward[s, a, k] == reward
                assert mdp.padded().terminated[s, a, k] == terminated
    # Sums of three rounded thirds.
    np.testing.assert_allclose(mdp.padded().probability.sum(axis=-1), 1, atol=1e-15)
    assert mdp.initial_distribution.tolist() == [1.0] + [0.0] * 15


@pytest.mark.trap("T45")
@pytest.mark.slow
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


@pytest.mark.long
@pytest.mark.parametrize("first_state", [-2, 0, 5])
@pytest.mark.parametrize("first_action", [-1, 0, 3])
def test_spaces_may_start_anywhere(first_state: int, first_action: int) -> None:
    here = mdp_from_env(lambda: Corridor(first_state, first_action))
    reference = mdp_from_env(Corridor)
    for name in ("probability", "next_state", "reward", "terminated", "initial_distribution"):
        np.testing.assert_array_equal(getattr(here, name), getattr(reference, name))


@pytest.mark.slow
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
    assert mdp.padded().terminated[4].all()
    assert (mdp.padded().next_state[4] == 4).all()
    assert (mdp.padded().reward[4] == 0).all()


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("lie", [_wrong_reward, _wrong_successor, _wrong_end, _impossible])
def test_a_table_that_does_not_describe_the_environment_is_rejected(
    lie: Callable[[Corridor], None],
) -> None:
    with pytest.raises(UnknownModel, match=r"model of Corridor.*P does not describe it.*correct P"):
        mdp_from_env(changed(lie))


@pytest.mark.slow
def test_taxi_with_a_fickle_passenger_has_no_known_model_but_plain_and_rainy_taxi_have() -> None:
    assert find_mdp(lambda: gym.make("Taxi-v4", fickle_passenger=True)) is None
    for options in ({}, {"is_rainy": True}):
        mdp = find_mdp(lambda options=options: gym.make("Taxi-v4", **options))
        assert mdp is not None
        assert (mdp.num_states, mdp.num_actions, mdp.time_limit) == (500, 6, 200)


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
        (lambda: gym.make("Blackjack-v1"), "has no attribute P; give it"),
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
def test_two_environments_are_made_for_reading_and_closed_again(
    lie: Callable[[Corridor], None],
) -> None:
    made = []

    def make() -> Corridor:
        made.append(changed(lie)())
        return made[-1]

    find_mdp(make)
    assert [env.closed for env in made] == [1, 1]
