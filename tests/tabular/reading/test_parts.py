"""Observations made of discrete parts have one index for each combination."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.reading.parts import PartsIndex, indices_of, parts_index, states_of
from rlkit.tabular.reading.published import UnknownModel

D = spaces.Discrete
PAIR = spaces.Tuple((D(3, start=-1), D(2, start=5)))
NESTED = spaces.Dict(
    a=PAIR, b=spaces.MultiBinary(2), c=spaces.MultiDiscrete([[2], [3]], start=[[1], [0]])
)


def test_the_index_is_that_of_numpy_counted_from_the_starts() -> None:
    index = PartsIndex(PAIR)
    assert index.n == 6
    for a, b in itertools.product(range(-1, 2), range(5, 7)):
        assert index((a, b)) == np.ravel_multi_index((a + 1, b - 5), (3, 2))


def test_nested_parts_are_counted_in_the_order_of_the_space() -> None:
    index = PartsIndex(NESTED)
    assert index.sizes == (3, 2, 2, 2, 2, 3)
    observation = {"c": np.array([[2], [1]]), "a": (1, 5), "b": np.array([0, 1], np.int8)}
    assert index(observation) == np.ravel_multi_index((2, 0, 0, 1, 1, 1), index.sizes)


@pytest.mark.parametrize(
    "space", [PAIR, NESTED, spaces.MultiBinary(5), spaces.MultiDiscrete([4, 3])]
)
def test_no_two_observations_share_an_index(space: Any) -> None:
    index = pickle.loads(pickle.dumps(PartsIndex(space)))
    seen: dict[int, str] = {}
    space.seed(0)
    for _ in range(2000):
        observation = space.sample()
        number = index(observation)
        assert 0 <= number < index.n
        assert seen.setdefault(number, repr(observation)) == repr(observation)
    assert len(seen) == index.n


@pytest.mark.parametrize(
    "observation",
    [
        *((2, 5), (0, 7), (0,), (0, 5, 5), 3, None, "ab", (0.5, 5), (float("nan"), 5)),
        *(((0, 1), 5), {"a": 0}),
    ],
)
def test_what_is_not_in_the_space_has_no_index(observation: Any) -> None:
    with pytest.raises(ValueError, match="is not in Tuple"):
        PartsIndex(PAIR)(observation)


@pytest.mark.parametrize(
    "space", [PAIR, NESTED, spaces.MultiBinary(3), spaces.MultiDiscrete([4, 3])]
)
def test_a_batch_of_gymnasiums_vector_environments_has_the_indices_of_its_members(
    space: Any,
) -> None:
    index = PartsIndex(space)
    space.seed(1)
    members = [space.sample() for _ in range(3)]
    batched = gym.vector.utils.create_empty_array(space, 3)
    batched = gym.vector.utils.concatenate(space, members, batched)
    assert batch_space(space, 3).contains(batched)
    for batch in (members, batched):
        indices, single = indices_of(batch, index)
        assert indices.tolist() == [index(member) for member in members]
        assert not single
    assert indices_of(members[0], index) == (index(members[0]), True)


def test_only_discrete_parts_of_a_manageable_number_are_numbered() -> None:
    assert parts_index(D(5)) is None
    assert states_of(D(5)) == D(5)
    for space in (
        spaces.Box(0, 1), spaces.Tuple((D(2), spaces.Box(0, 1))), spaces.Tuple(()),
        spaces.MultiBinary(40), spaces.Sequence(D(2)),
    ):  # fmt: skip
        assert parts_index(space) is None
        assert states_of(space) is None


class Pairs(gym.Env[Any, Any]):
    """Two digits, of 2 and 3; the action adds to the last, which carries, until both are full."""

    observation_space = spaces.Tuple((D(2, start=1), D(3)))
    action_space = D(2, start=4)

    def __init__(self, offset: int = 0) -> None:
        self.P: Any = {
            s: {a: [(1.0, min(s + a + offset, 5), float(s + a >= 5), s + a >= 5)] for a in range(2)}
            for s in range(6)
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return (1, 0), {}

    def step(self, action: int) -> Any:
        total = self.at + action - 4
        self.at = min(total, 5)
        return (1 + self.at // 3, self.at % 3), float(total >= 5), total >= 5, False, {}


def test_the_table_of_an_environment_with_parts_is_read_and_played() -> None:
    mdp = mdp_from_env(lambda: gym.wrappers.TimeLimit(Pairs(), 50))
    assert (mdp.num_states, mdp.num_actions, mdp.time_limit) == (6, 2, 50)
    assert np.flatnonzero(mdp.initial_distribution).tolist() == [0]


def test_a_table_that_the_parts_do_not_follow_is_rejected() -> None:
    with pytest.raises(UnknownModel, match="P does not describe it: state 0 and action"):
        mdp_from_env(lambda: gym.wrappers.TimeLimit(Pairs(offset=1), 50))
