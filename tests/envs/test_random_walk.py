"""The random walk."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlkit.tabular import mdp_from_env, policy_value
from rlkit_envs.random_walk import RandomWalk


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_accepts_it() -> None:
    check_env(RandomWalk(), skip_render_check=True)


@pytest.mark.parametrize(("num_states", "left_reward"), [(19, -1.0), (5, 0.0), (1, 0.5)])
def test_its_values_solve_the_bellman_equation(num_states: int, left_reward: float) -> None:
    env = RandomWalk(num_states, left_reward)
    mdp = mdp_from_env(lambda: RandomWalk(num_states, left_reward))
    exact = policy_value(mdp, np.zeros(num_states, dtype=int), discount=1.0)
    np.testing.assert_allclose(env.values, exact, atol=1e-10)


def test_five_states_have_the_values_of_the_book() -> None:
    np.testing.assert_allclose(RandomWalk(5, 0.0).values, np.arange(1, 6) / 6)


def test_episodes_leave_on_either_side_equally_often() -> None:
    env = RandomWalk()
    env.reset(seed=0)
    rewards = []
    for _ in range(400):
        terminated = False
        while not terminated:
            _, reward, terminated, _, _ = env.step(np.int64(0))
        rewards.append(reward)
        env.reset()
    assert set(rewards) == {-1.0, 1.0}
    assert abs(np.mean(rewards)) < 0.25  # 5 standard deviations


@pytest.mark.parametrize("num_states", [0, 4, 2.0])
def test_a_number_of_states_without_a_middle_is_rejected(num_states: int) -> None:
    with pytest.raises(ValueError, match=r"odd number >= 1, got .*middle"):
        RandomWalk(num_states)
