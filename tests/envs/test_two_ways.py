"""The obstacle with two ways around it, and its expert."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlkit_envs.two_ways import CENTRE, RADIUS, TwoWays, expert_action


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_accepts_it() -> None:
    check_env(TwoWays(), skip_render_check=True)


@pytest.mark.parametrize("side", [1, -1])
def test_the_expert_passes_on_its_side_and_comes_back(side: int) -> None:
    env, rng = TwoWays(), np.random.default_rng(0)
    for _ in range(50):
        place, _ = env.reset()
        ended, path = False, []
        while not ended:
            place, reward, ended, truncated, _ = env.step(expert_action(place, side, rng))
            path.append(place)
        assert (len(path), reward, truncated) == (10, 1.0, False)
        assert np.sign(path[4][1]) == side
        assert abs(place[1]) < abs(path[4][1]) / 2


def test_straight_on_hits_the_disc_and_a_detour_that_is_wide_enough_does_not() -> None:
    env = TwoWays()
    for first, expected in ((0.0, 0.0), (RADIUS / 0.4 - 0.01, 0.0), (RADIUS / 0.4 + 0.01, 1.0)):
        place, _ = env.reset()
        ended, action = False, np.array([first], dtype=np.float32)
        while not ended:
            place, reward, ended, _, _ = env.step(action)
            action = np.zeros(1, dtype=np.float32)
        assert reward == expected
        if not expected:
            assert np.hypot(*(place - CENTRE)) < RADIUS


def test_actions_are_clipped() -> None:
    env = TwoWays()
    env.reset()
    assert env.step(np.array([7.0], dtype=np.float32))[0][1] == np.float32(0.4)
