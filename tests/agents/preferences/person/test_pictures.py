"""A picture of an observation is what the environment itself shows in that state."""

from __future__ import annotations

import base64
import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from rlkit.agents.preferences.person.pictures import is_picture, painter_of, png_of
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import find_environment


def painter(environment: Environment) -> Any:
    return painter_of(environment, environment.observation_space)


@pytest.mark.parametrize(
    ("name", "args"),
    [("CartPole-v1", {}), ("MountainCar-v0", {}), ("FrozenLake-v1", {"is_slippery": False})],
)
def test_a_state_is_drawn_as_the_environment_draws_it(name: str, args: dict[str, Any]) -> None:
    draw = painter(find_environment(name, args))
    env = gym.make(name, render_mode="rgb_array", **args)
    env.action_space.seed(1)
    obs, _ = env.reset(seed=3)
    before = None
    for _ in range(4):
        np.testing.assert_array_equal(draw(obs, before), env.render())
        before = env.action_space.sample()
        obs, *_ = env.step(before)
    np.testing.assert_array_equal(draw(obs, before), env.render())
    env.close()


def test_states_that_observations_do_not_show_are_not_drawn() -> None:
    """Pendulum's observation is not its state: it has the cosine and sine of the angle."""
    assert painter(find_environment("Pendulum-v1")) is None


class Bare(gym.Env[Any, Any]):
    """A state that is its observation, and no picture."""

    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        super().reset(seed=options.get("seed"))
        self.state = np.zeros(2)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.state = self.state + 1
        return self.state.astype(np.float32), 0.0, self.state[0] > 5, False, {}


class Own(Bare):
    """Draws observations by a method of its own."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render_observation(self, obs: Any) -> Any:
        return np.full((16, 16, 3), int(obs[0]), np.uint8)


class Hidden(Own):
    """Something besides the observation decides what happens, though it has its name."""

    render_observation = None  # type: ignore[assignment]

    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        self.state = np.array([self.state[0], 7.0])
        return obs, *rest


def test_an_environment_may_draw_observations_itself() -> None:
    draw = painter(find_environment(Own))
    assert draw(np.array([5.0, 0.0], np.float32), None)[0, 0].tolist() == [5, 5, 5]


@pytest.mark.parametrize("kind", [Bare, Hidden])
def test_where_nothing_can_be_drawn_there_are_numbers(kind: type[Any]) -> None:
    assert painter(find_environment(kind)) is None


def test_observations_that_are_pictures_are_their_own() -> None:
    space = spaces.Box(0, 255, (10, 12, 1), np.uint8)
    assert is_picture(space)
    obs = np.arange(120, dtype=np.uint8).reshape(10, 12, 1)
    draw = painter_of(None, space)
    assert draw is not None
    assert draw(obs, None) is obs
    data = base64.b64decode(png_of(obs).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        times = image.width // 12
        assert times >= 10
        assert np.asarray(image)[::times, ::times].tolist() == obs[..., 0].tolist()


def test_wide_pictures_are_made_smaller() -> None:
    data = base64.b64decode(png_of(np.zeros((200, 640, 3), np.uint8)).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (320, 100)
    assert not is_picture(spaces.Box(0, 255, (4,), np.uint8))
    assert not is_picture(spaces.Box(0, 1, (10, 10, 3), np.float32))
