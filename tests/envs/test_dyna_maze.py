"""The Dyna maze."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlkit
from rlkit.tabular import mdp_from_env
from rlkit.tabular.operators import greedy
from rlkit.tabular.planning.solvers import value_iteration
from rlkit_envs.dyna_maze import DynaMaze


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_accepts_it() -> None:
    check_env(DynaMaze(), skip_render_check=True)


def test_the_shortest_path_takes_14_steps() -> None:
    mdp = mdp_from_env(DynaMaze)
    plan = value_iteration(mdp, discount=0.95)
    # The reward of the 14th step is discounted 13 times.
    assert plan.values[18] == pytest.approx(0.95**13, abs=1e-9)
    policy, env = greedy(mdp, plan.values, 0.95), DynaMaze()
    obs, _ = env.reset()
    path = [int(obs)]
    for _ in range(14):
        obs, reward, terminated, _, _ = env.step(policy[obs])
        path.append(int(obs))
    assert (reward, terminated, path[-1], len(set(path))) == (1.0, True, 8, 15)


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [(18, 3, 18), (18, 1, 19), (19, 1, 19), (18, 0, 9), (0, 0, 0), (53, 2, 53), (4, 2, 13)],
)
def test_walls_and_edges_stop_a_move(state: int, action: int, after: int) -> None:
    assert DynaMaze().P[state][action] == [(1.0, after, 0.0, False)]


def test_it_is_trained_on_by_its_name(tmp_path: object) -> None:
    run = rlkit.train(
        "dyna-q",
        "rlkit_envs.dyna_maze:DynaMaze",
        seeds=2,
        steps=8000,
        evaluate_every=8000,
        discount=0.95,
        step_size=0.1,
        epsilon_start=0.1,
        epsilon_end=0.1,
        out=tmp_path,
    )
    assert np.array_equal(run.scores, [1.0, 1.0])
