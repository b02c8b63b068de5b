"""The corridor with masks."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlkit_envs.masked_corridor import MaskedCorridor


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_accepts_it() -> None:
    check_env(MaskedCorridor(), skip_render_check=True)


@pytest.mark.parametrize(("length", "num_actions"), [(10, 20), (3, 2), (50, 7)])
def test_two_actions_are_allowed_at_each_place_and_one_of_them_moves_on(
    length: int, num_actions: int
) -> None:
    env = MaskedCorridor(length, num_actions, strict=True)
    obs, info = env.reset(seed=0)
    for place in range(length - 1):
        allowed = np.flatnonzero(info["action_mask"])
        assert (obs, len(allowed)) == (place, 2)
        moves = {}
        for action in allowed:
            env.reset()
            env._place = place
            moves[env.step(action)[0]] = action
        assert set(moves) == {max(0, place - 1), place + 1}
        env._place = place
        obs, reward, terminated, truncated, info = env.step(moves[place + 1])
    assert (obs, reward, terminated, truncated) == (length - 1, -1.0, True, False)


def test_masked_actions_do_nothing_or_raise() -> None:
    env, strict = MaskedCorridor(), MaskedCorridor(strict=True)
    for masked in np.flatnonzero(~env.reset()[1]["action_mask"]):
        assert env.step(masked)[:2] == (0, -1.0)
        strict.reset()
        with pytest.raises(ValueError, match=f"action {masked} is masked at place 0"):
            strict.step(masked)


def test_an_episode_is_truncated_at_its_limit() -> None:
    env = MaskedCorridor(max_steps=3)
    _, info = env.reset()
    masked = np.flatnonzero(~info["action_mask"])[0]
    assert [env.step(masked)[3] for _ in range(3)] == [False, False, True]
