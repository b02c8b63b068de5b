"""Numbers of files as agents see them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.environments.bins import Binning
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.view import View
from rlkit.errors import UsageError
from rlkit.training.cloning.converting import Rows, converted
from tests.faulty_envs import Drifting, Shifted


def rows(observations: Any, actions: Any, rewards: Any = None) -> Rows:
    obs, act = (np.array(x, dtype=np.float64) for x in (observations, actions))
    return Rows(
        obs.reshape(len(obs), -1),
        act.reshape(len(act), -1),
        np.arange(len(obs)) // 2,
        None if rewards is None else np.array(rewards),
        lambda row, name, column: f"row {row}, {name} {column}",
        "these rows",
    )


def environment(make: Any, **view: Any) -> Environment:
    return find_environment(make).seen_as(View(**view))


class Ranged(Drifting):
    """Takes actions in [0, 10]."""

    def __init__(self) -> None:
        super().__init__(10**9, action_space=spaces.Box(0.0, 10.0, (1,), np.float32))


class Pixels(gym.Env[Any, Any]):
    """Observes bytes, and acts with whole numbers."""

    observation_space = spaces.Box(0, 255, (2,), np.uint8)
    action_space = spaces.Box(-3, 3, (1,), np.int64)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, dtype=np.uint8), {}

    def step(self, action: Any) -> Any:
        return self.reset()[0], 0.0, False, True, {}


def test_discrete_numbers_are_counted_from_the_start_of_their_space() -> None:
    seen = converted(rows([-1, 2, 0], [0, 1, -1]), environment(lambda: Shifted(4, -1)))
    np.testing.assert_array_equal(seen.observations, [0, 3, 1])
    np.testing.assert_array_equal(seen.actions, [1, 2, 0])
    assert (seen.observations.dtype, seen.actions.dtype) == (np.int64, np.int64)


def test_real_actions_are_clipped_and_rescaled_where_the_agent_sees_them_so() -> None:
    size = environment(Ranged).observation_space.shape
    assert size is not None
    given = rows(np.zeros((4, *size)), [0, 5, 10, 12])
    plain = converted(given, environment(Ranged))
    np.testing.assert_array_equal(plain.actions[:, 0], [0, 5, 10, 10])
    rescaled = environment(Ranged, rescaled_actions=True)
    seen = converted(given, rescaled).actions
    np.testing.assert_allclose(seen[:, 0], [-1, 0, 1, 1])
    back = rescaled.action_view.to_layout(seen[None])
    np.testing.assert_allclose(back[0, :, 0], [0, 5, 10, 10], atol=1e-6)


def test_bins_and_the_mean_return() -> None:
    binned = environment("CartPole-v1", binning=Binning((2,), (-1.0,), (1.0,)))
    observations = [[-0.5] * 4, [0.5] * 4, [9.0] * 4]
    seen = converted(rows(observations, [0, 1, 1], [1, 2, 5]), binned)
    np.testing.assert_array_equal(seen.observations, [0, 15, 15])
    assert seen.expert_return == 4.0  # (1 + 2) and 5
    assert np.isnan(converted(rows(observations, [0, 1, 1]), binned).expert_return)


def test_numbered_actions_are_the_inverse_of_their_parts() -> None:
    class Parts(Drifting):
        def __init__(self) -> None:
            super().__init__(10**9, action_space=spaces.MultiDiscrete([3, 2, 4]))

    view = environment(Parts, numbered_actions=True).action_view
    numbers = np.arange(24)
    np.testing.assert_array_equal(view.from_layout(view.to_layout(numbers[None])[0]), numbers)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        ("FrozenLake-v1", rows([0, 16], [0, 1]),
         "row 1, observation 0: expected a whole number from 0 to 15, got 16"),
        ("FrozenLake-v1", rows([0, 1], [0, 1.5]),
         "row 1, action 0: expected a whole number from 0 to 3, got 1.5"),
        ("FrozenLake-v1", rows([[0, 1]], [0]), "these rows: got 2 numbers .*expected 1"),
        ("CartPole-v1", rows([[0, 0, np.nan, 0]], [0]),
         "row 0, observation 2: expected a finite number, got nan"),
        ("CartPole-v1", rows([[0, 0, 0]], [0]), "got 3 numbers .* to observation_3"),
        ("Pendulum-v1", rows([[0, 0, 0]], [[1, 2]]), "got 2 numbers of each action, expected 1"),
        ("Pendulum-v1", rows([[0, 0, 0]], [np.inf]), "row 0, action 0: expected a finite number"),
        ("Pendulum-v1", rows([[0, 1e300, 0]], [0]),
         "row 0, observation 1: expected a number that float32 can hold, .* got 1e.300"),
        (Pixels, rows([[9, 300]], [0]), "row 0, observation 1: .* that uint8 can hold, .* got 300"),
        (Pixels, rows([[9, 0.5]], [0]), "row 0, observation 1: .* that uint8 can hold, .* got 0.5"),
        (Pixels, rows([[9, 9]], [2.6]), "row 0, action 0: .* that int64 can hold, .* got 2.6"),
    ],
)  # fmt: skip
def test_a_number_that_does_not_fit_is_named(make: Any, given: Rows, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        converted(given, find_environment(make))


def test_structured_observations_are_as_agents_see_them() -> None:
    class Two(gym.Env[Any, Any]):
        observation_space = spaces.Dict(
            a=spaces.Discrete(2), b=spaces.Box(-9.0, 9.0, (2,), np.float32)
        )
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return {"a": 0, "b": np.zeros(2, dtype=np.float32)}, {}

        def step(self, action: Any) -> Any:
            return self.reset()[0], 0.0, False, True, {}

    seen = converted(rows([[1, 0, 3.5, -2]], [1]), environment(Two))
    np.testing.assert_array_equal(seen.observations, [[1, 0, 3.5, -2]])
