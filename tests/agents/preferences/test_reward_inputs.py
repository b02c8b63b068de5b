"""The inputs of a network for rewards, in every kind of space."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from rlkit.agents.preferences.reward_inputs import RewardInputs

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def test_a_pair_of_indices_is_the_index_of_a_table() -> None:
    inputs = RewardInputs(spaces.Discrete(3), spaces.Discrete(4))
    states, actions = np.divmod(np.arange(12), 4)
    assert inputs.is_index
    assert inputs.size == 12
    assert inputs(states, actions).tolist() == list(range(12))


def test_a_discrete_action_is_one_hot_beside_the_numbers_of_a_box() -> None:
    inputs = RewardInputs(spaces.Box(-9.0, 9.0, (2, 1), np.float32), spaces.Discrete(3))
    obs = np.array([[[5.0], [-7.0]], [[0.5], [2.0]]], dtype=np.float32)
    rows = inputs(obs, np.array([2, 0]))
    assert rows.tolist() == [[5.0, -7.0, 0, 0, 1], [0.5, 2.0, 1, 0, 0]]
    assert inputs.size == 5


def test_real_actions_are_clipped_as_the_environment_clips_them() -> None:
    inputs = RewardInputs(spaces.Discrete(2), BOX)
    rows = inputs(np.array([[1]]), np.array([[[-3.0, 0.25]]]))
    assert rows.tolist() == [[[0, 1, -1.0, 0.25]]]


def test_parts_of_an_action_follow_one_another() -> None:
    space = spaces.Tuple((spaces.Discrete(2), BOX, spaces.Discrete(3)))
    inputs = RewardInputs(spaces.Box(-1.0, 1.0, (1,), np.float64), space)
    rows = inputs(np.array([[0.5]]), np.array([[1.0, 0.1, 7.0, 2.0]]))
    assert rows.tolist() == [[0.5, 0, 1, 0.1, 1.0, 0, 0, 1]]
    assert inputs.size == 8
