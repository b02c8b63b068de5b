"""Models of Stable-Baselines3 see what they saw there, whatever the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.environments.views.observations import ObservationEncoder
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.sb3_observations import (
    channels_first,
    decoder,
    same_observations,
    unsupported_part,
)
from tests.training.comparing.sb3_files import saved
from tests.training.comparing.test_judged import Seeded

IMAGE = spaces.Box(0, 255, (40, 36, 3), np.uint8)
POINT = spaces.Box(-2.0, 5.0, (2,), np.float64)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "a Dict of numbers and choices": spaces.Dict(
        b=POINT, a=spaces.Discrete(3), d=spaces.MultiDiscrete([2, 4]), c=spaces.MultiBinary(2)
    ),
    "a Dict with an image": spaces.Dict(seen=IMAGE, place=POINT),
    "a Dict of choices": spaces.Dict(b=spaces.Discrete(4), a=spaces.MultiBinary((2, 2))),
    "choices": spaces.MultiDiscrete([3, 4, 2]),
    "many choices": spaces.MultiDiscrete([60, 70, 80]),
    "switches": spaces.MultiBinary(4),
    "an image": IMAGE,
    "a bounded point": POINT,
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "choices": spaces.MultiDiscrete([3, 2]),
    "switches": spaces.MultiBinary(3),
    "a bounded point": spaces.Box(
        np.array([-1.0, 0.0], np.float32), np.array([0.5, 30.0], np.float32)
    ),
}


class Judging(gym.Env[Any, Any]):
    """Shows samples of a space; the reward depends on each number of observation and action."""

    def __init__(self, observations: str = "a bounded point", actions: str = "") -> None:
        self.observation_space = OBSERVATIONS[observations]
        self.action_space = ACTIONS.get(actions) or spaces.Discrete(5)

    def _observe(self) -> Any:
        space = self.observation_space
        space.seed(int(self.np_random.integers(2**31)))
        self._obs, self._steps = space.sample(), self._steps + 1
        return self._obs

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        numbers = spaces.flatten(self.observation_space, self._obs).astype(np.float64)
        weights = np.cos(np.arange(len(numbers)))
        acted = np.ravel(np.asarray(action, dtype=np.float64))
        reward = float(np.sin(numbers @ weights) * (acted @ np.arange(1.0, len(acted) + 1)))
        return self._observe(), reward, self._steps > 20, False, {}


def register(name: str, **arguments: Any) -> str:
    identifier = f"Judging{abs(hash(name)) % 10**9}-v0"
    if identifier not in gym.registry:
        gym.register(identifier, Judging, kwargs=arguments)
    return identifier


def returns_there(model: Any, env: gym.Env[Any, Any], episodes: int) -> float:
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    streams = SeedStreams(0, 0)
    seeds = [streams.episode_seed("evaluation", episode, 0) for episode in range(episodes)]
    mean, _ = evaluate_policy(
        model, Monitor(Seeded(env, seeds)), n_eval_episodes=episodes, deterministic=True
    )
    return float(mean)


CASES = [
    *(("PPO", name, "") for name in OBSERVATIONS),
    *(("A2C", "a bounded point", name) for name in ACTIONS),
    ("SAC", "a bounded point", "a bounded point"),
    ("TD3", "a Dict of numbers and choices", "a bounded point"),
    ("DQN", "a Dict with an image", ""),
]


@pytest.mark.parametrize(("algorithm", "observations", "actions"), CASES)
def test_the_score_is_that_of_evaluate_policy_there(
    algorithm: str, observations: str, actions: str, tmp_path: Path
) -> None:
    pytest.importorskip("stable_baselines3")
    arguments = {"observations": observations, "actions": actions}
    environment = register(f"{observations} {actions}", **arguments)
    space, policy = OBSERVATIONS[observations], "MlpPolicy"
    if space is IMAGE:
        policy = "CnnPolicy"
    elif isinstance(space, spaces.Dict):
        policy = "MultiInputPolicy"
    path, model = saved(tmp_path, algorithm, environment, policy=policy)
    expected = returns_there(model, gym.make(environment), 3)
    compared = rlkit.compare(
        {"theirs": f"sb3:{path}"},
        environment,
        evaluation_episodes=3,
        trust=True,
        out=tmp_path / "runs",
    )
    # Monitor rounds the returns of episodes to six decimals, and a batch the last bits of actions.
    assert compared.scores["theirs"] == pytest.approx([expected], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", [*OBSERVATIONS])
def test_what_agents_see_becomes_the_observation_again(name: str) -> None:
    space = OBSERVATIONS[name]
    space.seed(7)
    observations = [space.sample() for _ in range(5)]
    encode = ObservationEncoder(space)
    decoded = decoder(space)(np.stack([encode(one) for one in observations]))
    keys = space.keys() if isinstance(space, spaces.Dict) else [None]
    for key in keys:
        own = [one if key is None else one[key] for one in observations]
        there = decoded if key is None else decoded[key]
        np.testing.assert_array_equal(there, np.stack(own))
        assert there.dtype == np.stack(own).dtype


def test_images_are_turned_and_nothing_else() -> None:
    first = spaces.Box(0, 255, (3, 40, 36), np.uint8)
    assert same_observations(first, IMAGE)
    assert same_observations(spaces.Dict(a=first), spaces.Dict(a=IMAGE))
    assert not same_observations(IMAGE, first)
    numbers = spaces.Box(0.0, 255.0, (3, 40, 36), np.float32)
    assert not same_observations(numbers, spaces.Box(0.0, 255.0, (40, 36, 3), np.float32))
    image = IMAGE.sample()
    turned = channels_first(first, IMAGE)(image[None])
    assert turned[0, 2, 5, 7] == image[5, 7, 2]


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (spaces.Discrete(3, start=2), "do not start at 0"),
        (spaces.Dict(a=spaces.Dict(b=POINT)), "Dict at 'a'"),
        (spaces.Tuple([POINT]), "Tuple"),
    ],
)
def test_what_no_model_sees_is_named(space: spaces.Space[Any], problem: str) -> None:
    assert problem in str(unsupported_part(space))


class Goal(gym.Env[Any, Any]):
    """A goal to reach at once, as hindsight replays need it."""

    observation_space = spaces.Dict(observation=POINT, achieved_goal=POINT, desired_goal=POINT)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return {key: np.zeros(2) for key in self.observation_space}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.reset()[0], float(action[0]), True, False, {}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> float:
        return 0.0


def test_a_model_with_hindsight_replays_is_loaded_without_them(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import HerReplayBuffer

    if "JudgingGoal-v0" not in gym.registry:
        gym.register("JudgingGoal-v0", Goal)
    options = {"policy": "MultiInputPolicy", "replay_buffer_class": HerReplayBuffer}
    path, model = saved(tmp_path, "SAC", "JudgingGoal-v0", **options, buffer_size=100)
    compared = rlkit.compare(
        {"theirs": f"sb3:{path}"}, "JudgingGoal-v0", evaluation_episodes=1, trust=True, out=tmp_path
    )
    expected = returns_there(model, gym.make("JudgingGoal-v0"), 1)
    assert compared.scores["theirs"] == pytest.approx([expected], rel=0, abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["vec_normalize.pkl", "best/vecnormalize.pkl", "rl_model_vecnormalize_1000_steps.pkl"],
)
def test_statistics_that_lie_beside_a_model_are_named(name: str, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from rlkit.training.comparing.sb3_models import read_models

    path, _ = saved(tmp_path, "PPO", "CartPole-v1")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "monitor.pkl").touch()
    assert read_models(f"sb3:{path}")[0].remarks == ()
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"VecNormalize of {name}, which lies beside it"):
        read_models(f"sb3:{path}")


def test_a_nested_space_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from rlkit.training.comparing.sb3_models import _require_plain

    nested = spaces.Dict(a=spaces.Tuple([POINT]))
    with pytest.raises(UsageError, match=r"the part Tuple at 'a'.*the wrapper in which it"):
        _require_plain(tmp_path, nested, spaces.Discrete(2))
