"""Whole episodes of learners of tables."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.episodes import play_episodes
from rlkit_envs.dyna_maze import DynaMaze
from rlkit_envs.random_walk import RandomWalk


def test_every_episode_is_kept_with_the_table_after_it() -> None:
    played = play_episodes(
        "n-step-sarsa",
        RandomWalk,
        num_seeds=3,
        num_episodes=4,
        keep_tables=True,
        return_steps=10**4,  # longer than an episode: every step gets the return
        step_size=1.0,
        discount=1.0,
    )
    assert (np.abs(played.returns) == 1.0).all()
    assert (played.lengths >= 10).all()
    assert (played.tables == played.each_table[:, -1]).all()
    # With alpha = 1 the visited states have the return of the last episode that visited them.
    for s in range(3):
        assert set(np.unique(played.each_table[s, 0])) == {0.0, played.returns[s, 0]}
        assert (played.each_table[s, :, 9, 0] == played.returns[s]).all()


@pytest.mark.torture
def test_seeds_are_different_and_the_same_each_time() -> None:
    first, again = (
        play_episodes("dyna-q", DynaMaze, num_seeds=2, num_episodes=3, step_size=0.5)
        for _ in range(2)
    )
    assert (first.lengths == again.lengths).all()
    assert first.lengths[0].tolist() != first.lengths[1].tolist()
    assert (first.lengths >= 14).all()
    assert first.each_table.shape[1] == 0
